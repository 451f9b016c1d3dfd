"""The networks of DiffATR (arXiv 2409.10025): a dual encoder, and one attention denoiser per direction.

The dual encoder follows the paper's baseline family (XinhaoMei/audio-text_retrieval code): PANNs clip vector and BERT [CLS] state, each
through Linear, ReLU, Linear into the joint width D. Embeddings come out un-normalised; the cosine normalises them.
"""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from audiojax.audio.augment import spec_augment
from audiojax.audio.spectral import MelConfig, log_mel
from audiojax.encoders.bert import BertConfig, BertEncoder
from audiojax.encoders.panns import Panns, PannsConfig
from audiojax.nn.mlp import Mlp


class DualEncoder(nn.Module):
    """Audio and text towers with their projection heads into the joint width.

    Attributes:
      mel: spectrogram convention of the audio tower.
      stripes: arguments of `spec_augment` as (name, value) pairs; () switches it off.
      head_width: hidden units of both heads (2048 published).
      joint_width: D (1024 published).
      axis_name: pmap axis of the BatchNorm statistics.
    """

    audio: PannsConfig
    text: BertConfig
    mel: MelConfig
    stripes: tuple[tuple[str, int], ...] = ()
    head_width: int = 2048
    joint_width: int = 1024
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    def setup(self):
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        augment = partial(spec_augment, **dict(self.stripes)) if self.stripes else None
        self.audio_tower = Panns(self.audio, augment=augment, axis_name=self.axis_name, **types)
        self.text_tower = BertEncoder(self.text, **types)
        self.audio_head = Mlp(self.head_width, self.joint_width, **types)
        self.text_head = Mlp(self.head_width, self.joint_width, **types)

    def __call__(
        self, waveform: Float[Array, "b n"], ids: Int[Array, "c l"], mask: Bool[Array, "c l"], *, train: bool
    ) -> tuple[Float[Array, "b d"], Float[Array, "c d"]]:
        """(audio, text) embeddings, float32, un-normalised."""
        return self.encode_audio(waveform, train=train), self.encode_text(ids, mask, train=train)

    def encode_audio(self, waveform: Float[Array, "b n"], *, train: bool = False) -> Float[Array, "b d"]:
        """Clips in [-1, 1] at the tower's rate -> a [b, D]."""
        clip = self.audio_tower(log_mel(waveform, self.mel), train=train).clip
        return self.audio_head(clip, train=train).astype(jnp.float32)

    def encode_text(self, ids: Int[Array, "c l"], mask: Bool[Array, "c l"], *, train: bool = False) -> Float[Array, "c d"]:
        """Token ids with [CLS] first -> t [c, D]."""
        tokens = self.text_tower(ids, mask, train=train).tokens
        return self.text_head(tokens[:, 0], train=train).astype(jnp.float32)


def unit_rows(x: Float[Array, "b d"]) -> Float[Array, "b d"]:
    """Rows scaled to length 1; a zero row stays zero, with a finite gradient."""
    return x / jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(x), axis=-1, keepdims=True), 1e-12))


def cosine(queries: Float[Array, "q d"], candidates: Float[Array, "a d"]) -> Float[Array, "q a"]:
    """S_ij = cos(query_i, candidate_j) in [-1, 1]."""
    return unit_rows(queries) @ unit_rows(candidates).T
