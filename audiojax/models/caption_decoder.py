"""An autoregressive captioner, the rival of `models.text_denoiser`: the same blocks, causal, one word at a time.

`CaptionDecoder(config)` is a BERT decoder (arXiv 1810.04805) that reads a sound by cross-attention, as BLIP's does an image
(arXiv 2201.12086): the logits of every next word for training, and `generate` for greedy, drawn or beam-searched captions.
The presets have the sizes of the denoiser's together with the head that turns its latents into words.
"""

from dataclasses import dataclass
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Key

from audiojax.encoders.bert import BertConfig, MaskedLmHead
from audiojax.errors import UsageError
from audiojax.models.decoding import Decoding, Generated, decode
from audiojax.nn.attention import NORMAL_002, KeysValues
from audiojax.nn.transformer import Memory, TransformerBlock
from audiojax.typing import Array, Params

Cache = tuple[KeysValues, ...]  # of every layer, the words so far: [b, heads, slots, head_width]


@dataclass(frozen=True)
class CaptionDecoderConfig:
    """Sizes of the decoder; the defaults are the preset "base", which has BERT's vocabulary.

    Attributes:
      vocab_size: rows of the word table.
      width: features of a word.
      hidden: features inside the feed-forward part.
      context: features of a token of the sound, as the projection gives it.
      max_positions: rows of the position table: the longest caption.
      tie_embeddings: whether the word table is the output matrix too.
      dropout: of hidden states, in training.
      attention_dropout: of attention weights, in training.
    """

    vocab_size: int = 30_522
    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    context: int = 768
    max_positions: int = 512
    tie_embeddings: bool = True
    dropout: float = 0.1
    attention_dropout: float = 0.1
    norm_eps: float = 1e-12


PRESETS = {
    "base": CaptionDecoderConfig(),
    "soundworld": CaptionDecoderConfig(vocab_size=1_000, width=192, layers=3, heads=4, hidden=768, context=192),
    "tiny": CaptionDecoderConfig(vocab_size=128, width=64, layers=2, heads=4, hidden=128, context=64, max_positions=64),
}


