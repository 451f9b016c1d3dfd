"""The schedule against golden tables, closed forms and itself (round trips)."""

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiojax.errors import UsageError
from audiojax.schedule import cosine_betas, from_betas, linear_betas, make_schedule, scaled_linear_betas, sqrt_betas, timestep_grid

pytestmark = pytest.mark.usefixtures("strict_dtypes")
NAMES = ("linear", "scaled_linear", "cosine", "sqrt")


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def assert_table(table, golden, rtol=1e-6, atol=0.0):
    np.testing.assert_allclose(np.asarray(table)[list(golden)], list(golden.values()), rtol=rtol, atol=atol)


def test_golden_cosine_50():
    schedule = make_schedule("cosine", 50)
    assert_table(schedule.beta, {0: 0.001748, 1: 0.003689, 24: 0.059354, 25: 0.063050, 48: 0.749757, 49: 0.999}, rtol=0, atol=1e-6)
    assert_table(schedule.alpha_bar, {0: 0.998252, 10: 0.879122, 24: 0.493844, 25: 0.462707}, rtol=0, atol=1e-6)
    assert_table(schedule.alpha_bar, {48: 9.71193e-4, 49: 9.71193e-7}, rtol=1e-6)


def test_golden_scaled_linear_of_audioldm():
    schedule = make_schedule("scaled_linear", 1000)
    assert_table(schedule.beta, {0: 0.0015, 1: 0.00150783, 999: 0.0195}, rtol=0, atol=5e-9)  # as many digits as are published
    assert_table(schedule.alpha_bar, {0: 0.9985, 1: 0.996994, 499: 0.115844}, rtol=0, atol=1e-6)
    assert_table(schedule.alpha_bar, {998: 1.4513e-4, 999: 1.4230e-4}, rtol=5e-5)  # five digits are published


def test_golden_1000_step_tables_of_diffusion_link():
    linear, cosine = make_schedule("linear", 1000), make_schedule("cosine", 1000)
    golden = {
        19: (0.99423, 0.0760, 0.99825, 0.0418),
        39: (0.98065, 0.1391, 0.99457, 0.0737),
        59: (0.95956, 0.2011, 0.98897, 0.1050),
        79: (0.93147, 0.2618, 0.98147, 0.1361),
        99: (0.89702, 0.3209, 0.97209, 0.1671),
        199: (0.65904, 0.5839, 0.89871, 0.3183),
        999: (0.00004, 1.0, 0.0, 1.0),
    }
    for t, (linear_bar, linear_sigma, cosine_bar, cosine_sigma) in golden.items():
        for schedule, bar, sigma in ((linear, linear_bar, linear_sigma), (cosine, cosine_bar, cosine_sigma)):
            assert schedule.alpha_bar[t] == pytest.approx(bar, abs=6e-6)
            assert schedule.sqrt_one_minus_alpha_bar[t + 1] == pytest.approx(sigma, abs=6e-5)
    assert float(cosine.snr(0)) == pytest.approx(24221, rel=1e-4)
    assert float(cosine.snr(99)) == pytest.approx(34.8, abs=0.05)


def test_linear_closed_form():
    schedule = make_schedule("linear", 1000)
    assert_table(schedule.beta, {0: 1e-4, 999: 0.02}, rtol=1e-7)
    assert float(schedule.beta[500] - schedule.beta[499]) == pytest.approx(0.0199 / 999, rel=1e-3)
    scaled = make_schedule("linear", 50, scale=1000 / 50)  # DiffusionRet
    assert_table(scaled.beta, {0: 0.002, 49: 0.4}, rtol=1e-6)


def test_sqrt_closed_form():
    schedule = make_schedule("sqrt", 2000)
    for t in (0, 10, 700, 1998):
        expected = (1 - ((t + 1) / 2000 + 1e-4) ** 0.5) / (1 - 0.01)  # alpha_bar_t = g((t+1)/T) / g(0)
        assert schedule.alpha_bar[t] == pytest.approx(expected, rel=1e-6)
    assert schedule.beta[-1] == pytest.approx(0.999)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [1, 2, 10, 50, 1000])
