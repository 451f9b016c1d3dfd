"""HTSAT beside transformers' ClapAudioModel with random weights, every bias and statistic non-zero."""

import jax
import numpy as np
import pytest

from audiojax.encoders.htsat import PRESETS, Htsat
from audiojax.pretrained.clap import audio_family
from audiojax.pretrained.rules import export
from tests.encoders.filling import filled_variables, relative_error
from tests.encoders.test_htsat import NARROW, views

torch = pytest.importorskip("torch")
from tests.parity.htsat_reference import reference_htsat  # noqa: E402

pytestmark = pytest.mark.parity


def compare(config, frames, clips=3):
    module, mel = Htsat(config), views(config, clips, frames)
    longer = np.arange(clips) % 2 == 0
    variables = filled_variables(module, mel, longer)
    model = reference_htsat(config, export(variables, audio_family(config)))
    with torch.no_grad():
        arguments = {"is_longer": torch.tensor(longer)[:, None]} if config.fusion else {}
        theirs = model(torch.tensor(mel), **arguments)
    out = jax.jit(lambda v: module.apply(v, mel, longer, train=False))(variables)
    tokens = theirs.last_hidden_state.numpy().transpose(0, 3, 2, 1)  # [b, d, mel, time] -> [b, time, mel, d]
    assert relative_error(out.tokens, tokens) < 1e-4
    assert relative_error(out.pooled, theirs.pooler_output.numpy()) < 1e-4


@pytest.mark.parametrize("name", ["test", "test-fused", "tiny"])
@pytest.mark.parametrize("fill", [1.0, 0.9, 0.3])
def test_small(name, fill):
    config = {**PRESETS, **NARROW}[name]
    compare(config, int(fill * config.frames))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["htsat-tiny", "htsat-tiny-fused", "htsat-base"])
def test_published_size(name):
    compare(PRESETS[name], 1001, clips=2)
