"""Captions as a language model learns to write them: its first token, a prompt, the caption, its end. Host only: no jax."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int

from audiojax.errors import UsageError
from audiojax.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Sentences:
    """Turns captions into rows of one length.

    Attributes:
      tokenizer: of the language model.
      prompt: words in front of every caption; "" = none.
      max_tokens: of a row; a longer caption is cut, its end stays.
      clean: applied to a caption before the tokenizer.
    """

    tokenizer: Tokenizer
    prompt: str
    max_tokens: int
    clean: Callable[[str], str] = str

    def __call__(self, captions: Sequence[str]) -> dict[str, np.ndarray]:
        """The rows of captions: sentence_ids [n, l], sentence_mask and sentence_scored [n, l]; scored: the caption and its end.

        Raises:
          UsageError: a caption that is empty, or a tokenizer without a first or an end token.
        """
        opening, room = self.opening, self.max_tokens - len(self.opening) - 1
        if room < 1:
            raise UsageError(f"the first token and the prompt {self.prompt!r} leave no room for a caption in {self.max_tokens} tokens")
        ids = np.full((len(captions), self.max_tokens), self.tokenizer.pad_id, np.int32)
        lengths = np.zeros((len(captions), 1), np.int64)
        for i, words in enumerate(self._inner([self.clean(text) for text in captions])):
            row = [*opening, *words[:room], self.end_id]
            ids[i, : len(row)], lengths[i] = row, len(row)
        places = np.arange(self.max_tokens)[None]
        return {
            "sentence_ids": ids,
            "sentence_mask": places < lengths,
            "sentence_scored": (places >= len(opening)) & (places < lengths),
        }

    @cached_property
    def opening(self) -> list[int]:
        """The first token and those of the prompt: what stands before anything is written."""
        begin, _ = self._ends
        if not begin:
            raise UsageError("this tokenizer puts no first token before a text, behind which the prefix of a sound would stand")
        return [*begin, *(self._inner([self.prompt])[0] if self.prompt else [])]

    @property
    def end_id(self) -> int:
        """The token that ends a caption."""
        end = self._ends[1][-1:] or [self.tokenizer.backend.eos_token_id]
        if end[0] is None:
            raise UsageError("this tokenizer has no token that ends a text")
        return end[0]

    def prompts(self, rows: int) -> tuple[Int[np.ndarray, "n l"], Bool[np.ndarray, "n l"]]:
        """(ids, mask) of `rows` openings, from which captions are written."""
        return np.tile(np.array(self.opening, np.int32), (rows, 1)), np.ones((rows, len(self.opening)), bool)

    @cached_property
    def _ends(self) -> tuple[list[int], list[int]]:
        """The special tokens around a text."""
        (whole,) = self.tokenizer.rows([""], allow_empty=True)
        at = len(whole) - self.tokenizer.closing
        return whole[:at], whole[at:]

    def _inner(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of texts without the special ones."""
        begin, end = map(len, self._ends)
        return [row[begin : len(row) - end] for row in self.tokenizer.rows(texts)]
