"""Captions as tokens: what every system that describes writes, and its scores while training."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from audiojax.metrics.captions.diversity import distinct
from audiojax.metrics.captions.ngrams import cider_d
from audiojax.models.decoding import Generated


class Written(NamedTuple):
    """Captions as tokens.

    Attributes:
      tokens: [b, n].
      words: [b, n], True where a token belongs to the caption.
      confidence: [b], a mean of the probabilities of its tokens: the geometric one where it was written token by token.
    """

    tokens: Array
    words: Array
    confidence: Array


def written_of(generated: Generated, end: int) -> Written:
    """What was written token by token: words are what stands before the token `end`, which counts in the confidence."""
    tokens, lengths, log_probs = generated
    words = (jnp.arange(tokens.shape[1], dtype=jnp.int32)[None] < lengths[:, None]) & (tokens != end)
    return Written(tokens, words, jnp.exp(log_probs / lengths.astype(jnp.float32)))


def chosen(tokens: Int[np.ndarray, "b n"], words: Bool[np.ndarray, "b n"]) -> list[list[int]]:
    """The ids of each row where `words` is True, in order."""
    return [row[kept].tolist() for row, kept in zip(np.asarray(tokens), np.asarray(words), strict=True)]


def token_scores(predictions: Mapping[str, np.ndarray]) -> dict[str, float]:
    """CIDEr-D against all captions of a clip, Distinct-1, and the mean length, all of tokens.

    Args:
      predictions: "tokens" and "written" [b, n] of a caption a clip; "targets" and "words" [b, c, m] of people's.
    """
    candidates = chosen(predictions["tokens"], predictions["written"])
    references = [chosen(*clip) for clip in zip(predictions["targets"], predictions["words"], strict=True)]
    return {
        "captions/cider_d": cider_d(candidates, references)[0],
        "captions/distinct_1": distinct(candidates, 1),
        "captions/tokens": float(np.mean([len(row) for row in candidates])),
    }
