"""Span corruption, how T5 is trained: spans of a text are cut out, and the decoder gives them back (arXiv 1910.10683, section 3.1.4).

A text of words w between its special tokens [CLS] and [SEP], with two spans cut out:

  input   [CLS] w w <0> w w w <1> w [SEP]
  target  <0> w w <1> w [SEP]

15 % of the words go, in spans of 3 on average, which do not touch. T5 keeps its first word and cuts its last one out; captions are short
enough for that to show, so here both ends may go either way. Sentinel <k> is the id
`vocab_size` + k, beyond the tokenizer's last one, so that a word table needs `vocab_size` + `sentinels(length)` rows. Padding and the end
of the target are the tokenizer's own [PAD] and [SEP]. Everything has a static shape and runs on the device.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Shaped

from audiojax.text.tokenizer import PAD, SEP
from audiojax.typing import Key

SHARE = 0.15  # of the words
SPAN = 3.0  # words of a span, on average


class Corrupted(NamedTuple):
    """Texts with spans cut out.

    Attributes:
      ids, mask: [b, l], the input and which positions of it hold tokens.
      targets, target_mask: [b, t], what the decoder is to write.
    """

    ids: Array
    mask: Array
    targets: Array
    target_mask: Array


def span_counts(length: int) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """(words that are cut out, spans that they form) of texts of 0, 1, ..., `length` words; both 0 below two words."""
    numbers = np.arange(length + 1)
    cut = np.minimum(np.maximum(numbers - 1, 0), np.maximum(1, np.round(SHARE * numbers))).astype(np.int32)
    spans = np.minimum(np.maximum(1, np.round(cut / SPAN)), np.minimum(cut, numbers - cut + 1)).astype(np.int32)
    return cut, spans


def sentinels(length: int) -> int:
    """The most spans that a text of `length` tokens falls into."""
    return int(span_counts(length)[1].max())


def target_length(length: int) -> int:
    """Longest target of texts of `length` tokens: what is cut out, a sentinel a span, and the end."""
    cut, spans = span_counts(length)
    return int((cut + spans).max()) + 1


def corrupt_spans(keys: Shaped[Array, "b"], ids: Int[Array, "b l"], mask: Bool[Array, "b l"], *, vocab_size: int) -> Corrupted:
    """Cuts spans out of each text; row i depends on key i alone.

    Args:
      ids: [CLS], words, [SEP], padding; one row of them each.
      mask: True = token, False = padding.
      vocab_size: of the tokenizer; sentinels have the ids from there on.
    """
    length = ids.shape[1]
    cuts, spans = (jnp.asarray(table) for table in span_counts(length))
    most, target_size = sentinels(length), target_length(length)
    place = jnp.arange(length)

    def of_row(key: Key, ids: Int[Array, "l"], mask: Bool[Array, "l"]) -> Corrupted:
        words = jnp.maximum(jnp.sum(mask) - 2, 0)
        cut, count = cuts[words], spans[words]
        cut_key, kept_key = jax.random.split(key)
        kept = parts(kept_key, words - cut + 2, count + 1, length + 2, most + 1)
        kept = kept.at[0].add(-1).at[count].add(-1)  # the first and the last may be empty
        runs = jnp.stack([kept, parts(cut_key, cut, count, length + 2, most + 1)], axis=1).reshape(-1)  # kept, cut, kept, cut, ...
        run = jnp.searchsorted(jnp.cumsum(runs), place - 1, side="right")
        noise = (place >= 1) & (place <= words) & (run % 2 == 1)
        first = noise & ~jnp.roll(noise, 1)
        span = run // 2  # number of the span
        inputs = jnp.where(first, vocab_size + span, ids)
        packed, input_mask = pack(inputs, mask & (~noise | first), length)

        spot = jnp.where(noise, jnp.cumsum(noise) + span, target_size)  # the k-th cut word stands behind its sentinel and those before
        targets = jnp.full(target_size, PAD, ids.dtype)
        targets = targets.at[spot].set(ids, mode="drop")
        targets = targets.at[jnp.where(first, spot - 1, target_size)].set(inputs, mode="drop")
        targets = targets.at[cut + count].set(SEP)
        return Corrupted(packed, input_mask, targets, jnp.arange(target_size) <= cut + count)

    return jax.vmap(of_row)(keys, ids, mask)


def parts(key: Key, total: Int[Array, ""], count: Int[Array, ""], length: int, most: int) -> Int[Array, "most"]:
    """`total` cut into `count` lengths of at least one, every way equally likely; zeros after them. Sums to `total` where count > 0.

    Args:
      length: bound of `total`.
      most: bound of `count`, and the size of the result.
    """
    gaps = jnp.arange(length) < total - 1  # after item i a part may end
    lots = jnp.where(gaps, jax.random.uniform(key, (length,)), 2.0)
    ends = jnp.argsort(jnp.argsort(lots)) < count - 1
    number = jnp.cumsum(ends) - ends  # of the part that item i lies in
    held = (jnp.arange(length) < total) & (count > 0)
    return jnp.zeros(most, jnp.int32).at[jnp.where(held, number, most)].add(1, mode="drop")


def pack(ids: Int[Array, "l"], kept: Bool[Array, "l"], size: int) -> tuple[Int[Array, "size"], Bool[Array, "size"]]:
    """(the kept ids moved to the front, padding behind them; which positions they fill)."""
    spot = jnp.where(kept, jnp.cumsum(kept) - 1, size)
    return jnp.full(size, PAD, ids.dtype).at[spot].set(ids, mode="drop"), jnp.arange(size) < jnp.sum(kept)


def restore(ids: Int[np.ndarray, " n"], targets: Int[np.ndarray, " m"], vocab_size: int) -> list[int]:
    """The text that an input and its target, both without padding, came from: what follows a sentinel in the target goes in its place."""
    spans: dict[int, list[int]] = {}
    for token in map(int, targets[:-1]):
        if token >= vocab_size:
            last = spans[token] = []
        else:
            last.append(token)
    return [word for token in map(int, ids) for word in (spans[token] if token >= vocab_size else [token])]
