"""NT-Xent against a hand-written reference, and over devices against the global batch."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.collectives import gather_batch, pmean, row_offset
from audiojax.errors import UsageError
from audiojax.losses.contrastive import nt_xent, same_clip_mask, symmetric_nt_xent

pytestmark = pytest.mark.usefixtures("strict_dtypes")


def unit(key, shape):
    x = np.random.default_rng(key).standard_normal(shape)
    return jnp.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True), jnp.float32)


def reference(similarity, tau=0.07, ignore=None):
    """-1/2 mean_i [log softmax_j(S_ij / tau)_i + log softmax_j(S_ji / tau)_i], loops in float64."""
    total, s = 0.0, np.asarray(similarity, np.float64) / tau
    n = len(s)
    for i in range(n):
        for row in (s[i], s[:, i]):
            kept = [row[j] for j in range(n) if ignore is None or j == i or not ignore[i][j]]
            total -= 0.5 * (row[i] - np.log(np.sum(np.exp(np.asarray(kept) - max(kept)))) - max(kept)) / n
    return total


def test_equals_the_reference_and_is_symmetric():
    s = unit(0, (6, 8)) @ unit(1, (6, 8)).T
    loss = symmetric_nt_xent(s, s.T)
    assert loss.shape == (6,)
    assert float(loss.mean()) == pytest.approx(reference(s), rel=1e-5)
    np.testing.assert_allclose(symmetric_nt_xent(s.T, s), loss, rtol=1e-6)


def test_at_random_embeddings_it_is_about_log_b():
    s = unit(0, (128, 2048)) @ unit(1, (128, 2048)).T
    assert float(symmetric_nt_xent(s, s.T).mean()) == pytest.approx(np.log(128), rel=0.03)
    np.testing.assert_allclose(nt_xent(jnp.ones((4, 9))), np.log(9), rtol=1e-6)


def test_other_captions_of_the_clip_are_negatives_unless_ignored():
    clip = jnp.array([3, 5, 3, 7])
    ignore = same_clip_mask(clip, clip)
    assert np.argwhere(np.asarray(ignore)).tolist() == [[0, 2], [2, 0]]
    s = unit(0, (4, 8)) @ unit(1, (4, 8)).T
    masked = symmetric_nt_xent(s, s.T, ignore=ignore)
    assert float(masked.mean()) == pytest.approx(reference(s, ignore=np.asarray(ignore)), rel=1e-5)
    plain = symmetric_nt_xent(s, s.T)
    assert np.all(np.asarray(masked)[[0, 2]] < np.asarray(plain)[[0, 2]])
    np.testing.assert_allclose(masked[jnp.array([1, 3])], plain[jnp.array([1, 3])], rtol=1e-6)
    gradient = jax.grad(lambda s: nt_xent(s, ignore=ignore).sum())(s)
    assert np.all(np.isfinite(gradient))
    assert float(gradient[0, 2]) == 0.0


def test_rows_local_columns_gathered():
    s = unit(0, (2, 8)) @ unit(1, (6, 8)).T
    expected = nt_xent(jnp.concatenate([s[:, 4:], s[:, :4]], axis=1))  # the match of row i is column 4 + i
    np.testing.assert_allclose(nt_xent(s, target_offset=4), expected, rtol=1e-6)
    row_clip, column_clip = jnp.array([1, 2]), jnp.array([1, 0, 0, 2, 1, 2])
    assert np.argwhere(np.asarray(same_clip_mask(row_clip, column_clip, 4))).tolist() == [[0, 0], [1, 3]]
    with pytest.raises(UsageError, match="more rows than columns"):
        nt_xent(s.T)


def test_four_devices_have_the_gradient_of_the_global_batch():
    a, b, clip = unit(0, (8, 5)), unit(1, (8, 5)), jnp.array([0, 1, 2, 3, 0, 4, 5, 2])

    def loss(mix, a, b, clip, axis_name=None):
        a, b = a @ mix, b @ mix
        all_a, all_b, all_clip = gather_batch((a, b, clip), axis_name)
        offset = row_offset(a.shape[0], axis_name)
        ignore = same_clip_mask(clip, all_clip, offset)
        return symmetric_nt_xent(a @ all_b.T, b @ all_a.T, target_offset=offset, ignore=ignore).mean()

    mix = unit(2, (5, 5))
    whole, gradient = jax.value_and_grad(loss)(mix, a, b, clip)

    @partial(jax.pmap, axis_name="data", in_axes=(None, 0, 0, 0), out_axes=None, devices=jax.local_devices()[:4])
    def step(mix, a, b, clip):
        return pmean(jax.value_and_grad(partial(loss, axis_name="data"))(mix, a, b, clip), "data")

    sharded, sharded_gradient = step(mix, *(x.reshape(4, 2, *x.shape[1:]) for x in (a, b, clip)))
    assert float(sharded) == pytest.approx(float(whole), rel=1e-5)
    np.testing.assert_allclose(sharded_gradient, gradient, rtol=1e-4, atol=1e-5)
