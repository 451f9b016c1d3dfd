"""Samplers: oracle denoisers, closed-form Gaussian data, layout invariance, hooks."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.collectives import example_keys
from audiojax.errors import UsageError
from audiojax.sampling import (
    guidance,
    guided,
    initial_noise,
    noised_start,
    sample_ddim,
    sample_ddpm,
    sample_dpmpp_2m,
    sample_renoise,
    step_noise,
)
from audiojax.schedule import make_schedule, timestep_grid

pytestmark = pytest.mark.usefixtures("strict_dtypes")

KEYS = example_keys(jax.random.key(0), 4)


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


SAMPLERS = {
    "ddim": sample_ddim,
    "ddim_eta_1": partial(sample_ddim, eta=1.0, keys=KEYS),
    "ddpm": partial(sample_ddpm, keys=KEYS),
    "ddpm_large": partial(sample_ddpm, keys=KEYS, variance="large"),
    "dpmpp_2m": sample_dpmpp_2m,
    "renoise": partial(sample_renoise, keys=KEYS),
}


@pytest.mark.parametrize(
    ("names", "steps", "prediction"),
    [
        (("ddim", "dpmpp_2m"), 1, "x0"),
        (SAMPLERS, 10, "x0"),
        (("ddim", "dpmpp_2m"), 50, "x0"),
        (("ddim",), 10, "eps"),
        (("ddim",), 10, "v"),
    ],
)
def test_an_oracle_denoiser_returns_x0(names, steps, prediction):
    schedule = make_schedule("cosine", steps)
    x0 = normal(1, 4, 6)

    def oracle(x, t):
        return schedule.convert(x0, x, t, "x0", prediction)

    for name in names:
        out = SAMPLERS[name](oracle, schedule, normal(2, 4, 6), timestep_grid(steps), prediction=prediction)
        np.testing.assert_allclose(out, x0, atol=1e-5)


@pytest.mark.parametrize(("name", "start", "calls"), [("ddim", 1, 1), ("ddim", 100, 5), ("renoise", 100, 5), ("dpmpp_2m", 400, 3)])
def test_oracle_from_a_shallow_start(name, start, calls):
    schedule = make_schedule("cosine", 1000)
    grid = timestep_grid(1000, calls, "trailing", start=start)
    x0 = normal(1, 4, 6)
    x = noised_start(schedule, 0.9 * x0, KEYS, grid)
    np.testing.assert_allclose(x, schedule.q_sample(0.9 * x0, start - 1, initial_noise(KEYS, (6,))), rtol=1e-6)
    np.testing.assert_allclose(SAMPLERS[name](lambda x, t: x0, schedule, x, grid), x0, atol=1e-5)


def gaussian_model(schedule, prediction, mean=0.6, std=0.3):
    """The exact E[x_0 | x_t] for data N(mean, std^2), in the asked parametrisation."""

    def model(x, t):
        a, s = schedule.signal(t, x), schedule.noise(t, x)
        x0 = mean + a * std**2 / (a**2 * std**2 + s**2) * (x - a * mean)
        return schedule.convert(x0, x, t, "x0", prediction)

    return model


@pytest.mark.parametrize("name", ["ddim", "ddim_eta_1", "ddpm", "dpmpp_2m"])
def test_gaussian_data_is_sampled_with_its_mean_and_spread(name):
    schedule = make_schedule("linear", 1000)
    keys = example_keys(jax.random.key(3), 2_000)
    sampler = SAMPLERS[name].func if isinstance(SAMPLERS[name], partial) else SAMPLERS[name]
    options = dict(getattr(SAMPLERS[name], "keywords", {}), prediction="eps")
    if "keys" in options:
        options["keys"] = keys
    out = np.asarray(sampler(gaussian_model(schedule, "eps"), schedule, initial_noise(keys, (2,)), timestep_grid(1000), **options))
    assert out.mean() == pytest.approx(0.6, abs=0.02)
    assert out.std() == pytest.approx(0.3, abs=0.02)


def test_second_order_is_closer_to_the_exact_ode_than_first():
    """For Gaussian data the probability-flow ODE maps x_T to mean + (std / std_T) (x_T - a_T mean). Grid even in log-SNR, 999 to 9."""
    schedule = make_schedule("linear", 1000)
    x = jnp.linspace(-2.0, 2.0, 8)[:, None]
    log_snr = np.log(np.asarray(schedule.snr(jnp.arange(1000))))
    grid = np.round(np.interp(-np.linspace(log_snr[999], log_snr[9], 21), -log_snr, np.arange(1000))).astype(int)
    a, s = (np.asarray(table, np.float64)[[9 + 1, 999 + 1]] for table in (schedule.sqrt_alpha_bar, schedule.sqrt_one_minus_alpha_bar))
    spread = np.sqrt(a**2 * 0.3**2 + s**2)
    exact = a[0] * 0.6 + spread[0] / spread[1] * (np.asarray(x) - a[1] * 0.6)
    model = gaussian_model(schedule, "x0")
    first = np.abs(sample_ddim(model, schedule, x, grid) - exact).max()
    second = np.abs(sample_dpmpp_2m(model, schedule, x, grid, lower_order_final=False) - exact).max()
    assert second < 0.25 * first
    assert second < 0.02


@pytest.mark.parametrize("name", ["ddim_eta_1", "ddpm", "renoise"])
def test_rows_depend_on_their_own_key_alone(name):
    schedule = make_schedule("linear", 20)
    sampler = {"ddim_eta_1": partial(sample_ddim, eta=1.0), "ddpm": sample_ddpm, "renoise": sample_renoise}[name]
    run = jax.jit(lambda x, keys: sampler(gaussian_model(schedule, "x0"), schedule, x, timestep_grid(20), keys=keys))
    x = normal(0, 4, 3)
    order = jnp.array([2, 0, 3, 1])
    whole = run(x, KEYS)
    np.testing.assert_array_equal(run(x[order], KEYS[order]), whole[order])
    np.testing.assert_allclose(run(x[1:2], KEYS[1:2]), whole[1:2], rtol=1e-6)
    other = run(x, example_keys(jax.random.key(9), 4))
    assert float(jnp.abs(other - whole).min()) > 1e-4


def test_noise_of_different_steps_differs():
    draws = jnp.stack([step_noise(KEYS, i, (500,)) for i in range(3)])
    np.testing.assert_array_equal(draws[0], initial_noise(KEYS, (500,)))
    correlation = np.corrcoef(np.asarray(draws).reshape(3, -1))
    assert np.abs(correlation - np.eye(3)).max() < 0.08
    np.testing.assert_allclose(np.asarray(draws).std(), 1.0, atol=0.03)


@pytest.mark.parametrize("name", ["ddim_eta_1", "ddpm", "dpmpp_2m"])
def test_jit_equals_no_jit(name):
    schedule = make_schedule("scaled_linear", 30)
    x = normal(0, 4, 3)
    grid = timestep_grid(30, 6, "leading")
    run = partial(SAMPLERS[name], gaussian_model(schedule, "v"), schedule, grid=grid, prediction="v")
    np.testing.assert_allclose(jax.jit(run)(x), run(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["ddim", "ddpm", "dpmpp_2m", "renoise"])
def test_the_clip_hook_bounds_x0(name):
    schedule = make_schedule("cosine", 20)
    seen = partial(jnp.clip, min=-0.5, max=0.5)
    out = SAMPLERS[name](lambda x, t: 3.0 * x, schedule, normal(0, 4, 8), timestep_grid(20), clip=seen)
    assert float(jnp.abs(out).max()) == pytest.approx(0.5, abs=1e-5)


def test_clipped_ddim_is_the_note_s_formula():
    """x0_hat = clip(f), eps_hat = (x / sqrt(abar) - x0_hat) / sqrt(1 / abar - 1): DiffusionRet's loop in NumPy, float64."""
    schedule = make_schedule("cosine", 50)
    bar = np.append(np.asarray(schedule.alpha_bar, np.float64), 1.0)
    weights = 0.3 * np.random.default_rng(5).standard_normal((6, 6))
    start = normal(0, 4, 6)
    x = np.asarray(start, np.float64)
    for k in range(49, -1, -1):
        x0 = np.clip(np.tanh(x @ weights) * 1.5 + 0.01 * k, -1, 1)
        eps = (x / np.sqrt(bar[k]) - x0) / np.sqrt(1 / bar[k] - 1)
        x = np.sqrt(bar[k - 1]) * x0 + np.sqrt(1 - bar[k - 1]) * eps

    def model(x, t):
        return jnp.tanh(x @ jnp.asarray(weights, jnp.float32)) * 1.5 + 0.01 * t[:, None].astype(jnp.float32)

    out = sample_ddim(model, schedule, start, timestep_grid(50), clip=lambda x0: jnp.clip(x0, -1.0, 1.0))
    np.testing.assert_allclose(out, x, atol=2e-5)


