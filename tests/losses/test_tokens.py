"""Cross entropy of tokens against its definition, and its mean over devices that count different numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.losses.tokens import token_cross_entropy, token_mean

pytestmark = pytest.mark.usefixtures("strict_dtypes")


def test_cross_entropy_is_minus_the_log_of_the_targets_probability():
    logits = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    targets = np.array([[0, 4, 2], [1, 1, 3]], np.int32)
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    want = [[-np.log(p[i, j, targets[i, j]]) for j in range(3)] for i in range(2)]
    np.testing.assert_allclose(token_cross_entropy(jnp.asarray(logits), jnp.asarray(targets)), want, rtol=1e-5)


def test_the_mean_counts_positions_not_rows_nor_devices():
    values = jnp.asarray([[1.0, 2.0, 9.0], [5.0, 9.0, 9.0]])
    counted = jnp.asarray([[True, True, False], [True, False, False]])
    assert float(token_mean(values, counted)) == pytest.approx(8 / 3)
    assert float(token_mean(values, jnp.zeros_like(counted))) == 0
    split = jax.pmap(lambda v, c: jax.lax.pmean(token_mean(v, c, "i"), "i"), axis_name="i")(values[:, None], counted[:, None])
    np.testing.assert_allclose(split, [8 / 3] * 2, rtol=1e-6)


def test_label_smoothing_is_the_cross_entropy_of_the_smoothed_target():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 5)), jnp.float32)
    targets = jnp.array([[0, 1, 2], [4, 3, 0]])
    wanted = 0.9 * jax.nn.one_hot(targets, 5) + 0.1 / 5
    expected = -jnp.sum(wanted * jax.nn.log_softmax(logits), axis=-1)
    np.testing.assert_allclose(token_cross_entropy(logits, targets, 0.1), expected, rtol=1e-5)
