"""BEATs beside a torch twin with random weights, with and without padding, in float32 and bfloat16."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.encoders.beats import PRESETS, Beats
from audiojax.pretrained.beats import family
from audiojax.pretrained.rules import export
from tests.encoders.filling import filled_variables, mel_batch, relative_error
from tests.encoders.test_beats import NARROW, frame_mask

torch = pytest.importorskip("torch")
from tests.parity.beats_twin import TwinBeats  # noqa: E402
from tests.parity.panns_twin import load  # noqa: E402

pytestmark = pytest.mark.parity
BOUNDS = {jnp.float32: 1e-4, jnp.bfloat16: 2e-2}


def compare(config, frames, lengths):
    module, mel, mask = Beats(config), mel_batch(len(lengths), frames, config.mels), frame_mask(frames, lengths)
    variables = filled_variables(module, mel)
    twin = load(TwinBeats(config), export(variables, family(config))).eval()
    with torch.no_grad():
        theirs = {name: value.numpy() for name, value in twin(torch.tensor(mel), torch.tensor(~mask)).items()}
    valid = theirs.pop("mask")
    for dtype, bound in BOUNDS.items():
        ours = jax.jit(lambda v, d=dtype: module.clone(dtype=d).apply(v, mel, mask, train=False))(variables)._asdict()
        np.testing.assert_array_equal(ours["mask"], valid)
        for name, value in theirs.items():
            got = np.asarray(ours[name].astype(jnp.float32))
            if name == "tokens":
                got, value = got[valid], value[valid]
            assert relative_error(got, value) < bound, (name, dtype)


@pytest.mark.parametrize("lengths", [(62, 62, 62), (62, 30, 9)])
def test_narrow(lengths):
    compare(NARROW, 62, lengths)


def test_tiny_preset():
    compare(PRESETS["tiny"], 382, (382, 200))


@pytest.mark.slow
def test_published_size():
    compare(PRESETS["base-tagging"], 998, (998, 500))