def test_per_step_values_are_scanned_along():
    schedule = make_schedule("linear", 10)
    grid = timestep_grid(10, 5, "trailing")
    x = normal(0, 4, 3)
    values = {"time": jnp.asarray(grid[:-1], jnp.float32), "bias": jnp.arange(5.0)[:, None] * jnp.ones((5, 3))}

    def hoisted(x, t, now):
        return 0.1 * x + now["time"] / 10.0 + now["bias"][None]

    def literal(x, t):
        step = jnp.argmax(jnp.asarray(grid[:-1])[None] == t[:, None], axis=1)
        return 0.1 * x + t[:, None].astype(jnp.float32) / 10.0 + step[:, None].astype(jnp.float32)

    np.testing.assert_allclose(
        sample_ddim(hoisted, schedule, x, grid, per_step=values), sample_ddim(literal, schedule, x, grid), rtol=1e-5, atol=1e-6
    )
    with pytest.raises(UsageError, match="leading axis of 5 steps"):
        sample_ddim(hoisted, schedule, x, grid, per_step={"time": jnp.ones(4), "bias": jnp.ones((5, 3))})


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_last_x0_is_carried_along(name):
    """Zeros, then what the model predicted at the step before, after the clip hook; `per_step` values come after it."""
    schedule, grid = make_schedule("linear", 20), timestep_grid(20, 4, "trailing")
    seen = []

    def model(x, t, x0_before, value):
        jax.debug.callback(lambda *numbers: seen.append([float(number) for number in numbers]), jnp.mean(x0_before), value, ordered=True)
        return jnp.full_like(x, value)

    options = {"per_step": jnp.array([1.0, 2.0, 3.0, 4.0]), "self_condition": True, "clip": lambda x0: jnp.minimum(x0, 2.5)}
    SAMPLERS[name](model, schedule, normal(2, 4, 6), grid, **options).block_until_ready()
    jax.effects_barrier()
    assert seen == [[0.0, 1.0], [1.0, 2.0], [2.0, 3.0], [2.5, 4.0]]


