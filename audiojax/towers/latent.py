"""The towers of a latent-diffusion system: autoencoder, U-Net and vocoder, and what does without one.

Every method is compiled once for each shape of its inputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
from jaxtyping import Float, Int

from audiojax.audio.griffin_lim import mel_to_waveform
from audiojax.audio.spectral import MelConfig
from audiojax.models.unet import Context
from audiojax.partition import each_its_own
from audiojax.towers.base import Tower, infer, infer_image
from audiojax.typing import Array, Key


class VaeTower(Tower):
    """An autoencoder of log-mel spectrograms whose latents have about unit deviation, as the U-Net beside it takes and gives them."""

    def encode(self, mel: Float[Array, "b t m"], noise: Array | Key | None = None) -> Float[Array, "b t2 f c"]:
        """Scaled latents of spectrograms: the most probable ones, or a sample with `noise`, an array of their shape or a key."""
        moments = infer_image(self.module, self.params, mel, method="encode")
        return (moments.mode() if noise is None else moments.sample(noise)) * self.config.scaling_factor

    def decode(self, latents: Float[Array, "b t f c"]) -> Float[Array, "b t2 m"]:
        """Spectrograms of scaled latents."""
        return infer_image(self.module, self.params, latents / self.config.scaling_factor, method="decode")


class UnetTower(Tower):
    """A denoising U-Net."""

    def __call__(
        self,
        latents: Float[Array, "b t f c"],
        timesteps: Int[Array, "b"],
        class_labels: Float[Array, "b k"] | None = None,
        contexts: Sequence[Context] = (),
    ) -> Float[Array, "b t f c"]:
        """The noise in noised latents; see `audiojax.models.unet.UNet`."""
        return infer(self.module, self.params, latents, timesteps, class_labels, tuple(contexts))


@dataclass(frozen=True, eq=False)
class GriffinLimTower(Tower):
    """What stands in for a vocoder where there is none: Griffin-Lim. It has no weights.

    Attributes:
      mel: convention of the log-mels; `config` names the same bins and hop.
    """

    mel: MelConfig

    def __call__(self, mel: Float[Array, "b t m"]) -> Float[Array, "b samples"]:
        """Waveforms in [-1, 1] of log-mel spectrograms, at the rate of the convention."""
        sharding = None if isinstance(mel, jax.core.Tracer) else getattr(mel, "sharding", None)
        return _griffin_lim(self.mel, sharding, jax.random.key(0), mel)


class HifiganTower(Tower):
    """A vocoder."""

    def __call__(self, mel: Float[Array, "b t m"]) -> Float[Array, "b samples"]:
        """Waveforms in [-1, 1] of log-mel spectrograms; AudioLDM's are 160 * t + 32 samples long, at 16 kHz."""
        return infer(self.module, self.params, mel)


@partial(jax.jit, static_argnums=(0, 1))
def _griffin_lim(config: MelConfig, sharding: Any, key: Key, mel: Float[Array, "b t m"]) -> Float[Array, "b samples"]:
    return each_its_own(lambda first, rows: mel_to_waveform(rows, config, first), sharding, key, mel)
