"""AudioMAE's encoder beside a torch twin with random weights and a random position table, in float32 and bfloat16."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.encoders.audiomae import PRESETS, AudioMae, pool_patches
from audiojax.pretrained.audiomae import family
from audiojax.pretrained.rules import export
from tests.encoders.filling import filled_variables, mel_batch, relative_error
from tests.encoders.test_audiomae import KEPT, NARROW

torch = pytest.importorskip("torch")
from tests.parity.audiomae_twin import TwinAudioMae, twin_pool  # noqa: E402
from tests.parity.panns_twin import load  # noqa: E402

pytestmark = pytest.mark.parity
BOUNDS = {jnp.float32: 1e-4, jnp.bfloat16: 2e-2}


def compare(config, kept=None, clips=2):
    module, mel = AudioMae(config), mel_batch(clips, config.frames, config.mels)
    variables = filled_variables(module, mel)
    twin = load(TwinAudioMae(config), export(variables, family(config))).eval()
    with torch.no_grad():
        theirs = twin(torch.tensor(mel), None if kept is None else torch.tensor(kept))
        if kept is None:
            pooled = twin_pool(theirs["features"], config.grid, (2, 2)).numpy()
    for dtype, bound in BOUNDS.items():
        out = jax.jit(lambda v, d=dtype: module.clone(dtype=d).apply(v, mel, kept, train=False))(variables)
        ours = out._asdict()
        for name, value in theirs.items():
            assert relative_error(ours[name].astype(jnp.float32), value.numpy()) < bound, (name, dtype)
        if kept is None:
            assert relative_error(pool_patches(out.features, config.grid, (2, 2)).astype(jnp.float32), pooled) < bound


@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("kept", [None, KEPT])
def test_narrow(name, kept):
    compare(NARROW[name], kept)


def test_tiny_preset():
    compare(PRESETS["tiny"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit-base", "vit-base-tagging"])
def test_published_size(name):
    compare(PRESETS[name])


def test_positions_are_rebuilt_as_published():
    """The authors' construction, spelled out: frequency first, sines before cosines."""
    from audiojax.encoders.audiomae import position_table

    band, time = torch.meshgrid(torch.arange(8.0), torch.arange(64.0), indexing="xy")
    omega = 1 / 10_000 ** (torch.arange(192, dtype=torch.float64) / 192)
    angles = [torch.outer(place.reshape(-1).double(), omega) for place in (band, time)]
    table = torch.cat([torch.cat([angle.sin(), angle.cos()], dim=1) for angle in angles], dim=1)
    np.testing.assert_allclose(position_table((64, 8), 768)[1:], table.numpy(), atol=1e-6)
