"""The diffusion schedule that all papers share: noise tables, conversions, posterior, single reverse steps, timestep grids.

Variance preserving, discrete time. Index t runs over 0..T-1 (0 = least noise), and t = -1 stands for clean data: alpha_bar(-1) := 1, so the
step to -1 returns x0_hat. With a = sqrt(alpha_bar_t), s = sqrt(1 - alpha_bar_t):

  x_t = a x_0 + s eps          (q_sample)
  v   = a eps - s x_0          (Salimans & Ho 2022, arXiv 2202.00512)

Tables are computed in float64 and stored in float32; coefficients take the dtype of the array they multiply. `t` is an int32 scalar or one
index per row of the batch. Nothing here has state: a grid of timesteps (`timestep_grid`) is an argument of the samplers.
"""

from typing import Literal, get_args

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from audiojax.errors import UsageError

Prediction = Literal["eps", "x0", "v"]
Spacing = Literal["leading", "trailing", "linspace", "strided", "all"]
Timestep = Int[Array, "b"] | int


@struct.dataclass
class Schedule:
    """Tables of one noise schedule; a pytree, made by `make_schedule` or `from_betas`.

    Attributes:
      beta: [T], variance added at step t.
      alpha_bar: [T], prod_{i<=t} (1 - beta_i).
      sqrt_alpha_bar: [T + 1], row t + 1 holds step t; row 0 is clean data (1).
      sqrt_one_minus_alpha_bar: [T + 1], the same for the noise (row 0 is 0).
      log_alpha_bar: [2, T + 1], log alpha_bar as a float32 value and what its rounding left over, so that the ratio of two close
        alpha_bars keeps full precision.
    """

    beta: Float[Array, "t"]
    alpha_bar: Float[Array, "t"]
    sqrt_alpha_bar: Float[Array, "t+1"]
    sqrt_one_minus_alpha_bar: Float[Array, "t+1"]
    log_alpha_bar: Float[Array, "2 t+1"]

    @property
    def num_steps(self) -> int:
        """T, the number of noise levels."""
        return self.beta.shape[0]

    def signal(self, t: Timestep, x: Float[Array, "b *d"]) -> Float[Array, "b *ones"]:
        """sqrt(alpha_bar_t), shaped to multiply x."""
        return _rows(self.sqrt_alpha_bar, t, x)

    def noise(self, t: Timestep, x: Float[Array, "b *d"]) -> Float[Array, "b *ones"]:
        """sqrt(1 - alpha_bar_t), shaped to multiply x."""
        return _rows(self.sqrt_one_minus_alpha_bar, t, x)

    def q_sample(self, x0: Float[Array, "b *d"], t: Timestep, eps: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps; t = -1 returns x_0."""
        return self.signal(t, x0) * x0 + self.noise(t, x0) * eps

    def x0_from_eps(self, x_t: Float[Array, "b *d"], t: Timestep, eps: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """x_0 = (x_t - s eps) / a."""
        return (x_t - self.noise(t, x_t) * eps) / self.signal(t, x_t)

    def x0_from_v(self, x_t: Float[Array, "b *d"], t: Timestep, v: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """x_0 = a x_t - s v."""
        return self.signal(t, x_t) * x_t - self.noise(t, x_t) * v

    def eps_from_x0(self, x_t: Float[Array, "b *d"], t: Timestep, x0: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """eps = (x_t - a x_0) / s, which needs t >= 0."""
        return (x_t - self.signal(t, x_t) * x0) / self.noise(t, x_t)

    def eps_from_v(self, x_t: Float[Array, "b *d"], t: Timestep, v: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """eps = s x_t + a v."""
        return self.noise(t, x_t) * x_t + self.signal(t, x_t) * v

    def v_from_x0(self, x_t: Float[Array, "b *d"], t: Timestep, x0: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """v = (a x_t - x_0) / s, which needs t >= 0."""
        return (self.signal(t, x_t) * x_t - x0) / self.noise(t, x_t)

    def v_from_eps(self, x_t: Float[Array, "b *d"], t: Timestep, eps: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """v = (eps - s x_t) / a."""
        return (eps - self.noise(t, x_t) * x_t) / self.signal(t, x_t)

    def convert(
        self, value: Float[Array, "b *d"], x_t: Float[Array, "b *d"], t: Timestep, source: Prediction, target: Prediction
    ) -> Float[Array, "b *d"]:
        """The same prediction in another parametrisation: `source` and `target` are "eps", "x0" or "v"."""
        for name in (source, target):
            check_prediction(name)
        if source == target:
            return value
        return getattr(self, f"{target}_from_{source}")(x_t, t, value)

    def training_target(
        self, x0: Float[Array, "b *d"], eps: Float[Array, "b *d"], t: Timestep, prediction: Prediction
    ) -> Float[Array, "b *d"]:
        """What a network of this parametrisation is trained to output: x_0, eps, or v = a eps - s x_0."""
        check_prediction(prediction)
        if prediction == "v":
            return self.signal(t, x0) * eps - self.noise(t, x0) * x0
        return x0 if prediction == "x0" else eps

    def snr(self, t: Timestep) -> Float[Array, "b"]:
        """Signal-to-noise ratio alpha_bar_t / (1 - alpha_bar_t), float32."""
        t = jnp.asarray(t)
        return jnp.square(jnp.asarray(self.sqrt_alpha_bar)[t + 1] / jnp.asarray(self.sqrt_one_minus_alpha_bar)[t + 1])

    def min_snr_weight(self, t: Timestep, prediction: Prediction, gamma: float = 5.0) -> Float[Array, "b"]:
        """Loss weight of min-SNR-gamma (Hang et al. 2023, arXiv 2303.09556), for a mean squared error on `prediction`.

        x0: min(snr, gamma);  eps: min(snr, gamma) / snr;  v: min(snr, gamma) / (snr + 1).
        """
        check_prediction(prediction)
        snr = self.snr(t)
        capped = jnp.minimum(snr, gamma)
        return {"x0": capped, "eps": capped / snr, "v": capped / (snr + 1.0)}[prediction]

    def posterior(
        self, x_t: Float[Array, "b *d"], x0: Float[Array, "b *d"], t: Timestep, t_prev: Timestep
    ) -> tuple[Float[Array, "b *d"], Float[Array, "b *ones"]]:
        """Mean and variance of q(x_p | x_t, x_0) for any p = t_prev < t (DDPM Eqs. 6-7 where p = t - 1; skipped steps by the same algebra).

        With alpha = alpha_bar_t / alpha_bar_p and beta = 1 - alpha:
          mean = (sqrt(alpha_bar_p) beta x_0 + sqrt(alpha) (1 - alpha_bar_p) x_t) / (1 - alpha_bar_t)
          variance = beta (1 - alpha_bar_p) / (1 - alpha_bar_t), which is 0 at p = -1.
        """
        alpha, beta = self._step_alpha_beta(t, t_prev, x_t)
        kept = jnp.square(self.noise(t_prev, x_t) / self.noise(t, x_t))  # (1 - alpha_bar_p) / (1 - alpha_bar_t)
        pull = self.signal(t_prev, x_t) * beta / jnp.square(self.noise(t, x_t))
        return pull * x0 + jnp.sqrt(alpha) * kept * x_t, beta * kept

    def ddpm_step(
        self,
        x_t: Float[Array, "b *d"],
        x0: Float[Array, "b *d"],
        t: Timestep,
        t_prev: Timestep,
        noise: Float[Array, "b *d"],
        variance: Literal["small", "large"] = "small",
    ) -> Float[Array, "b *d"]:
        """x_p ~ q(x_p | x_t, x0_hat) (Ho et al. 2020, Alg. 2); "small" is the posterior variance, "large" is beta; no noise at p = -1."""
        mean, small = self.posterior(x_t, x0, t, t_prev)
        if variance == "small":
            return mean + jnp.sqrt(small) * noise
        if variance != "large":
            raise UsageError(f"variance must be 'small' or 'large', not {variance!r}")
        _, beta = self._step_alpha_beta(t, t_prev, x_t)
        return mean + jnp.where(self.noise(t_prev, x_t) > 0.0, jnp.sqrt(beta), jnp.zeros_like(beta)) * noise

    def ddim_step(
        self,
        x_t: Float[Array, "b *d"],
        x0: Float[Array, "b *d"],
        t: Timestep,
        t_prev: Timestep,
        eta: float = 0.0,
        noise: Float[Array, "b *d"] | None = None,
    ) -> Float[Array, "b *d"]:
        """One DDIM step to p = t_prev (Song et al. 2021, Eq. 12), eps_hat taken from x0_hat.

        sigma^2 = eta^2 (1 - alpha_bar_p) / (1 - alpha_bar_t) (1 - alpha_bar_t / alpha_bar_p)
        x_p = sqrt(alpha_bar_p) x0_hat + sqrt(1 - alpha_bar_p - sigma^2) eps_hat + sigma noise
        eta = 0 is deterministic and needs no noise; eta = 1 has the variance of the DDPM posterior.
        """
        eps = self.eps_from_x0(x_t, t, x0)
        if eta == 0.0:
            return self.q_sample(x0, t_prev, eps)
        if noise is None:
            raise UsageError(f"a DDIM step with eta = {eta} needs noise")
        _, beta = self._step_alpha_beta(t, t_prev, x_t)
        share = eta**2 * beta / jnp.square(self.noise(t, x_t))  # sigma^2 / (1 - alpha_bar_p)
        direction = jnp.sqrt(jnp.maximum(1.0 - share, 0.0)) * eps + jnp.sqrt(share) * noise
        return self.q_sample(x0, t_prev, direction)

    def dpmpp_2m_step(
        self,
        x_t: Float[Array, "b *d"],
        x0: Float[Array, "b *d"],
        x0_before: Float[Array, "b *d"],
        t: Timestep,
        t_prev: Timestep,
        t_before: Timestep,
        first_order: bool | Array = False,
    ) -> Float[Array, "b *d"]:
        """One step of DPM-Solver++(2M), midpoint form (Lu et al. 2022, arXiv 2211.01095, Alg. 2).

        With lambda = log(a / s), h = lambda_p - lambda_t, h_before = lambda_t - lambda_before:
          D = x0_hat + h / (2 h_before) (x0_hat - x0_hat_before),  x_p = (s_p / s_t) x_t - a_p (exp(-h) - 1) D
        The update from D is the DDIM step with eta = 0.

        Args:
          x0_before: the prediction made at `t_before` > t.
          first_order: True uses D = x0_hat (the first step, and any step to p = -1, where lambda is infinite).
        """
        lam, lam_prev, lam_before = (self._half_log_snr(step, x_t) for step in (t, t_prev, t_before))
        plain = jnp.logical_or(jnp.asarray(first_order), jnp.isinf(lam_prev))
        gap_before = jnp.where(plain, jnp.ones_like(lam), lam - lam_before)
        ratio = jnp.where(plain, jnp.zeros_like(lam), (lam_prev - lam) / (2.0 * gap_before))
        return self.ddim_step(x_t, x0 + ratio * (x0 - x0_before), t, t_prev)

    def renoise_step(self, x0: Float[Array, "b *d"], t_prev: Timestep, noise: Float[Array, "b *d"]) -> Float[Array, "b *d"]:
        """x_p = sqrt(alpha_bar_p) x0_hat + sqrt(1 - alpha_bar_p) z with fresh z; x0_hat itself at p = -1 (LaDiC code)."""
        return self.q_sample(x0, t_prev, noise)

    def _half_log_snr(self, t: Timestep, x: Float[Array, "b *d"]) -> Float[Array, "b *ones"]:
        return jnp.log(self.signal(t, x)) - jnp.log(self.noise(t, x))

    def _step_alpha_beta(self, t: Timestep, t_prev: Timestep, x: Float[Array, "b *d"]) -> tuple[Array, Array]:
        high, low = (_rows(part, t, x) - _rows(part, t_prev, x) for part in (self.log_alpha_bar[0], self.log_alpha_bar[1]))
        return jnp.exp(high + low), -jnp.expm1(high + low)


def _rows(table: Float[Array, "t+1"], t: Timestep, x: Float[Array, "b *d"]) -> Float[Array, "b *ones"]:
    values = jnp.asarray(table)[jnp.asarray(t) + 1].astype(x.dtype)
    return jnp.reshape(values, values.shape + (1,) * (x.ndim - values.ndim))


def check_prediction(name: str) -> None:
    """Raises UsageError unless `name` is a parametrisation."""
    if name not in get_args(Prediction):
        raise UsageError(f"unknown prediction {name!r}: use one of {', '.join(get_args(Prediction))}")


def from_betas(beta: Float[np.ndarray, "t"]) -> Schedule:
    """The schedule of a float64 vector of betas.

    Raises:
      UsageError: a beta lies outside (0, 1).
    """
    beta = np.asarray(beta, np.float64)
    if beta.ndim != 1 or beta.size == 0 or not (beta.min() > 0.0 and beta.max() < 1.0):
        shown = f"from {beta.min():.4g} to {beta.max():.4g}" if beta.size else "none"
        raise UsageError(f"every beta must lie in (0, 1), got {shown}; use more steps or a smaller scale")
    log_alpha_bar = np.concatenate([[0.0], np.cumsum(np.log1p(-beta))])
    high = log_alpha_bar.astype(np.float32)
    return Schedule(
        beta=beta.astype(np.float32),
        alpha_bar=np.exp(log_alpha_bar[1:]).astype(np.float32),
        sqrt_alpha_bar=np.exp(0.5 * log_alpha_bar).astype(np.float32),
        sqrt_one_minus_alpha_bar=np.sqrt(-np.expm1(log_alpha_bar)).astype(np.float32),
        log_alpha_bar=np.stack([high, (log_alpha_bar - high).astype(np.float32)]),
    )


def linear_betas(num_steps: int, beta_start: float = 1e-4, beta_end: float = 0.02, scale: float = 1.0) -> Float[np.ndarray, "t"]:
    """DDPM's linear betas (Ho et al. 2020), times `scale`; DiffusionRet's code uses scale = 1000 / num_steps."""
    return scale * np.linspace(beta_start, beta_end, num_steps, dtype=np.float64)


def scaled_linear_betas(num_steps: int, beta_start: float = 0.0015, beta_end: float = 0.0195) -> Float[np.ndarray, "t"]:
    """Betas whose square roots are linear: AudioLDM's schedule (there called "linear")."""
    return np.linspace(beta_start**0.5, beta_end**0.5, num_steps, dtype=np.float64) ** 2


def cosine_betas(num_steps: int, offset: float = 0.008, max_beta: float = 0.999) -> Float[np.ndarray, "t"]:
    """beta_t = min(1 - g((t+1)/T) / g(t/T), max_beta), g(u) = cos^2((u + offset) / (1 + offset) pi / 2) (Nichol & Dhariwal 2021)."""
    u = np.arange(num_steps + 1, dtype=np.float64) / num_steps
    return _betas_from_curve(np.cos((u + offset) / (1.0 + offset) * np.pi / 2.0) ** 2, max_beta)


def sqrt_betas(num_steps: int, offset: float = 1e-4, max_beta: float = 0.999) -> Float[np.ndarray, "t"]:
    """The same construction with g(u) = 1 - sqrt(u + offset), the text schedule of Diffusion-LM (Li et al. 2022)."""
    u = np.arange(num_steps + 1, dtype=np.float64) / num_steps
    return _betas_from_curve(1.0 - np.sqrt(u + offset), max_beta)


def _betas_from_curve(curve: Float[np.ndarray, "t+1"], max_beta: float) -> Float[np.ndarray, "t"]:
    return np.minimum(1.0 - curve[1:] / curve[:-1], max_beta)


BETAS = {"linear": linear_betas, "scaled_linear": scaled_linear_betas, "cosine": cosine_betas, "sqrt": sqrt_betas}


def make_schedule(name: str, num_steps: int, **options: float) -> Schedule:
    """The schedule called `name` with T = num_steps levels.

    Args:
      name: linear | scaled_linear | cosine | sqrt.
      options: arguments of that schedule's `*_betas` function (beta_start, beta_end, scale, offset, max_beta).

    Raises:
      UsageError: unknown name, T < 1, an option that this schedule does not have, or betas outside (0, 1).
    """
    if name not in BETAS:
        raise UsageError(f"unknown schedule {name!r}: use one of {', '.join(BETAS)}")
    if num_steps < 1:
        raise UsageError(f"a schedule needs at least 1 step, got {num_steps}")
    accepted = BETAS[name].__code__.co_varnames[1 : BETAS[name].__code__.co_argcount]
    unknown = sorted(set(options) - set(accepted))
    if unknown:
        raise UsageError(f"schedule {name!r} has no option {unknown[0]!r}: it takes {', '.join(accepted)}")
    return from_betas(BETAS[name](num_steps, **options))


def timestep_grid(
    num_steps: int, samples: int | None = None, spacing: Spacing = "all", *, start: int | None = None, offset: int = 0, last: int = -1
) -> Int[np.ndarray, "n+1"]:
    """The path of a sampler: n descending timesteps at which the network is called, then the level at which it ends.

    With S = start or T, the calls are
      all:      S-1, S-2, ..., 0 (n = S)
      leading:  i floor(S / n) + offset, i = n-1..0  (AudioLDM: offset 1)
      trailing: round(S - i S / n) - 1, i = 0..n-1   (Diffusion-Link: start 100, n = 5 gives 99, 79, 59, 39, 19)
      linspace: n points from S-1 to 0, rounded
      strided:  S-1 - i ceil(S / n), i = 0..n-1   (LaDiC: n = 34 gives 999, 969, ..., 39, 9)
    and each step goes to the next entry of the grid.

    Args:
      num_steps: T of the schedule.
      samples: n, the number of network calls; not needed for "all".
      start: s*, begin at noise level s* - 1 instead of T - 1.
      offset: added to the "leading" timesteps.
      last: -1 ends on clean data (diffusers: set_alpha_to_one, or final sigmas "zero"); 0 ends at alpha_bar_0
        (diffusers: set_alpha_to_one false, or "sigma_min"; AudioLDM).

    Raises:
      UsageError: n or s* does not fit T, the offset leads out of the table, or the grid would not descend.
    """
    steps = num_steps if start is None else start
    if not 1 <= steps <= num_steps:
        raise UsageError(f"start must lie in 1..{num_steps}, the steps of the schedule, got {steps}")
    count = steps if samples is None else samples
    if not 1 <= count <= steps or (spacing == "all" and count != steps):
        raise UsageError(f"{count} sampling steps do not fit {steps} noise levels with spacing {spacing!r}")
    i = np.arange(count)
    if spacing == "all":
        calls = steps - 1 - i
    elif spacing == "leading":
        calls = i[::-1] * (steps // count) + offset
    elif spacing == "trailing":
        calls = np.round(steps - i * (steps / count)).astype(int) - 1
    elif spacing == "linspace":
        calls = np.round(np.linspace(0, steps - 1, count)).astype(int)[::-1] if count > 1 else np.array([steps - 1])
    elif spacing == "strided":
        calls = steps - 1 - i * -(-steps // count)
    else:
        raise UsageError(f"unknown spacing {spacing!r}: use one of {', '.join(get_args(Spacing))}")
    if last not in (-1, 0) or calls[0] >= num_steps:
        raise UsageError(f"a grid from {calls[0]} to {last} leaves the range {num_steps - 1}..-1 (last is -1 or 0)")
    if calls[-1] < 0:
        raise UsageError(f"{count} sampling steps do not fit {steps} noise levels in equal strides: {np.sum(calls >= 0)} steps do")
    grid = np.append(calls, last).astype(np.int32)
    if np.any(np.diff(grid) >= 0):
        raise UsageError(f"the grid ends at {calls[-1]} and must go on to {last}: use last=-1, or offset=1 with leading spacing")
    return grid
