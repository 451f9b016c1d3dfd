"""The networks of DAC: frozen BEATs and a BERT cut in two, the diffuser between them, and the head that reads tokens off the upper half.

BEATs gives the tokens of a clip. The lower layers of BERT give the latents of a caption's tokens; the diffuser makes such latents from
noise while it reads the clip; the upper layers turn them into states, of which the head says the token at every position.
"""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from audiojax.audio.spectral import log_mel
from audiojax.encoders.beats import Beats, BeatsConfig
from audiojax.encoders.bert import BertConfig, BertEncoder, MaskedLmHead
from audiojax.models.audio_projection import AudioProjection, AudioProjectionConfig
from audiojax.models.text_denoiser import Memory, TextDenoiser, TextDenoiserConfig
from audiojax.typing import Array


class Sound(NamedTuple):
    """Tokens of clips: `values` [b, m, k] and `mask` [b, m], True where a token is of the clip."""

    values: Array
    mask: Array


class Towers(nn.Module):
    """The frozen towers, always in evaluation mode. Parameters: "audio", "text".

    Attributes:
      lower_layers: blocks of BERT below the latents; the others are above.
    """

    audio_config: BeatsConfig
    text_config: BertConfig
    lower_layers: int
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    def setup(self) -> None:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        self.audio = Beats(self.audio_config, **types)
        self.text = BertEncoder(self.text_config, **types)

    def __call__(
        self, waveform: Float[Array, "b w s"], windows: Bool[Array, "b w"], ids: Int[Array, "c n"], mask: Bool[Array, "c n"]
    ) -> tuple[Sound, Float[Array, "c n d"]]:
        """(tokens of clips, states of captions after all of BERT): what initialises the whole tree."""
        return self.listen(waveform, windows), self.transition(self.encode(ids, mask))

    def listen(self, waveform: Float[Array, "b w s"], windows: Bool[Array, "b w"]) -> Sound:
        """Tokens [b, w * m, k] of clips in [-1, 1] at 16 kHz, window by window; windows: True = the clip reaches into it."""
        clips, count, samples = waveform.shape
        tokens = self.audio(log_mel(waveform.reshape(clips * count, samples), self.audio_config.front_end), train=False).tokens
        values = tokens.reshape(clips, -1, tokens.shape[-1])
        return Sound(values, jnp.repeat(windows, tokens.shape[1], axis=1))

    def encode(self, ids: Int[Array, "c n"], mask: Bool[Array, "c n"]) -> Float[Array, "c n d"]:
        """States of captions after the lower half of BERT, not standardised, float32."""
        return self.text.lower(ids, mask, layers=self.lower_layers, train=False).astype(jnp.float32)

    def transition(self, states: Float[Array, "c n d"]) -> Float[Array, "c n d"]:
        """The upper half of BERT; all positions attend, for which of them are words is only known afterwards."""
        everything = jnp.ones(states.shape[:2], bool)
        return self.text.upper(states.astype(self.dtype), everything, first=self.lower_layers, train=False)


class TokenHead(nn.Module):
    """BERT's masked-LM head with an output matrix of its own: the word table of the frozen BERT plus a learned difference, 0 at first."""

    config: BertConfig
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, states: Float[Array, "*b d"], word_table: Float[Array, "v d"]) -> Float[Array, "*b v"]:
        """Logits in float32 of the tokens at every position; `word_table` is BERT's parameter word/embedding."""
        learned = self.param("difference", nn.initializers.zeros, word_table.shape, self.param_dtype)
        head = MaskedLmHead(self.config, dtype=self.dtype, param_dtype=self.param_dtype, name="transform")
        return head(states, word_table + learned)


class Diffuser(nn.Module):
    """The projection of a clip's tokens and the denoiser that attends to it. Parameters: "projection", "denoiser"."""

    projection_config: AudioProjectionConfig
    denoiser_config: TextDenoiserConfig
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    def setup(self) -> None:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        self.projection = AudioProjection(self.projection_config, **types)
        self.denoiser = TextDenoiser(self.denoiser_config, **types)

    def memory(self, values: Float[Array, "b m k"], mask: Bool[Array, "b m"], *, train: bool) -> Memory:
        """What the denoiser attends to of clips, the same at all noise levels; tokens of zeros = nothing is heard."""
        return self.denoiser.memory(self.projection(values.astype(self.dtype), mask, train=train))

    def __call__(
        self,
        x_t: Float[Array, "b n c"],
        x0_prev: Float[Array, "b n c"],
        t: Int[Array, "b"],
        memory: Memory,
        mask: Bool[Array, "b m"],
        *,
        train: bool,
    ) -> Float[Array, "b n c"]:
        """The prediction of the denoiser, float32; x0_prev: the x0_hat of a call before, or zeros."""
        return self.denoiser(x_t, x0_prev, t, memory, mask, train=train)

    def hear_and_denoise(
        self,
        x_t: Float[Array, "b n c"],
        x0_prev: Float[Array, "b n c"],
        t: Int[Array, "b"],
        values: Float[Array, "b m k"],
        mask: Bool[Array, "b m"],
        *,
        train: bool,
    ) -> Float[Array, "b n c"]:
        """Both in one call, for training: there every row has a level of its own and is denoised once."""
        return self(x_t, x0_prev, t, self.memory(values, mask, train=train), mask, train=train)
