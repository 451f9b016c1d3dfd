"""Whole sampling loops against the schedulers of diffusers: 1e-5 relative, for every schedule and parametrisation they share with us.

Conventions that correspond: `set_alpha_to_one` or final sigmas "zero" is a grid that ends at -1, `set_alpha_to_one=False` or "sigma_min"
one that ends at 0; `steps_offset` is the offset of "leading". DPM-Solver's "linspace" is ours with one step more, its last timestep
dropped. DDPM with the large variance ends without noise here; diffusers agrees where its last timestep is 0.
diffusers keeps float32 tables of alpha_bar and subtracts them (1 - alpha_bar_t / alpha_bar_p), which loses up to 1e-4; its tables are
replaced by the same ones in float64, so that the comparison is of formulas.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.collectives import example_keys
from audiojax.sampling import initial_noise, sample_ddim, sample_ddpm, sample_dpmpp_2m, step_noise
from audiojax.schedule import make_schedule, timestep_grid

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.parity

T = 1000
SCHEDULES = {
    "linear": ("linear", {"beta_start": 1e-4, "beta_end": 0.02}),
    "scaled_linear": ("scaled_linear", {"beta_start": 0.0015, "beta_end": 0.0195}),
    "cosine": ("squaredcos_cap_v2", {}),
}
PREDICTIONS = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
ROWS, WIDTH = 3, 6
KEYS = example_keys(jax.random.key(0), ROWS)
MATRIX = np.random.default_rng(0).normal(size=(WIDTH, WIDTH)).astype(np.float32) / WIDTH


def model(x, t):
    """A fixed linear denoiser that also looks at the time."""
    return x @ jnp.asarray(MATRIX) + 1e-4 * t[:, None].astype(jnp.float32)


def make_reference(kind, name, prediction, **options):
    """A diffusers scheduler with float64 tables."""
    schedule, betas = SCHEDULES[name]
    reference = getattr(diffusers, kind)(
        num_train_timesteps=T, beta_schedule=schedule, prediction_type=PREDICTIONS[prediction], **betas, **options
    )
    if name == "linear":
        beta = torch.linspace(1e-4, 0.02, T, dtype=torch.float64)
    elif name == "scaled_linear":
        beta = torch.linspace(0.0015**0.5, 0.0195**0.5, T, dtype=torch.float64) ** 2
    else:
        curve = torch.cos((torch.arange(T + 1, dtype=torch.float64) / T + 0.008) / 1.008 * torch.pi / 2) ** 2
        beta = (1 - curve[1:] / curve[:-1]).clamp(max=0.999)
    torch.testing.assert_close(beta.float(), reference.betas, rtol=2e-6, atol=1e-9)
    reference.alphas_cumprod = torch.cumprod(1 - beta, 0)
    if hasattr(reference, "final_alpha_cumprod"):
        reference.final_alpha_cumprod = torch.tensor(1.0).double() if options.get("set_alpha_to_one", True) else reference.alphas_cumprod[0]
    return reference


def run_reference(reference, steps, start, step_options=lambda i: {}):
    reference.set_timesteps(steps)
    x = torch.from_numpy(np.asarray(start, np.float64))
    for i, t in enumerate(reference.timesteps):
        output = x @ torch.from_numpy(MATRIX).double() + 1e-4 * float(t)
        x = reference.step(output, t, x, **step_options(i)).prev_sample
    return reference.timesteps.tolist(), x.numpy()


def assert_same(ours, theirs, tolerance=1e-5):
    assert np.abs(np.asarray(ours, np.float64) - theirs).max() <= tolerance * np.abs(theirs).max()


@pytest.fixture
def start():
    return initial_noise(KEYS, (WIDTH,))


def noise_of_step(i):
    return torch.from_numpy(np.asarray(step_noise(KEYS, i + 1, (WIDTH,)), np.float64))


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(
    ("steps", "spacing", "offset", "to_one"), [(50, "leading", 1, False), (20, "leading", 0, True), (50, "trailing", 0, True)]
)
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_ddim(name, prediction, steps, spacing, offset, to_one, eta, start):
    options = {"timestep_spacing": spacing, "steps_offset": offset, "set_alpha_to_one": to_one, "clip_sample": False}
    reference = make_reference("DDIMScheduler", name, prediction, **options)
    grid = timestep_grid(T, steps, spacing, offset=offset, last=-1 if to_one else 0)
    timesteps, theirs = run_reference(reference, steps, start, lambda i: {"eta": eta, "variance_noise": noise_of_step(i) if eta else None})
    assert grid[:-1].tolist() == timesteps
    ours = sample_ddim(model, make_schedule(name, T), start, grid, eta=eta, keys=KEYS, prediction=prediction)
    assert_same(ours, theirs)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("variance", "spacing"), [("small", "trailing"), ("large", "leading")])
def test_ddpm(name, prediction, variance, spacing, start, monkeypatch):
    options = {"timestep_spacing": spacing, "variance_type": f"fixed_{variance}", "clip_sample": False}
    reference = make_reference("DDPMScheduler", name, prediction, **options)
    reference.one = torch.tensor(1.0).double()
    drawn = []

    def ours_in_order(*args, **kwargs):
        drawn.append(None)
        return noise_of_step(len(drawn) - 1)

    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", ours_in_order)
    grid = timestep_grid(T, 50, spacing)
    timesteps, theirs = run_reference(reference, 50, start)
    assert grid[:-1].tolist() == timesteps
    assert len(drawn) == (49 if spacing == "leading" else 50)
    ours = sample_ddpm(model, make_schedule(name, T), start, grid, keys=KEYS, variance=variance, prediction=prediction)
    assert_same(ours, theirs)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(
    ("steps", "spacing", "final"), [(20, "linspace", "zero"), (10, "linspace", "sigma_min"), (20, "trailing", "sigma_min")]
)
def test_dpm_solver_pp_2m(name, prediction, steps, spacing, final, start):
    options = {"algorithm_type": "dpmsolver++", "solver_order": 2, "solver_type": "midpoint", "final_sigmas_type": final}
    reference = make_reference("DPMSolverMultistepScheduler", name, prediction, timestep_spacing=spacing, **options)
    last = -1 if final == "zero" else 0
    if spacing == "linspace":
        grid = np.append(timestep_grid(T, steps + 1, "linspace")[:steps], last)
    else:
        grid = timestep_grid(T, steps, spacing, last=last)
    timesteps, theirs = run_reference(reference, steps, start)
    assert grid[:-1].tolist() == timesteps
    ours = sample_dpmpp_2m(model, make_schedule(name, T), start, grid, lower_order_final=steps < 15, prediction=prediction)
    assert_same(ours, theirs)


@pytest.mark.parametrize("name", SCHEDULES)
def test_tables_and_noising(name, start):
    reference = make_reference("DDPMScheduler", name, "eps")
    schedule = make_schedule(name, T)
    np.testing.assert_allclose(schedule.beta, reference.betas, rtol=2e-6)
    np.testing.assert_allclose(schedule.alpha_bar, reference.alphas_cumprod, rtol=1e-5)
    x0, t = jnp.ones_like(start), jnp.array([0, 500, 999])
    noised = reference.add_noise(*(torch.from_numpy(np.array(x)).double() for x in (x0, start)), torch.from_numpy(np.array(t)).long())
    assert_same(schedule.q_sample(x0, t, start), noised.numpy())
    velocity = reference.get_velocity(*(torch.from_numpy(np.array(x)).double() for x in (x0, start)), torch.from_numpy(np.array(t)).long())
    assert_same(schedule.training_target(x0, start, t, "v"), velocity.numpy())
