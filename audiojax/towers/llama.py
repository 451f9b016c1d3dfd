"""LLaMA with its weights and tokenizer: logits of given tokens, and text that continues prompts and soft prefixes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from audiojax.errors import UsageError
from audiojax.models.decoding import Decoding, Generated
from audiojax.models.llama_generation import generate
from audiojax.text.tokenizer import Tokenizer
from audiojax.towers.base import Tower
from audiojax.typing import Array

SHORTEST = 16  # bucket of prompts


def bucket(length: int) -> int:
    """The padded length of prompts of `length` tokens: the next power of two from 16 on, so that few lengths are compiled."""
    return max(SHORTEST, 1 << (length - 1).bit_length())


@dataclass(frozen=True, eq=False)
class LlamaTower(Tower):
    """A language model; called with (ids [b, l], mask [b, l]) it returns the logits of every next token, [b, l, vocab_size], float32.

    Attributes:
      tokenizer: None where the folder has none: prompts are ids then.
      bos_id: the token that begins a text, if there is one.
      eos_ids: tokens that end a text.
    """

    tokenizer: Tokenizer | None = None
    bos_id: tuple[int, ...] = ()
    eos_ids: tuple[int, ...] = ()

    def generate(
        self,
        prompts: Sequence[str] | Sequence[Sequence[int]] | None = None,
        *,
        prefix: Float[Array, "n p d"] | None = None,
        prefix_mask: Bool[Array, "n p"] | None = None,
        prefix_at: int = 0,
        seed: int = 0,
        batch_size: int | None = None,
        **decoding: Any,
    ) -> list[str]:
        """The texts that continue the prompts, without the prompts and special tokens; see `generate_ids`.

        Raises:
          UsageError: see `generate_ids`; or a folder without a tokenizer.
        """
        tokenizer = self._tokenizer()
        made = self.generate_ids(
            prompts, prefix=prefix, prefix_mask=prefix_mask, prefix_at=prefix_at, seed=seed, batch_size=batch_size, **decoding
        )
        return tokenizer.decode([row[:length] for row, length in zip(made.tokens, made.lengths, strict=True)])

    def generate_ids(
        self,
        prompts: Sequence[str] | Sequence[Sequence[int]] | None = None,
        *,
        prefix: Float[Array, "n p d"] | None = None,
        prefix_mask: Bool[Array, "n p"] | None = None,
        prefix_at: int = 0,
        seed: int = 0,
        batch_size: int | None = None,
        **decoding: Any,
    ) -> Generated:
        """Tokens that continue the prompts, in NumPy. Row i depends on prompt, prefix and place i alone.

        Args:
          prompts: texts, to which the tokenizer adds its first token but no end, or ids, to which nothing is added. None: the first token
            alone.
          prefix: embeddings that stand in front of token `prefix_at` of each prompt; 1 is behind the first token.
          prefix_mask: True = valid; all by default.
          seed: of the draws, where temperature > 0.
          batch_size: prompts at once; all by default.
          decoding: fields of `Decoding`: max_new_tokens, num_beams, temperature, top_p, ...; the ends are the model's by default.

        Raises:
          UsageError: prompts that are empty or too long, ids beyond the vocabulary, a prefix of another size, unknown options.
        """
        rows = self._rows(prompts, prefix)
        extra = 0
        if prefix is not None:
            prefix = np.asarray(prefix)
            if prefix.ndim != 3 or (prefix.shape[0], prefix.shape[2]) != (len(rows), self.config.width):
                raise UsageError(f"prefix {prefix.shape}: [{len(rows)}, tokens, {self.config.width}] is needed, one for each prompt")
            if not 0 <= prefix_at <= min(map(len, rows)):
                raise UsageError(f"prefix_at {prefix_at}: the shortest prompt has {min(map(len, rows))} tokens")
            prefix_mask = np.ones(prefix.shape[:2], bool) if prefix_mask is None else np.asarray(prefix_mask, bool)
            extra = prefix.shape[1]
        plan = self._decoding(decoding)
        longest = max(map(len, rows))
        if longest + extra + plan.max_new_tokens > self.config.max_positions:
            raise UsageError(
                f"{longest + extra} tokens of prompt and {plan.max_new_tokens} new ones, but this model has "
                f"{self.config.max_positions} positions: shorten the prompt or lower max_new_tokens"
            )
        ids, mask = _padded(rows, bucket(longest), plan.pad_id)
        keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(jnp.arange(len(rows)))
        whole = (ids, mask, prefix, prefix_mask, keys)
        size = len(rows) if batch_size is None else batch_size
        if size < 1:
            raise UsageError(f"batch_size {batch_size}: at least 1")
        parts = [self._run(*_batch(whole, start, size), plan, prefix_at) for start in range(0, len(rows), size)]
        return Generated(*(np.concatenate(group)[: len(rows)] for group in zip(*parts, strict=True)))

    def _run(self, ids, mask, prefix, prefix_mask, keys, plan, prefix_at):
        options = {"prefix": prefix, "prefix_mask": prefix_mask, "prefix_at": prefix_at if prefix is not None else 0}
        keys = keys if plan.temperature > 0 else None
        return jax.device_get(generate(self.module, self.params, ids, mask, plan, keys=keys, **options))

    def _decoding(self, options: dict[str, Any]) -> Decoding:
        pad_id = self.tokenizer.pad_id if self.tokenizer else self.eos_ids[0] if self.eos_ids else 0
        try:
            return Decoding(**{"eos_ids": self.eos_ids, "pad_id": pad_id, **options})
        except TypeError as error:
            known = ", ".join(Decoding.__dataclass_fields__)
            raise UsageError(f"generation has no such option ({error}); it has {known}") from error

    def _rows(self, prompts: Any, prefix: Any) -> list[Int[np.ndarray, "l"]]:
        if prompts is None:
            if prefix is None or not self.bos_id:
                raise UsageError("without prompts, a prefix is needed, and a model that has a first token")
            prompts = [self.bos_id] * len(prefix)
        if isinstance(prompts, str) or len(prompts) == 0:
            raise UsageError(f"prompts are {prompts!r:.80}; a list of texts, or of ids, is needed")
        if isinstance(prompts[0], str):
            tokenizer = self._tokenizer()
            prompts = [row[: len(row) - tokenizer.closing] for row in tokenizer.rows(prompts)]
        rows = [np.asarray(row, np.int32).reshape(-1) for row in prompts]
        for i, row in enumerate(rows):
            if row.size == 0 or row.min() < 0 or row.max() >= self.config.vocab_size:
                raise UsageError(f"prompt {i}: ids from 0 to {self.config.vocab_size - 1} are needed, at least one")
        return rows

    def _tokenizer(self) -> Tokenizer:
        if self.tokenizer is None:
            raise UsageError(f"{self.source}: there is no tokenizer beside these weights; give ids, and take generate_ids")
        return self.tokenizer


def _padded(rows: Sequence[Int[np.ndarray, "l"]], length: int, pad_id: int) -> tuple[Int[np.ndarray, "n l"], Bool[np.ndarray, "n l"]]:
    """(ids, mask), padded on the right: new tokens go into slots behind the padding, and positions count tokens."""
    ids, mask = np.full((len(rows), length), pad_id, np.int32), np.zeros((len(rows), length), bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)], mask[i, : len(row)] = row, True
    return ids, mask


def _batch(arrays: Sequence[Any], start: int, size: int) -> list[Any]:
    """Rows start to start + size of each array; the last batch repeats its last row, so that all have one shape."""
    count = len(arrays[0])
    index = np.minimum(np.arange(start, start + size), count - 1)
    return [None if array is None else array[index] for array in arrays]
