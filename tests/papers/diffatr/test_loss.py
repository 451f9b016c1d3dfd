"""The generation loss against a written-out reference, and DiffATR's gradient routing (note, checks 8 and 9)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.collectives import example_keys
from audiojax.papers.diffatr.loss import clean_scores, generation_loss
from audiojax.schedule import make_schedule

SCHEDULE = make_schedule("cosine", 50)
QUERY = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8)), jnp.float32)
CANDIDATES = jnp.asarray(np.random.default_rng(1).normal(size=(5, 8)), jnp.float32)
TARGET = jnp.array([1, 0, 4])


def _keys(n=3):
    return example_keys(jax.random.key(7), n)


def test_clean_scores_are_one_hot_with_a_chosen_negative():
    np.testing.assert_array_equal(clean_scores(jnp.array([2, 0]), 3), [[0, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(clean_scores(jnp.array([2]), 3, -1.0), [[-1, -1, 1]])


def test_loss_is_cross_entropy_with_scale_100():
    def denoise(x, k, query, candidates):
        return 0.01 * query @ candidates.T

    loss = generation_loss(denoise, SCHEDULE, _keys(), QUERY, CANDIDATES, TARGET)
    logits = np.asarray(QUERY, np.float64) @ np.asarray(CANDIDATES, np.float64).T  # 100 x 0.01
    expected = np.log(np.exp(logits).sum(1)) - logits[np.arange(3), TARGET]
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_a_perfect_denoiser_has_almost_no_loss_and_a_blind_one_has_log_n():
    perfect = generation_loss(lambda x, k, q, c: clean_scores(TARGET, 5), SCHEDULE, _keys(), QUERY, CANDIDATES, TARGET)
    blind = generation_loss(lambda x, k, q, c: jnp.zeros_like(x), SCHEDULE, _keys(), QUERY, CANDIDATES, TARGET)
    np.testing.assert_allclose(perfect, 0.0, atol=1e-6)
    np.testing.assert_allclose(blind, np.log(5), rtol=1e-6)


def test_noised_scores_follow_the_schedule_and_rows_use_their_own_key():
    seen = {}

    def denoise(x, k, query, candidates):
        seen["x"], seen["k"] = x, k
        return x

    keys = example_keys(jax.random.key(3), 4000)
    target = jnp.zeros(4000, jnp.int32)
    generation_loss(denoise, SCHEDULE, keys, jnp.zeros((4000, 8)), CANDIDATES, target, noise_level=24)
    assert set(np.unique(seen["k"])) == {24}
    signal, spread = np.sqrt(0.493844), np.sqrt(1 - 0.493844)
    np.testing.assert_allclose(np.mean(seen["x"][:, 0]), signal, atol=4 * spread / np.sqrt(4000))
    np.testing.assert_allclose(np.std(seen["x"][:, 1:]), spread, rtol=0.02)
    whole = seen["x"]
    generation_loss(denoise, SCHEDULE, keys[10:12], jnp.zeros((2, 8)), CANDIDATES, target[:2], noise_level=24)
    np.testing.assert_array_equal(seen["x"], whole[10:12])


def test_levels_are_uniform_over_the_whole_schedule():
    levels = []
    generation_loss(
        lambda x, k, q, c: levels.append(k) or x,
        SCHEDULE,
        example_keys(jax.random.key(5), 20_000),
        jnp.zeros((20_000, 2)),
        CANDIDATES[:, :2],
        jnp.zeros(20_000, jnp.int32),
    )
    counts = np.bincount(levels[0], minlength=50)
    assert counts.shape == (50,)
    assert counts.min() > 300
    assert counts.max() < 500


def test_dropped_candidates_leave_the_softmax():
    valid = jnp.array([[True, True, False, False, False]] * 3)
    loss = generation_loss(lambda x, k, q, c, v: jnp.zeros_like(x), SCHEDULE, _keys(), QUERY, CANDIDATES, jnp.array([0, 1, 0]), valid=valid)
    np.testing.assert_allclose(loss, np.log(2), rtol=1e-6)


@pytest.mark.usefixtures("strict_dtypes")
def test_strict_dtypes():
    generation_loss(lambda x, k, q, c: x, SCHEDULE, _keys(), QUERY, CANDIDATES, TARGET)