class CaptionDecoder(nn.Module):
    """Word and position tables, a norm, `layers` blocks, BERT's head. Weights start as N(0, 0.02), biases as 0."""

    config: CaptionDecoderConfig = CaptionDecoderConfig()
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    def setup(self):
        c, types = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        table = partial(nn.Embed, features=c.width, embedding_init=NORMAL_002, **types)
        self.word = table(c.vocab_size)
        self.position = table(c.max_positions)
        self.norm = nn.LayerNorm(c.norm_eps, **types)
        self.drop = nn.Dropout(c.dropout)
        rates = {"dropout": c.dropout, "attention_dropout": c.attention_dropout}
        self.layer = [TransformerBlock(c.width, c.heads, c.hidden, norm_eps=c.norm_eps, **rates, **types) for _ in range(c.layers)]
        self.head = MaskedLmHead(BertConfig(vocab_size=c.vocab_size, width=c.width, norm_eps=c.norm_eps), **types)
        if not c.tie_embeddings:
            self.decoder = table(c.vocab_size)

    def memory(self, audio: Float[Array, "r m k"]) -> Memory:
        """Keys and values of the sound for every layer; no word changes them.

        Raises:
          ValueError: `audio` has not `config.context` features.
        """
        if audio.shape[-1] != self.config.context:
            raise ValueError(f"the sound has {audio.shape[-1]} features, this decoder reads {self.config.context}")
        return tuple(layer.memory(audio) for layer in self.layer)

    def __call__(
        self,
        ids: Int[Array, "b n"],
        mask: Bool[Array, "b n"],
        memory: Memory | Float[Array, "r m k"],
        audio_mask: Bool[Array, "r m"],
        *,
        train: bool,
    ) -> Float[Array, "b n v"]:
        """Logits of the word after each position, in float32; at positions where `mask` is False they are finite but meaningless.

        Args:
          ids: 0 <= ids < vocab_size, the word that begins a caption first; n <= config.max_positions (ValueError otherwise).
          mask: True = word, False = padding at the end.
          memory: what `memory` returned, or the sound itself. Its r rows divide b, row i of `ids` reads row i // (b / r).
          audio_mask: True = token of the sound, False = padding, which has no influence; each row has at least one token.
          train: switches dropout on (rng stream "dropout").
        """
        length = ids.shape[1]
        if length > self.config.max_positions:
            raise ValueError(f"{length} words, but this decoder has {self.config.max_positions} positions")
        if not isinstance(memory, tuple):
            memory = self.memory(memory)
        earlier = jnp.tril(jnp.ones((length, length), bool))[None]
        allowed = (earlier & mask[:, None, :])[:, None]  # [b, 1, query, key]
        x = self.drop(self._embed(ids, jnp.arange(length)), deterministic=not train)
        for layer, kept in zip(self.layer, memory, strict=True):
            x = layer(x, kept, audio_mask, mask=allowed, train=train)
        return self._logits(x)

    def empty_cache(self, rows: int, slots: int) -> Cache:
        """A cache for captions of at most `slots` words, the one that begins them included."""
        c = self.config
        free = jnp.zeros((rows, c.heads, slots, c.width // c.heads), self.dtype)
        return tuple(KeysValues(free, free) for _ in range(c.layers))

    def step(
        self, tokens: Int[Array, "b"], cache: Cache, slot: Int[Array, ""], memory: Memory, audio_mask: Bool[Array, "r m"]
    ) -> tuple[Float[Array, "b v"], Cache]:
        """(logits of the word after `tokens`, cache with `tokens` as word `slot`); words 0 to slot - 1 are in the cache."""
        x, filled = self._embed(tokens[:, None], slot[None]), []
        for layer, stored, kept in zip(self.layer, cache, memory, strict=True):
            x, stored = layer.step(x, stored, slot, kept, audio_mask)
            filled.append(stored)
        return self._logits(x[:, 0]), tuple(filled)

    def _embed(self, ids, positions):
        return self.norm(self.word(ids) + self.position(positions)[None])

    def _logits(self, x):
        return self.head(x, self.word.embedding if self.config.tie_embeddings else self.decoder.embedding)


@partial(jax.jit, static_argnames=("module", "decoding", "begin_id"))
def generate(
    module: CaptionDecoder,
    variables: Params,
    audio: Float[Array, "r m k"],
    audio_mask: Bool[Array, "r m"],
    decoding: Decoding,
    *,
    begin_id: int,
    keys: Key[Array, "b"] | None = None,
) -> Generated:
    """Captions of sounds, without the word `begin_id` that each begins with; one compilation per shape of the sounds. See `decode`.

    The sound is projected once. All beams read that one copy: it is no part of the cache, whose rows move from step to step.

    Args:
      variables: of the module, {"params": ...}.
      audio_mask: True = token of the sound; each row has at least one.
      keys: where words are drawn, one a caption. There may be several captions a sound: caption i is of sound i // (b / r).

    Raises:
      UsageError: max_new_tokens is more than the decoder has positions.
    """
    slots = decoding.max_new_tokens
    if slots > module.config.max_positions:
        raise UsageError(f"max_new_tokens {slots}: this decoder has {module.config.max_positions} positions")
    memory = module.apply(variables, audio, method="memory")

    def step(tokens, cache, slot):
        return module.apply(variables, tokens, cache, slot, memory, audio_mask, method="step")

    rows = len(audio if keys is None else keys)
    logits, cache = step(jnp.full(rows, begin_id), module.empty_cache(rows, slots), jnp.int32(0))
    return decode(logits, cache, lambda tokens, cache, index: step(tokens, cache, index + 1), decoding, keys=keys)
