"""PANNs as a callable tower: waveforms in, tags and embeddings out."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
from jaxtyping import Float

from audiojax.audio.spectral import MelConfig, log_mel
from audiojax.encoders.panns import PannsOutput
from audiojax.errors import UsageError
from audiojax.nn.conv import image_jit
from audiojax.towers.base import Tower
from audiojax.towers.waveforms import Waveforms, batch_at
from audiojax.typing import Array


@dataclass(frozen=True, eq=False)
class PannsTower(Tower):
    """CNN14 or ResNet38 with its front end.

    Attributes:
      mel: convention of its log-mel.
    """

    mel: MelConfig

    def __call__(self, waveform: Waveforms, sample_rate: int | None = None) -> PannsOutput:
        """Tags, embedding and frame features of clips [n] or [b, n] of one length; the log-mel is made on the device.

        Args:
          waveform: in [-1, 1].
          sample_rate: Hz; the tower's own by default, any other is resampled.

        Raises:
          UsageError: clips that cannot be used (see `batch_at`), or too short for the network.
        """
        clips = batch_at(waveform, sample_rate, self.mel.sample_rate)
        try:
            return encode(self.module, self.mel, self.params, clips)
        except ValueError as error:
            raise UsageError(f"clips of {clips.shape[1] / self.mel.sample_rate:g} s: {error}") from error


@partial(image_jit, static_argnums=(0, 1))
def encode(module: nn.Module, mel: MelConfig, params: Mapping[str, Any], waveform: Float[Array, "b n"]) -> PannsOutput:
    """The network on the log-mel of waveforms."""
    return module.apply(params, log_mel(waveform, mel), train=False)
