"""The masked reconstruction loss against a plain loop, and the draw of the patches that are seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.losses.reconstruction import cut_patches, draw_kept, hidden_patches, masked_patch_loss, normalise_patches

pytestmark = pytest.mark.usefixtures("strict_dtypes")


def test_patches_are_time_major():
    mel = np.arange(2 * 6 * 4).reshape(2, 6, 4)
    patches = cut_patches(jnp.asarray(mel), 2)
    assert patches.shape == (2, 6, 4)
    np.testing.assert_array_equal(patches[1, 2 * 2 + 1], mel[1, 4:6, 2:4].ravel())


def test_normalised_patches_have_no_mean_and_unit_unbiased_variance():
    patches = normalise_patches(jnp.asarray(np.random.default_rng(0).normal(3, 5, (2, 3, 16)), jnp.float32))
    np.testing.assert_allclose(np.mean(patches, axis=-1), 0, atol=1e-6)
    np.testing.assert_allclose(np.std(patches, axis=-1, ddof=1), 1, rtol=1e-5)
    silence = normalise_patches(jnp.ones((1, 1, 16)))
    assert not silence.any()


def test_the_loss_is_the_error_on_hidden_patches():
    rng = np.random.default_rng(1)
    mel, prediction = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((2, 6, 4), (2, 6, 4)))
    kept = np.array([[0, 4], [5, 2]])
    target = np.asarray(normalise_patches(cut_patches(mel, 2)))
    want = [np.mean([(prediction[i, n] - target[i, n]) ** 2 for n in range(6) if n not in kept[i]]) for i in range(2)]
    np.testing.assert_allclose(masked_patch_loss(prediction, mel, jnp.asarray(kept), patch=2), want, rtol=1e-5)
    perfect = jnp.where(hidden_patches(jnp.asarray(kept), 6)[:, :, None], target, jnp.float32(9))
    np.testing.assert_array_equal(masked_patch_loss(perfect, mel, jnp.asarray(kept), patch=2), [0, 0])


@pytest.mark.parametrize(("n", "masked", "count"), [(512, 0.8, 102), (10, 0.8, 2), (96, 0.75, 24)])
def test_kept_patches_are_distinct_sorted_and_as_many_as_asked(n, masked, count):
    kept = np.asarray(draw_kept(jax.random.split(jax.random.key(0), 50), n, masked))
    assert kept.shape == (50, count)
    assert (np.diff(kept, axis=1) > 0).all()
    assert kept.min() >= 0
    assert kept.max() < n
    assert len({tuple(row) for row in kept}) > 20
    assert set(kept.ravel()) == set(range(n))


def test_a_clips_draw_depends_on_its_key_alone():
    keys = jax.random.split(jax.random.key(3), 4)
    np.testing.assert_array_equal(draw_kept(keys, 20)[2:3], draw_kept(keys[2:3], 20))