def test_tables_are_consistent(name, steps):
    schedule = make_schedule(name, steps)
    assert schedule.num_steps == steps
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(schedule))
    assert np.all(schedule.beta > 0)
    assert np.all(schedule.beta <= np.float32(0.999))
    assert np.all(np.diff(schedule.alpha_bar) < 0)
    assert (schedule.sqrt_alpha_bar[0], schedule.sqrt_one_minus_alpha_bar[0]) == (1.0, 0.0)
    np.testing.assert_allclose(schedule.sqrt_alpha_bar[1:] ** 2, schedule.alpha_bar, rtol=3e-7)
    np.testing.assert_allclose(schedule.sqrt_alpha_bar**2 + schedule.sqrt_one_minus_alpha_bar**2, 1.0, rtol=3e-7)


def test_betas_functions_agree_with_make_schedule():
    betas = {"linear": linear_betas, "scaled_linear": scaled_linear_betas, "cosine": cosine_betas, "sqrt": sqrt_betas}
    for name, function in betas.items():
        np.testing.assert_array_equal(make_schedule(name, 30).beta, function(30).astype(np.float32))


def test_bad_schedules_are_named():
    with pytest.raises(UsageError, match="unknown schedule 'cosin'"):
        make_schedule("cosin", 50)
    with pytest.raises(UsageError, match="at least 1 step"):
        make_schedule("cosine", 0)
    with pytest.raises(UsageError, match="no option 'beta_start'"):
        make_schedule("cosine", 50, beta_start=0.1)
    with pytest.raises(UsageError, match="from 0.01 to 2"):
        make_schedule("linear", 10, scale=100.0)  # DiffusionRet's 1000 / K cannot go down to K = 10
    for bad in ([], [0.0], [0.5, np.nan], [[0.1]]):
        with pytest.raises(UsageError, match="every beta"):
            from_betas(np.asarray(bad))


def test_q_sample_ends_and_moments():
    schedule = make_schedule("cosine", 50)
    x0 = jnp.broadcast_to(jnp.array([1.0, 0.0, -1.0, 0.5], jnp.float32)[None], (20_000, 4))
    eps = normal(0, *x0.shape)
    np.testing.assert_array_equal(schedule.q_sample(x0, -1, eps), x0)
    for t in (0, 24, 49):
        x_t = np.asarray(schedule.q_sample(x0, t, eps))
        np.testing.assert_allclose(x_t.mean(0), np.sqrt(schedule.alpha_bar[t]) * np.asarray(x0[0]), atol=0.03)
        np.testing.assert_allclose(x_t.var(0), 1 - schedule.alpha_bar[t], rtol=0.04)
    noisy = schedule.q_sample(normal(1, *x0.shape), 49, eps)
    assert abs(np.corrcoef(np.ravel(noisy), np.ravel(normal(1, *x0.shape)))[0, 1]) < 0.01


def test_where_the_signal_is_gone_and_where_it_is_not():
    x0, eps = normal(0, 400, 64), normal(1, 400, 64)
    noisy = np.asarray(make_schedule("linear", 1000).q_sample(x0, 999, eps))
    assert abs(np.corrcoef(noisy.ravel(), np.asarray(x0).ravel())[0, 1]) < 0.05  # DAC: nothing is left of the latent
    shallow = make_schedule("cosine", 1000)  # Diffusion-Link: kappa = 5, d = 512, s* = 100
    assert 5 * shallow.sqrt_alpha_bar[100] == pytest.approx(4.93, abs=0.005)
    assert 512**0.5 * shallow.sqrt_one_minus_alpha_bar[100] == pytest.approx(3.78, abs=0.005)


def test_one_index_per_row():
    schedule = make_schedule("linear", 100)
    x0, eps = (normal(i, 3, 2, 5) for i in (0, 1))
    t = jnp.array([0, 50, 99])
    rows = schedule.q_sample(x0, t, eps)
    for i in range(3):
        np.testing.assert_allclose(rows[i], schedule.q_sample(x0[i : i + 1], int(t[i]), eps[i : i + 1])[0], rtol=1e-6)
    assert schedule.snr(t).shape == (3,)


