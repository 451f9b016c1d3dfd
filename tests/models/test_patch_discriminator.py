"""The patch discriminator: sizes, what a logit sees, and norms over the whole batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.models.patch_discriminator import PRESETS, PatchDiscriminator, PatchDiscriminatorConfig, judge
from tests.encoders.filling import fill, mel_batch

SMALL = PatchDiscriminatorConfig(channels=3, layers=2)


def variables_of(config, frames=32):
    return jax.eval_shape(lambda: PatchDiscriminator(config).init(jax.random.key(0), jnp.zeros((1, frames, 32))))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("audioldm", 16 * (64 + 64 * 128 + 128 * 256 + 256 * 512 + 512) + 64 + 1 + 2 * (128 + 256 + 512)),
        ("tiny", 16 * (16 + 16 * 32 + 32 * 64 + 64) + 16 + 1 + 2 * (32 + 64)),
    ],
)
def test_parameters(name, count):
    assert sum(leaf.size for leaf in jax.tree.leaves(variables_of(PRESETS[name])["params"])) == count


@pytest.mark.parametrize(("frames", "layers", "logits"), [(1_024, 3, 126), (64, 3, 6), (33, 2, 6)])
def test_logits_are_a_map_of_patches(frames, layers, logits):
    """Each stride of 2 halves the frames, rounding down, and the two last layers take one off each."""
    module = PatchDiscriminator(PatchDiscriminatorConfig(2, layers))
    out, _ = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), jnp.zeros((2, frames, 64))))
    assert out.shape == (2, logits, 64 // 2**layers - 2)


def test_a_logit_sees_a_patch_and_the_norms_see_the_batch():
    """Reference from the formula: the norm of a batch of two is that of all its pixels, and jit changes nothing."""
    params, mel = fill(variables_of(SMALL))["params"], jnp.asarray(mel_batch(4, 32, 16))
    together = jax.jit(lambda x: judge(PatchDiscriminator(SMALL), params, x))(mel)
    np.testing.assert_allclose(together, judge(PatchDiscriminator(SMALL), params, mel), rtol=1e-4, atol=1e-5)
    assert together.dtype == jnp.float32
    np.testing.assert_allclose(judge(PatchDiscriminator(SMALL), params, mel[::-1]), together[::-1], rtol=1e-4, atol=1e-4)
    assert np.abs(judge(PatchDiscriminator(SMALL), params, mel[:2]) - together[:2]).max() > 1e-3
    split = jax.pmap(lambda x: judge(PatchDiscriminator(SMALL, axis_name="data"), params, x), axis_name="data")(mel[:, None])
    np.testing.assert_allclose(split[:, 0], together, rtol=1e-4, atol=1e-4)
