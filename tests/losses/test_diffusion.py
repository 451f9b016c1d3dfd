"""Denoising and generation losses against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.errors import UsageError
from audiojax.losses.diffusion import denoising_loss, kl_generation_loss, mean_squared_error
from audiojax.schedule import make_schedule

pytestmark = pytest.mark.usefixtures("strict_dtypes")


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def test_mean_squared_error_by_hand():
    prediction, target = jnp.array([[[1.0, 2.0]], [[0.0, 0.0]]]), jnp.zeros((2, 1, 2))
    np.testing.assert_allclose(mean_squared_error(prediction, target), [2.5, 0.0])
    mask = jnp.array([[[True, False]], [[False, False]]])
    np.testing.assert_allclose(mean_squared_error(prediction, target, mask), [1.0, 0.0])  # an empty row is 0, not NaN
    assert mean_squared_error(prediction.astype(jnp.bfloat16), target).dtype == jnp.float32


def test_masked_entries_carry_no_gradient():
    mask = jnp.array([[True, False, True]])
    gradient = jax.grad(lambda p: mean_squared_error(p, jnp.zeros((1, 3)), mask)[0])(jnp.array([[1.0, np.inf, -2.0]]))
    np.testing.assert_allclose(gradient, [[1.0, 0.0, -2.0]])


@pytest.mark.parametrize("prediction", ["x0", "eps", "v"])
def test_a_perfect_output_has_no_loss_and_the_target_is_the_right_one(prediction):
    schedule = make_schedule("linear", 100)
    x0, eps = (normal(i, 3, 4) for i in (0, 1))
    t = jnp.array([0, 40, 99])
    x_t = schedule.q_sample(x0, t, eps)
    output = schedule.convert(eps, x_t, t, "eps", prediction)
    assert float(denoising_loss(schedule, output, x0, eps, t, prediction=prediction).max()) < 1e-6
    off = denoising_loss(schedule, output + 0.5, x0, eps, t, prediction=prediction)
    np.testing.assert_allclose(off, 0.25, rtol=2e-2)


@pytest.mark.parametrize("weighting", ["snr", "min_snr"])
def test_weighted_losses_agree_over_parametrisations(weighting):
    """The same network output, seen as x0, eps or v, has the same weighted loss: that is what these weights are for."""
    schedule = make_schedule("linear", 1000)
    x0, eps, error = (normal(i, 3, 64) for i in range(3))
    t = jnp.array([100, 400, 700])
    x_t = schedule.q_sample(x0, t, eps)
    losses = []
    for prediction in ("x0", "eps", "v"):
        output = schedule.convert(eps + 0.1 * error, x_t, t, "eps", prediction)
        losses.append(denoising_loss(schedule, output, x0, eps, t, prediction=prediction, weighting=weighting))
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
    np.testing.assert_allclose(losses[2], losses[1], rtol=1e-3)
    if weighting == "snr":
        np.testing.assert_allclose(losses[1], jnp.mean(jnp.square(0.1 * error), axis=1), rtol=1e-3)
    with pytest.raises(UsageError, match="unknown weighting"):
        denoising_loss(schedule, x0, x0, eps, t, weighting="p2")


def test_generation_loss_is_cross_entropy_at_scale_100():
    scores, target = jnp.array([[0.02, 0.01, 0.0], [0.5, 0.0, -0.5]]), jnp.array([1, 0])
    logits = 100 * np.asarray(scores, np.float64)
    expected = np.log(np.exp(logits).sum(1)) - logits[[0, 1], [1, 0]]
    np.testing.assert_allclose(kl_generation_loss(scores, target), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(kl_generation_loss(scores, target, logit_scale=0.0), np.log(3), rtol=1e-6)


def test_generation_loss_is_the_kl_divergence_to_the_one_hot():
    scores, target = normal(0, 5, 7), jnp.array([0, 6, 2, 3, 1])
    q = np.asarray(jax.nn.softmax(3.0 * scores, axis=-1), np.float64)
    p = np.eye(7)[np.asarray(target)]
    kl = np.where(p > 0, p * (np.log(np.maximum(p, 1e-300)) - np.log(q)), 0).sum(1)
    np.testing.assert_allclose(kl_generation_loss(scores, target, logit_scale=3.0), kl, rtol=1e-5)


def test_masked_candidates_leave_the_softmax_but_the_match_stays():
    scores, target = jnp.array([[0.3, 0.1, 0.2, 0.0]]), jnp.array([1])
    mask = jnp.array([[False, False, True, True]])  # the match itself is masked by mistake
    expected = kl_generation_loss(scores[:, 1:], jnp.array([0]))
    np.testing.assert_allclose(kl_generation_loss(scores, target, mask=mask), expected, rtol=1e-6)
    gradient = jax.grad(lambda s: kl_generation_loss(s, target, mask=mask)[0])(scores)
    assert float(gradient[0, 0]) == 0.0
    assert np.all(np.isfinite(gradient))


def test_copying_x_solves_small_noise_levels_and_fails_the_largest():
    """Why the loss at k = K - 1 is reported apart: a network that only copies x_k is nearly perfect at k = 0 and at chance there."""
    schedule, n = make_schedule("cosine", 50), 8
    target = jnp.arange(4_000) % n
    x0 = jax.nn.one_hot(target, n)
    scale = 10.0

    def copied(k):
        x = schedule.q_sample(x0, k, normal(k, 4_000, n))
        return float(jnp.mean(jnp.argmax(x, axis=1) == target)), float(kl_generation_loss(x, target, logit_scale=scale).mean())

    accuracy, loss = copied(0)
    assert accuracy > 0.999
    assert loss < 0.01
    accuracy, loss = copied(49)
    assert accuracy == pytest.approx(1 / n, abs=0.02)
    assert loss > np.log(n)