vectors = hnp.arrays(np.float32, (3, 4), elements=st.floats(-3, 3, width=32))


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(NAMES), t=st.integers(0, 999), x0=vectors, eps=vectors)
def test_conversions_round_trip(name, t, x0, eps):
    schedule = make_schedule(name, 1000)
    x0, eps = jnp.asarray(x0), jnp.asarray(eps)
    x_t = schedule.q_sample(x0, t, eps)
    truth = {"x0": x0, "eps": eps, "v": schedule.training_target(x0, eps, t, "v")}
    signal, noise = schedule.sqrt_alpha_bar[t + 1], schedule.sqrt_one_minus_alpha_bar[t + 1]
    for source in truth:
        for target in truth:
            value = schedule.convert(truth[source], x_t, t, source, target)
            divisor = 1.0 if source == target else {"x0": noise, "eps": signal, "v": 1.0}[source]  # what the formula divides by
            np.testing.assert_allclose(value, truth[target], rtol=0, atol=4e-6 / divisor)


def test_round_trip_to_1e5_where_alpha_bar_is_above_1e4():
    schedule = make_schedule("linear", 1000)
    x_t, x0 = (normal(i, 1000, 128) for i in (0, 1))
    kept = schedule.alpha_bar > 1e-4
    t = jnp.arange(1000)
    back = schedule.x0_from_eps(x_t, t, schedule.eps_from_x0(x_t, t, x0))
    error = np.linalg.norm(back - x0, axis=1) / np.linalg.norm(x0, axis=1)
    assert error[kept].max() < 1e-5


def test_unknown_prediction_is_named():
    schedule = make_schedule("linear", 10)
    with pytest.raises(UsageError, match="unknown prediction 'epsilon'"):
        schedule.convert(jnp.ones((1, 1)), jnp.ones((1, 1)), 0, "epsilon", "x0")
    with pytest.raises(UsageError, match="unknown prediction"):
        schedule.min_snr_weight(0, "score")


@pytest.mark.parametrize(("t", "t_prev"), [(999, 998), (500, 499), (1, 0), (0, -1), (999, 979), (400, 90)])
@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_posterior_equals_bayes_in_float64(name, t, t_prev):
    """q(x_p | x_t, x_0) from the product of two Gaussians, in float64."""
    schedule = make_schedule(name, 1000)
    bar = np.concatenate([[1.0], np.cumprod(1 - {"linear": linear_betas, "cosine": cosine_betas}[name](1000))])
    bar_t, bar_p = bar[t + 1], bar[t_prev + 1]
    alpha = bar_t / bar_p
    x_t, x0 = 0.7, -0.4
    if t_prev == -1:
        mean, variance = x0, 0.0
    else:
        precision = alpha / (1 - alpha) + 1 / (1 - bar_p)
        mean = (np.sqrt(alpha) * x_t / (1 - alpha) + np.sqrt(bar_p) * x0 / (1 - bar_p)) / precision
        variance = 1 / precision
    got_mean, got_variance = schedule.posterior(jnp.full((1, 1), x_t), jnp.full((1, 1), x0), t, t_prev)
    assert float(got_mean[0, 0]) == pytest.approx(mean, rel=2e-6)
    assert float(got_variance[0, 0]) == pytest.approx(variance, rel=2e-6, abs=1e-12)


def test_ddim_at_eta_1_has_the_mean_and_variance_of_ddpm():
    schedule = make_schedule("cosine", 50)
    x_t, x0, noise = (normal(i, 4, 6) for i in range(3))
    for t, t_prev in ((49, 48), (30, 20), (1, 0), (0, -1)):
        ddpm = schedule.ddpm_step(x_t, x0, t, t_prev, noise)
        np.testing.assert_allclose(schedule.ddim_step(x_t, x0, t, t_prev, 1.0, noise), ddpm, atol=2e-6)


def test_large_variance_is_beta_and_vanishes_at_the_end():
    schedule = make_schedule("linear", 100)
    zeros, ones = jnp.zeros((1, 1)), jnp.ones((1, 1))
    assert float(schedule.ddpm_step(zeros, zeros, 50, 49, ones, "large")[0, 0]) == pytest.approx(float(schedule.beta[50]) ** 0.5, rel=1e-5)
    assert float(schedule.ddpm_step(zeros, zeros, 0, -1, ones, "large")[0, 0]) == 0.0
    with pytest.raises(UsageError, match="'small' or 'large'"):
        schedule.ddpm_step(zeros, zeros, 50, 49, ones, "fixed")
    with pytest.raises(UsageError, match="needs noise"):
        schedule.ddim_step(zeros, zeros, 50, 49, 0.5)


