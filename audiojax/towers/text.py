"""Text encoders as callable towers: BERT, RoBERTa and the encoder of T5; and a BERT that labels texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from audiojax.errors import UsageError
from audiojax.towers.base import Tower, infer
from audiojax.typing import Array


@dataclass(frozen=True, eq=False)
class TextTower(Tower):
    """Last hidden states of token ids. BERT's pooled output, where a config has a pooler, is reached through `module.apply`."""

    def __call__(self, input_ids: Int[Array, "b l"], attention_mask: Bool[Array, "b l"]) -> Float[Array, "b l d"]:
        """Encodes token ids; compiled once for each shape.

        Args:
          input_ids: arrays or nested lists; every id a row of the word table.
          attention_mask: True or 1 = token, False or 0 = padding; states there are meaningless.

        Raises:
          UsageError: ids that are out of range, or shapes that differ.
        """
        out = infer(self.module, self.params, *checked_tokens(input_ids, attention_mask, self.config.vocab_size))
        return getattr(out, "tokens", out)


@dataclass(frozen=True, eq=False)
class TextClassifierTower(Tower):
    """The labels of texts, by a `BertClassifier`.

    Attributes:
      labels: names of the logits.
    """

    labels: tuple[str, ...] = ()

    def __call__(self, input_ids: Int[Array, "b l"], attention_mask: Bool[Array, "b l"]) -> Float[Array, "b c"]:
        """Logits of token ids; arguments and errors as for `TextTower`."""
        return infer(self.module, self.params, *checked_tokens(input_ids, attention_mask, self.config.vocab_size))


def checked_tokens(
    input_ids: Int[Array, "b l"] | Sequence, attention_mask: Bool[Array, "b l"] | Sequence, vocab_size: int
) -> tuple[Int[np.ndarray, "b l"], Bool[np.ndarray, "b l"]]:
    """(ids int32, mask bool) as NumPy arrays.

    Raises:
      UsageError: an id outside the word table, which a lookup would move into it unseen; or shapes that are not both [b, l].
    """
    ids, mask = np.asarray(input_ids), np.asarray(attention_mask)
    if ids.ndim != 2 or ids.shape != mask.shape or not np.issubdtype(ids.dtype, np.integer):
        raise UsageError(
            f"token ids {list(ids.shape)} of {ids.dtype} with a mask {list(mask.shape)}: whole numbers [b, l] of both are needed"
        )
    if ids.size and not 0 <= ids.min() <= ids.max() < vocab_size:
        raise UsageError(f"token ids from {ids.min()} to {ids.max()}, and the model has {vocab_size}: is this its tokenizer?")
    return ids.astype(np.int32), mask.astype(bool)
