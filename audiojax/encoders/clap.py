"""CLAP, two towers into one space: HTSAT over log-mels and RoBERTa over token ids, a perceptron on each (arXiv 2211.06687).

`Clap(PRESETS["htsat-unfused"])` is a linen module; `ClapText(config)` is its text half alone, as AudioLDM folders hold it. Facts and sizes:
"laion/clap-htsat-unfused", "laion/clap-htsat-fused", "laion/larger_clap_general". Waveforms and texts: see `audiojax.towers.clap`.
"""

from dataclasses import dataclass, replace
from math import log
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from audiojax.encoders import bert, htsat
from audiojax.encoders.bert import BertConfig, BertEncoder
from audiojax.encoders.htsat import Htsat, HtsatConfig
from audiojax.nn.mlp import Mlp, gelu_exact
from audiojax.typing import Array

ROBERTA = replace(bert.PRESETS["roberta-base"], pooler=True, norm_eps=1e-12)
ACTIVATIONS = {"relu": jax.nn.relu, "gelu": gelu_exact}
EPS = 1e-12  # the least norm that an embedding is divided by


@dataclass(frozen=True)
class ClapTextConfig:
    """Sizes of the text half; the defaults are those of all published checkpoints.

    Attributes:
      text: the encoder, with its pooler. `norm_eps` is 1e-12 in files of transformers; the authors trained with 1e-5.
      projection: width of the joint space, and of the hidden layer of the perceptron that leads there.
      activation: of that layer, "relu" or "gelu".
    """

    text: BertConfig = ROBERTA
    projection: int = 512
    activation: str = "relu"

    @property
    def layers(self) -> int:
        """Transformer blocks in all."""
        return self.text.layers


@dataclass(frozen=True)
class ClapConfig(ClapTextConfig):
    """Sizes of both halves; the defaults are laion/clap-htsat-unfused.

    Attributes:
      audio: the encoder of log-mels.
      logit_scale: factor of the cosine in the logits, at the start of training.
    """

    audio: HtsatConfig = HtsatConfig()
    logit_scale: float = 1 / 0.07

    @property
    def layers(self) -> int:
        """Transformer blocks in all."""
        return self.text.layers + sum(self.audio.depths)


PRESETS = {
    "htsat-unfused": ClapConfig(),
    "htsat-fused": ClapConfig(audio=htsat.PRESETS["htsat-tiny-fused"]),
    "larger": ClapConfig(audio=htsat.PRESETS["htsat-base"]),
    "tiny": ClapConfig(
        audio=htsat.PRESETS["tiny"], text=replace(bert.PRESETS["roberta-tiny"], pooler=True, norm_eps=1e-12), projection=128
    ),
}


class ClapEncoded(NamedTuple):
    """What one half returns.

    Attributes:
      embedding: [b, projection], the output of the perceptron, of any length: `text_embeds` of transformers' ClapTextModelWithProjection.
      features: [b, projection] float32, the same at length 1: get_audio_features and get_text_features of transformers' ClapModel.
      tokens: last states of the encoder, [b, l, width] of texts and [b, time, mel, width] of audio.
    """

    embedding: Array
    features: Array
    tokens: Array


class ClapOutput(NamedTuple):
    """Both halves, and the scaled cosines of every pair in float32: [audio, text] by logit_scale_a, [text, audio] by logit_scale_t."""

    audio: ClapEncoded
    text: ClapEncoded
    logits_per_audio: Array
    logits_per_text: Array


class ClapText(nn.Module):
    """RoBERTa, its pooler over the first token, and the perceptron into the joint space."""

    config: ClapTextConfig = ClapTextConfig()
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, ids: Int[Array, "b l"], mask: Bool[Array, "b l"], *, train: bool) -> ClapEncoded:
        """Encodes token ids; `mask` is False at padding, which carries the padding id."""
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        out = BertEncoder(c.text, name="encoder", **types)(ids, mask, train=train)
        embedding = projection(c, types)(out.pooled, train=train)
        return ClapEncoded(embedding, unit(embedding), out.tokens)


class ClapAudio(nn.Module):
    """HTSAT and the perceptron into the joint space.

    Attributes:
      axis_name: pmap axis over which BatchNorm statistics are averaged.
    """

    config: ClapConfig = ClapConfig()
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, mel: Float[Array, "b views frames mels"], is_longer: Bool[Array, "b"] | None = None, *, train: bool) -> ClapEncoded:
        """Encodes log-mels in dB, as `Htsat` takes them."""
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        out = Htsat(c.audio, self.axis_name, name="encoder", **types)(mel, is_longer, train=train)
        embedding = projection(c, types)(out.pooled, train=train)
        return ClapEncoded(embedding, unit(embedding), out.tokens)


class Clap(nn.Module):
    """Both halves and the two scales of the logits, whose logarithms are the parameters logit_scale_a and logit_scale_t.

    Attributes:
      axis_name: pmap axis over which BatchNorm statistics are averaged.
    """

    config: ClapConfig = ClapConfig()
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    def setup(self):
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        self.audio = ClapAudio(self.config, self.axis_name, **types)
        self.text = ClapText(self.config, **types)
        start = nn.initializers.constant(log(self.config.logit_scale))
        self.logit_scale_a = self.param("logit_scale_a", start, (), self.param_dtype)
        self.logit_scale_t = self.param("logit_scale_t", start, (), self.param_dtype)

    def encode_audio(
        self, mel: Float[Array, "b views frames mels"], is_longer: Bool[Array, "b"] | None = None, *, train: bool
    ) -> ClapEncoded:
        """Encodes log-mels in dB, as `Htsat` takes them."""
        return self.audio(mel, is_longer, train=train)

    def encode_text(self, ids: Int[Array, "b l"], mask: Bool[Array, "b l"], *, train: bool) -> ClapEncoded:
        """Encodes token ids; `mask` is False at padding, which carries the padding id."""
        return self.text(ids, mask, train=train)

    def __call__(
        self,
        mel: Float[Array, "a views frames mels"],
        ids: Int[Array, "t l"],
        mask: Bool[Array, "t l"],
        is_longer: Bool[Array, "a"] | None = None,
        *,
        train: bool,
    ) -> ClapOutput:
        """Encodes audio and texts and compares each with each; there need not be as many of both."""
        audio, text = self.encode_audio(mel, is_longer, train=train), self.encode_text(ids, mask, train=train)
        cosine = jnp.einsum("ad,td->at", audio.features, text.features)
        by_audio, by_text = (jnp.exp(scale.astype(jnp.float32)) for scale in (self.logit_scale_a, self.logit_scale_t))
        return ClapOutput(audio, text, by_audio * cosine, by_text * cosine.T)


def projection(config: ClapTextConfig, types: dict) -> Mlp:
    """The perceptron on top of an encoder."""
    return Mlp(config.projection, config.projection, activation=ACTIVATIONS[config.activation], name="projection", **types)


def unit(x: Float[Array, "b d"]) -> Float[Array, "b d"]:
    """The rows at length 1, in float32; zeros stay zeros."""
    x = x.astype(jnp.float32)
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), EPS)