def test_min_snr_weights():
    schedule = make_schedule("cosine", 1000)
    t = jnp.array([0, 300, 600, 900])
    snr = np.asarray(schedule.snr(t), np.float64)
    assert snr[0] > 5 > snr[-1]
    np.testing.assert_allclose(schedule.min_snr_weight(t, "x0"), np.minimum(snr, 5), rtol=1e-6)
    np.testing.assert_allclose(schedule.min_snr_weight(t, "eps"), np.minimum(snr, 5) / snr, rtol=1e-6)
    np.testing.assert_allclose(schedule.min_snr_weight(t, "v", gamma=2.0), np.minimum(snr, 2) / (snr + 1), rtol=1e-6)


def test_grids():
    assert timestep_grid(4).tolist() == [3, 2, 1, 0, -1]
    assert timestep_grid(1000, 5, "trailing", start=100).tolist() == [99, 79, 59, 39, 19, -1]  # Diffusion-Link
    assert timestep_grid(1000, 5, "trailing").tolist() == [999, 799, 599, 399, 199, -1]
    assert timestep_grid(1000, 10, "leading", offset=1, last=0).tolist() == [901, 801, 701, 601, 501, 401, 301, 201, 101, 1, 0]  # AudioLDM
    audioldm = timestep_grid(1000, 200, "leading", offset=1, last=0)
    assert audioldm[[0, -3, -2, -1]].tolist() == [996, 6, 1, 0]
    assert timestep_grid(1000, 3, "linspace").tolist() == [999, 500, 0, -1]  # 499.5 rounds to the even neighbour
    assert timestep_grid(1000, 34, "strided").tolist() == [*range(999, 0, -30), -1]  # LaDiC
    assert timestep_grid(50, start=3).tolist() == [2, 1, 0, -1]
    assert timestep_grid(1, 1, "linspace").tolist() == [0, -1]


@given(
    steps=st.integers(1, 1000),
    share=st.floats(0, 1),
    start=st.floats(0.01, 1),
    spacing=st.sampled_from(["leading", "trailing", "linspace"]),
)
@settings(max_examples=150, deadline=None)
def test_grids_descend_and_have_the_asked_length(steps, share, start, spacing):
    s_star = max(1, int(steps * start))
    count = max(1, int(s_star * share))
    grid = timestep_grid(steps, count, spacing, start=s_star)
    assert len(grid) == count + 1
    assert np.all(np.diff(grid) < 0)
    assert grid[0] < s_star
    assert grid[-1] == -1
    if spacing != "leading":
        assert grid[0] == s_star - 1


def test_bad_grids_are_named():
    with pytest.raises(UsageError, match="51 sampling steps do not fit 50"):
        timestep_grid(50, 51, "leading")
    with pytest.raises(UsageError, match="300 sampling steps do not fit 1000 noise levels in equal strides: 250 steps do"):
        timestep_grid(1000, 300, "strided")
    with pytest.raises(UsageError, match="start must lie in 1..50"):
        timestep_grid(50, start=51)
    with pytest.raises(UsageError, match="do not fit"):
        timestep_grid(50, 10, "all")
    with pytest.raises(UsageError, match="unknown spacing"):
        timestep_grid(50, 10, "karras")
    with pytest.raises(UsageError, match="leaves the range"):
        timestep_grid(50, 50, "leading", offset=1)
    with pytest.raises(UsageError, match="offset=1"):
        timestep_grid(50, 10, "leading", last=0)


def test_jit_takes_the_schedule_as_an_argument():
    schedule = make_schedule("linear", 40)
    x, eps = (normal(i, 3, 4) for i in (0, 1))

    def steps(schedule, t):
        return schedule.ddpm_step(x, eps, t, t - 1, eps), schedule.snr(t), schedule.q_sample(x, t, eps)

    for eager, jitted in zip(steps(schedule, jnp.int32(7)), jax.jit(steps)(schedule, jnp.int32(7)), strict=True):
        np.testing.assert_allclose(eager, jitted, rtol=2e-6, atol=1e-6)
