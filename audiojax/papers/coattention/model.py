"""The towers of co-attention retrieval: CLAP's HTSAT before its pooling, and the word states of a BERT or RoBERTa.

A clip is one window of HTSAT's length or several side by side; each gives as many segments as the last stage has time positions (32 of
0.31 s in 10 s published), the mean over its frequency groups. Segments of windows that a clip does not fill are masked.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from audiojax.audio.spectral import MelConfig, log_mel
from audiojax.encoders.bert import BertConfig, BertEncoder
from audiojax.encoders.htsat import Htsat, HtsatConfig
from audiojax.models.co_attention import States
from audiojax.typing import Array


class Towers(nn.Module):
    """Waveforms and token ids -> the states that the cascade compares. Parameters: "audio", "text".

    Attributes:
      mel: spectrogram convention of the audio tower.
      axis_name: pmap axis of HTSAT's BatchNorm statistics.
    """

    audio_config: HtsatConfig
    text_config: BertConfig
    mel: MelConfig
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    def setup(self) -> None:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        self.audio = Htsat(self.audio_config, self.axis_name, **types)
        self.text = BertEncoder(self.text_config, **types)

    def __call__(
        self, waveform: Float[Array, "b w n"], windows: Bool[Array, "b w"], ids: Int[Array, "c l"], mask: Bool[Array, "c l"], *, train: bool
    ) -> tuple[States, States]:
        """(segment states of clips, word states of captions)."""
        return self.encode_audio(waveform, windows, train=train), self.encode_text(ids, mask, train=train)

    def encode_audio(self, waveform: Float[Array, "b w n"], windows: Bool[Array, "b w"], *, train: bool) -> States:
        """Segments [b, w * time, width] of clips in [-1, 1] at the rate of `mel`; windows: True = the clip reaches into it."""
        clips, count, samples = waveform.shape
        mel = log_mel(waveform.reshape(clips * count, samples), self.mel)[:, None]
        tokens = self.audio(mel, train=train).tokens  # [b * w, time, mel, width]
        segments = jnp.mean(tokens, axis=2).reshape(clips, -1, tokens.shape[-1])
        return States(segments, jnp.repeat(windows, segments.shape[1] // count, axis=1))

    def encode_text(self, ids: Int[Array, "c l"], mask: Bool[Array, "c l"], *, train: bool) -> States:
        """Word states [c, l, width] of token ids, special tokens among them."""
        return States(self.text(ids, mask, train=train).tokens, mask)
