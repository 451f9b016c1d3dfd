"""HTSAT beside transformers' ClapAudioModel with random weights, every bias and statistic non-zero."""

import jax
import numpy as np
import pytest

from audiojax.encoders.htsat import PRESETS, Htsat
from audiojax.pretrained.clap import audio_family
from audiojax.pretrained.rules import export
from tests.encoders.filling import filled_variables, mel_batch, relative_error

torch = pytest.importorskip("torch")
from transformers import ClapAudioConfig, ClapAudioModel  # noqa: E402

from tests.parity.panns_twin import load  # noqa: E402

pytestmark = pytest.mark.parity


def reference_htsat(config):
    model = ClapAudioModel(
        ClapAudioConfig(
            window_size=config.window,
            num_mel_bins=config.mels,
            spec_size=config.image,
            patch_size=config.patch,
            patch_stride=[config.patch, config.patch],
            hidden_size=config.width,
            depths=list(config.depths),
            num_attention_heads=list(config.heads),
            num_hidden_layers=len(config.depths),
            enable_fusion=config.fusion,
            patch_embeds_hidden_size=config.channels,
            aff_block_r=config.fusion_reduction,
            layer_norm_eps=config.norm_eps,
        )
    )
    return model.eval()


def views(clips, frames, config):
    count = 4 if config.fusion else 1
    return mel_batch(clips * count, frames, config.mels).reshape(clips, count, frames, config.mels)


def compare(config, frames, clips=3):
    module, mel = Htsat(config), views(clips, frames, config)
    longer = np.arange(clips) % 2 == 0
    variables = filled_variables(module, mel, longer)
    model = reference_htsat(config)
    state = export(variables, audio_family(config))
    buffers = {name: value.numpy() for name, value in model.audio_encoder.state_dict().items() if "index" in name}
    load(model.audio_encoder, state | buffers)
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
    compare(PRESETS[name], int(fill * PRESETS[name].frames))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["htsat-tiny", "htsat-tiny-fused", "htsat-base"])
def test_published_size(name):
    compare(PRESETS[name], 1001, clips=2)
