"""How latents are drawn: the sampler, its path over the noise levels, and what of it people may choose."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from audiojax.errors import UsageError
from audiojax.schedule import timestep_grid

SAMPLERS = ("ddim", "dpm++", "ddpm")
NOISE_LEVELS = 1000
MOST_STEPS = NOISE_LEVELS // 2  # with more, whole strides of 1 would begin far below the last noise level
FEW_STEPS = 20  # with fewer, long strides end a little further from it, which is what few steps cost


@dataclass(frozen=True)
class Sampling:
    """How a sound is drawn; the defaults are those of AudioLDM's evaluation code.

    Attributes:
      sampler: "ddim", "dpm++" (DPM-Solver++(2M)) or "ddpm".
      steps: calls of the U-Net on the whole path, 1 to 500; from 21 on of those whose strides of whole levels begin near pure noise.
      eta: of DDIM; 0 draws nothing after the first noise, diffusers' default.
      strength: the share of the path that is walked, from its end: 1 starts from pure noise, 0 leaves a reference as it is.
    """

    sampler: str = "ddim"
    steps: int = 200
    eta: float = 1.0
    strength: float = 1.0

    def __post_init__(self):
        """UsageError for values that make no path."""
        if self.sampler not in SAMPLERS:
            raise UsageError(f"sampler is {self.sampler!a:.80}; there are {', '.join(SAMPLERS)}")
        if type(self.steps) is not int or not 1 <= self.steps <= MOST_STEPS:
            raise UsageError(f"steps is {self.steps!a:.80}; a whole number from 1 to {MOST_STEPS} is needed")
        if self.steps > FEW_STEPS and self.strength == 1 and not reaches_noise(self.steps):
            near = sorted(filter(reaches_noise, range(FEW_STEPS, MOST_STEPS + 1)), key=lambda steps: abs(steps - self.steps))[0]
            begin = 1 + (self.steps - 1) * (NOISE_LEVELS // self.steps)
            raise UsageError(
                f"steps is {self.steps}: the path would begin at noise level {begin} of {NOISE_LEVELS}, far from pure noise; take {near}"
            )
        for name in ("eta", "strength"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value <= 1:
                raise UsageError(f"{name} is {value!a:.80}; a number from 0 to 1 is needed")

    def grid(self) -> Int[np.ndarray, "n+1"]:
        """The timesteps that are called, and the end: 1 + i (1000 // steps) downwards, then alpha_bar_0, which is not clean data.

        A strength above 0 walks one step at least; one of 0 gives the end alone.
        """
        whole = timestep_grid(NOISE_LEVELS, self.steps, "leading", offset=1, last=0)
        walked = max(round(self.strength * self.steps), 1) if self.strength else 0
        return whole[len(whole) - 1 - walked :]


def reaches_noise(steps: int) -> bool:
    """Whether a path of whole strides begins where hardly anything of a sound is left: its share is sqrt(alpha_bar) < 0.05 there."""
    return (steps - 1) * (NOISE_LEVELS // steps) >= 0.85 * NOISE_LEVELS
