"""Written tokens as sentences. Host, NumPy."""

from itertools import groupby

import numpy as np
from jaxtyping import Bool, Int

from audiojax.papers.written import chosen
from audiojax.text.tokenizer import Tokenizer


def sentences(tokenizer: Tokenizer, tokens: Int[np.ndarray, "b n"], words: Bool[np.ndarray, "b n"], ending: str = "") -> list[str]:
    """The text of each caption: word pieces joined, special tokens and words that repeat the one before left out, then `ending`."""
    texts = tokenizer.decode(chosen(tokens, words))
    return [" ".join(word for word, _ in groupby(text.split())) + ending for text in texts]