def test_guidance():
    cond, null = jnp.array([[2.0, 4.0]]), jnp.array([[1.0, 1.0]])
    np.testing.assert_allclose(guidance(cond, null, 1.0), cond)
    np.testing.assert_allclose(guidance(cond, null, 0.0), null)
    np.testing.assert_allclose(guidance(cond, null, 3.0), [[4.0, 10.0]])


@pytest.mark.parametrize("prediction", ["x0", "eps", "v"])
def test_guidance_is_the_same_in_every_parametrisation(prediction):
    schedule = make_schedule("linear", 20)
    condition, null = jnp.linspace(-1.0, 1.0, 4), jnp.zeros(4)
    calls = []

    def model(x, t, condition, now):
        calls.append(x.shape)
        x0 = 0.5 * jnp.tanh(x) + now * condition[:, None]
        return schedule.convert(x0, x, t, "x0", prediction)

    def run(weight, null_condition=null):
        wrapped = guided(model, condition, null_condition, weight)
        x = normal(0, 4, 3)
        return sample_ddim(wrapped, schedule, x, timestep_grid(20), prediction=prediction, per_step=jnp.full(20, 0.7))

    def by_hand(x, t):
        return 0.5 * jnp.tanh(x) + 2.5 * 0.7 * condition[:, None]  # null + 2.5 (cond - null) with null condition 0

    expected = sample_ddim(by_hand, schedule, normal(0, 4, 3), timestep_grid(20))
    np.testing.assert_allclose(run(2.5), expected, rtol=1e-4, atol=1e-5)
    assert set(calls) == {(8, 3)}  # one call on the doubled batch
    np.testing.assert_allclose(run(7.0, condition), run(1.0, condition), atol=1e-4)  # equal branches: any weight


def test_misuse_is_named():
    schedule = make_schedule("linear", 10)
    x = jnp.zeros((4, 2))
    model = gaussian_model(schedule, "x0")
    with pytest.raises(UsageError, match="one key a row: 4 keys, got None"):
        sample_ddim(model, schedule, x, timestep_grid(10), eta=0.5)
    with pytest.raises(UsageError, match="one key a row"):
        sample_ddpm(model, schedule, x, timestep_grid(10), keys=KEYS[:3])
    with pytest.raises(UsageError, match="must descend inside 9..-1"):
        sample_ddim(model, schedule, x, timestep_grid(20))
    with pytest.raises(UsageError, match="must descend"):
        sample_ddim(model, schedule, x, np.array([3]))
    with pytest.raises(UsageError, match="unknown prediction"):
        sample_ddim(model, schedule, x, timestep_grid(10), prediction="noise")
