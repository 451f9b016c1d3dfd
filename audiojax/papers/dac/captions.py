"""Written tokens as sentences, and their scores while training. Host, NumPy."""

from itertools import groupby

import numpy as np
from jaxtyping import Bool, Int

from audiojax.text.tokenizer import Tokenizer


def sentences(tokenizer: Tokenizer, tokens: Int[np.ndarray, "b n"], words: Bool[np.ndarray, "b n"], ending: str = "") -> list[str]:
    """The text of each caption: word pieces joined, special tokens and words that repeat the one before left out, then `ending`."""
    texts = tokenizer.decode(chosen(tokens, words))
    return [" ".join(word for word, _ in groupby(text.split())) + ending for text in texts]


def chosen(tokens: Int[np.ndarray, "b n"], words: Bool[np.ndarray, "b n"]) -> list[list[int]]:
    """The ids of each row where `words` is True, in order."""
    return [row[kept].tolist() for row, kept in zip(np.asarray(tokens), np.asarray(words), strict=True)]
