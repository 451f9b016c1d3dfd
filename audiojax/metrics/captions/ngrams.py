"""Agreement of captions with their references by shared words: BLEU, ROUGE-L, CIDEr-D, in the variants of pycocoevalcap. NumPy only.

A caption is a list of tokens of any hashable kind: words, or token ids while a model trains. Each measure returns the value of the whole
corpus and a value per clip. `candidates` holds one caption per clip, `references` at least one; AudiojaxError where that does not hold.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from jaxtyping import Float, Int

from audiojax.errors import AudiojaxError

Tokens = Sequence[Hashable]

ORDERS = 4
TINY, SMALL = 1e-15, 1e-9  # added to numerators and denominators of BLEU, so that it is defined for empty captions
BETA = 1.2  # weight of recall in ROUGE-L
SIGMA = 6.0  # of CIDEr-D's penalty on a difference in length, in bigrams


@dataclass(frozen=True, eq=False)
class NgramCounts:
    """How often each n-gram of one order stands in each caption, sorted by caption and n-gram; pairs that do not occur are left out.

    Attributes:
      caption: number of the caption.
      ngram: number of the n-gram, the same in all captions.
      count: at least 1.
      size: different n-grams.
    """

    caption: Int[np.ndarray, " pairs"]
    ngram: Int[np.ndarray, " pairs"]
    count: Int[np.ndarray, " pairs"]
    size: int


def count_ngrams(captions: Sequence[Tokens], orders: int = ORDERS) -> Iterator[NgramCounts]:
    """The counts of 1-grams, 2-grams, ..., one after another."""
    numbers: dict[Hashable, int] = {}
    tokens = np.array([numbers.setdefault(token, len(numbers)) for token in chain.from_iterable(captions)], np.int64)
    owner = np.repeat(np.arange(len(captions)), [len(caption) for caption in captions])
    start, ngram, size = np.arange(len(tokens)), tokens, len(numbers)
    for order in range(1, orders + 1):
        pairs, count = np.unique(owner[start] * size + ngram, return_counts=True)
        yield NgramCounts(*np.divmod(pairs, max(size, 1)), count, size)
        longer = start + order < len(tokens)
        longer[longer] = owner[start[longer]] == owner[start[longer] + order]
        start, ngram = start[longer], ngram[longer] * len(numbers) + tokens[start[longer] + order]
        known, ngram = np.unique(ngram, return_inverse=True)
        size = len(known)


def bleu(
    candidates: Sequence[Tokens], references: Sequence[Sequence[Tokens]]
) -> tuple[Float[np.ndarray, " orders"], Float[np.ndarray, "orders clips"]]:
    """(BLEU-1 to BLEU-4 of the corpus, the same of every clip alone), in [0, 1].

    BLEU-n is the geometric mean of the clipped precisions of orders 1 to n, times exp(1 - reference length / length) where the candidates
    are shorter. The reference length of a clip is the one closest to its candidate's, the shorter of two. The corpus pools all counts.
    """
    counts = bleu_counts(candidates, references)
    return bleu_of(counts.sum(axis=1)), bleu_of(counts)


def bleu_counts(candidates: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> Float[np.ndarray, "counts clips"]:
    """What BLEU is made of, clip by clip: matched n-grams of four orders, possible ones, the length, and the reference length."""
    clip_of = _clips(candidates, references)
    matched = np.zeros((ORDERS, len(candidates)))
    for order, counts in enumerate(count_ngrams([*candidates, *chain.from_iterable(references)])):
        said, key = counts.caption < len(candidates), clip_of[counts.caption] * counts.size + counts.ngram
        order_of = np.argsort(key[~said], kind="stable")
        wanted, first = np.unique(key[~said][order_of], return_index=True)
        most = np.maximum.reduceat(counts.count[~said][order_of], first) if len(first) else first
        hits = np.minimum(counts.count[said], _look_up(wanted, most, key[said]))
        matched[order] = np.bincount(counts.caption[said], weights=hits, minlength=len(candidates))
    length = np.array([len(tokens) for tokens in candidates])
    closest = [min((abs(len(r) - len(c)), len(r)) for r in own)[1] for c, own in zip(candidates, references, strict=True)]
    possible = np.maximum(length - np.arange(ORDERS)[:, None], 0)
    return np.concatenate([matched, possible, length[None], np.array(closest)[None]]).astype(float)


def bleu_of(counts: Float[np.ndarray, "counts *s"]) -> Float[np.ndarray, "orders *s"]:
    """BLEU-1 to BLEU-4 of `bleu_counts`, or of their sums or means over clips."""
    matched, possible, (length, wanted) = counts[:ORDERS], counts[ORDERS : 2 * ORDERS], counts[2 * ORDERS :]
    order = np.arange(1, ORDERS + 1).reshape(-1, *[1] * (matched.ndim - 1))
    precision = np.cumprod((matched + TINY) / (possible + SMALL), axis=0) ** (1 / order)
    ratio = (length + TINY) / (wanted + SMALL)
    return precision * np.exp(np.minimum(0, 1 - 1 / ratio))


def rouge_l(candidates: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> tuple[float, Float[np.ndarray, " clips"]]:
    """(mean, value of every clip) of ROUGE-L in [0, 1]: F with beta = 1.2 of the longest common subsequence.

    Precision and recall are each the best over the references. An empty candidate scores 0, also beside an empty reference.
    """
    _clips(candidates, references)
    values = np.array([_rouge_l(candidate, own) for candidate, own in zip(candidates, references, strict=True)])
    return float(values.mean()), values


def _rouge_l(candidate: Tokens, references: Sequence[Tokens]) -> float:
    common = [_common_length(candidate, reference) for reference in references]
    if not any(common):
        return 0.0
    precision = max(common) / len(candidate)
    recall = max(shared / max(1, len(reference)) for shared, reference in zip(common, references, strict=True))
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _common_length(a: Tokens, b: Tokens) -> int:
    """Length of the longest common subsequence: a row of the dynamic programme is one integer, a bit 0 where the length grows."""
    where: dict[Hashable, int] = {}
    for i, token in enumerate(a):
        where[token] = where.get(token, 0) | 1 << i
    full = row = (1 << len(a)) - 1
    for token in b:
        fits = row & where.get(token, 0)
        row = (row + fits | row - fits) & full
    return len(a) - row.bit_count()


def cider_d(candidates: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> tuple[float, Float[np.ndarray, " clips"]]:
    """(mean, value of every clip) of CIDEr-D in [0, 10]: cosines of clipped tf-idf vectors, penalised by the difference in length.

    An n-gram weighs its count times log(clips / clips whose references hold it), so one clip alone scores 0. Per order and reference the
    cosine, with candidate weights clipped to the reference's, is multiplied by exp(-difference^2 / (2 * 6^2)); 10 times the mean is taken.
    """
    clip_of = _clips(candidates, references)
    clips = len(candidates)
    captions = [*candidates, *chain.from_iterable(references)]
    total = np.zeros(len(captions))  # over orders, of the reference captions
    for counts in count_ngrams(captions):
        said, key = counts.caption < clips, clip_of[counts.caption] * counts.size + counts.ngram
        documents = np.bincount(np.unique(key[~said]) % max(counts.size, 1), minlength=counts.size)
        weight = counts.count * (np.log(clips) - np.log(np.maximum(documents, 1)))[counts.ngram]
        norm = np.sqrt(np.bincount(counts.caption, weights=weight**2, minlength=len(captions)))
        clipped = np.minimum(_look_up(key[said], weight[said], key[~said]), weight[~said])
        dot = np.bincount(counts.caption[~said], weights=clipped * weight[~said], minlength=len(captions))
        scale = norm * norm[clip_of]
        total += np.divide(dot, scale, out=np.zeros(len(captions)), where=scale > 0)
    bigrams = np.array([max(0, len(tokens) - 1) for tokens in captions])
    total *= np.exp(-((bigrams - bigrams[clip_of]) ** 2) / (2 * SIGMA**2))
    values = 10 / ORDERS * np.bincount(clip_of[clips:], weights=total[clips:]) / np.bincount(clip_of[clips:])
    return float(values.mean()), values


def _look_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The value of each wanted key among the sorted `keys`, 0 where it is not there."""
    if not len(keys):
        return np.zeros(len(wanted), values.dtype)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], 0)


def _clips(candidates: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> Int[np.ndarray, " captions"]:
    """Clip of every candidate and then of every reference."""
    if not len(candidates) or len(candidates) != len(references):
        raise AudiojaxError(f"{len(candidates)} candidates and {len(references)} lists of references: each clip needs one of both")
    counts = [len(own) for own in references]
    if not min(counts):
        raise AudiojaxError(f"clip {counts.index(0)} of {len(counts)} has no reference")
    return np.concatenate([np.arange(len(candidates)), np.repeat(np.arange(len(candidates)), counts)])
