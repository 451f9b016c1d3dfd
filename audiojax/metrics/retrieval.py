"""Retrieval scores from a similarity matrix, in both directions, with the chance level of each. NumPy only.

Ties are pessimistic: at equal similarity every wrong item comes first, so that a constant model scores nothing.
Ranks count from 0. R@K, mAP@K and nDCG@10 are fractions in [0, 1]; MedR and MeanR count from 1.

`text_to_audio` and `audio_to_text` take what belongs together from the captions' clips; `graded` takes any table of relevance, and
`minimal_pairs` asks which of two clips a text prefers.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from audiojax.errors import AudiojaxError

DEPTHS = (1, 5, 10)
AP_DEPTH = 10
GAIN_DEPTH = 10


@dataclass(frozen=True)
class Ranks:
    """What one direction gives per query, so that intervals can be drawn over queries.

    Attributes:
      rank: rank of the best relevant item, from 0.
      average_precision: AP@K, sum over relevant items at ranks p_1 < p_2 < ... <= K of m / p_m, over the number of relevant items.
      clip: clip of the query, the unit that a clustered bootstrap draws.
      depth: K of the average precision.
      gain: nDCG@10 where relevance has grades, None where an item is right or wrong.
    """

    rank: Int[np.ndarray, " q"]
    average_precision: Float[np.ndarray, " q"]
    clip: Int[np.ndarray, " q"]
    depth: int = AP_DEPTH
    gain: Float[np.ndarray, " q"] | None = None

    def hits(self, depth: int) -> Float[np.ndarray, " q"]:
        """1.0 where a relevant item is among the first `depth`; its mean is R@depth."""
        return (self.rank < depth).astype(np.float64)

    def summary(self) -> dict[str, float]:
        """R@1, R@5, R@10, R_sum (their sum, for model selection), mAP@K, MedR = floor(median rank) + 1, MeanR = mean rank + 1, nDCG@10."""
        recall = {f"R@{depth}": float(self.hits(depth).mean()) for depth in DEPTHS}
        gain = {} if self.gain is None else {f"nDCG@{GAIN_DEPTH}": float(self.gain.mean())}
        return recall | {
            "R_sum": sum(recall.values()),
            f"mAP@{self.depth}": float(self.average_precision.mean()),
            "MedR": float(np.floor(np.median(self.rank)) + 1),
            "MeanR": float(self.rank.mean() + 1),
            **gain,
        }


def text_to_audio(similarity: Float[np.ndarray, "t a"], clip_index: Int[np.ndarray, " t"]) -> Ranks:
    """Every caption is a query over all clips; its one relevant item is its own clip, so AP@10 = 1 / rank within the first 10.

    Args:
      similarity: any finite or infinite scores, higher is more alike.
      clip_index: column of each text's clip.

    Raises:
      AudiojaxError: NaN in `similarity`, or shapes and indices that do not fit.
    """
    similarity, clip_index = _checked(similarity, clip_index)
    own = np.take_along_axis(similarity, clip_index[:, None], axis=1)  # [t, 1]
    rank = (similarity >= own).sum(axis=1) - 1  # every clip at least as similar, less the own one
    position = rank + 1
    return Ranks(rank, np.where(position <= AP_DEPTH, 1.0 / position, 0.0), clip_index)


def audio_to_text(similarity: Float[np.ndarray, "t a"], clip_index: Int[np.ndarray, " t"]) -> Ranks:
    """Every clip that has captions is one query over all texts; its captions are the relevant items and its rank is the best of theirs.

    Arguments and errors as in `text_to_audio`; R@K is a hit if any caption of the clip is among the first K.
    """
    similarity, clip_index = _checked(similarity, clip_index)
    clips = np.unique(clip_index)
    rank, precision = np.zeros(len(clips), np.int64), np.zeros(len(clips))
    for i, clip in enumerate(clips):
        relevant = clip_index == clip
        own = np.sort(similarity[relevant, clip])[::-1]
        others = np.sort(similarity[~relevant, clip])
        ahead = len(others) - np.searchsorted(others, own, side="left")  # wrong texts at least as similar, per own caption
        found = np.arange(1, len(own) + 1)  # m
        position = ahead + found  # p_m, from 1
        rank[i] = ahead[0]
        precision[i] = np.sum(np.where(position <= AP_DEPTH, found / position, 0.0)) / len(own)
    return Ranks(rank, precision, clips)


def graded(similarity: Float[np.ndarray, "q n"], relevance: Float[np.ndarray, "q n"], *, depth: int = 16) -> Ranks:
    """Queries over items of which several may be right, to different degrees: mAP@16 of DCASE 2025's task 6, and nDCG@10.

    nDCG@10 is the sum of g_p / log2(p + 1) over the first ten places, over the largest that an order of these grades can reach.

    Args:
      similarity: any finite or infinite scores, higher is more alike.
      relevance: grade g of every item, 0 = wrong; any other counts as right for ranks and precision.
      depth: K of the average precision.

    Raises:
      AudiojaxError: NaN or shapes that do not fit, a negative grade, or a query for which nothing is right.
    """
    similarity, relevance = np.asarray(similarity), np.asarray(relevance, np.float64)
    if similarity.ndim != 2 or similarity.shape != relevance.shape or similarity.size == 0:
        raise AudiojaxError(f"similarity {similarity.shape} and relevance {relevance.shape}: both are [queries, items]")
    _refuse_nan(similarity)
    if not (relevance >= 0).all():
        raise AudiojaxError("relevance holds negative grades or NaN; 0 means wrong")
    if not (relevance > 0).any(axis=1).all():
        raise AudiojaxError(f"query {np.flatnonzero(~(relevance > 0).any(axis=1))[0]} has no right answer: leave it out")
    order = np.lexsort((relevance, -similarity), axis=1)  # at equal similarity the lower grade comes first
    grades = np.take_along_axis(relevance, order, axis=1)
    right = grades > 0
    found, position = np.cumsum(right, axis=1), np.arange(1, grades.shape[1] + 1)
    precision = np.where(right & (position <= depth), found / position, 0.0).sum(axis=1) / right.sum(axis=1)
    discount = np.where(position <= GAIN_DEPTH, 1 / np.log2(position + 1), 0.0)
    gain = grades @ discount / (-np.sort(-relevance, axis=1) @ discount)
    return Ranks(np.argmax(right, axis=1), precision, np.arange(len(grades)), depth, gain)


def minimal_pairs(similarity: Float[np.ndarray, "n n"]) -> Float[np.ndarray, " n"]:
    """1.0 where text i scores its own clip i above the other clip of its pair, which is i ^ 1; a tie is wrong. Chance is 0.5.

    Raises:
      AudiojaxError: NaN, or no square matrix of an even size.
    """
    similarity = np.asarray(similarity)
    if similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1] or len(similarity) % 2:
        raise AudiojaxError(f"similarity {similarity.shape}: pairs of clips need one text each, [2 pairs, 2 pairs]")
    _refuse_nan(similarity)
    own = np.arange(len(similarity))
    return (similarity[own, own] > similarity[own, own ^ 1]).astype(np.float64)


def retrieval_scores(similarity: Float[np.ndarray, "t a"], clip_index: Int[np.ndarray, " t"]) -> dict[str, float]:
    """The summaries of both directions under "t2a/..." and "a2t/...", for instance "t2a/R@1"."""
    directions = {"t2a": text_to_audio(similarity, clip_index), "a2t": audio_to_text(similarity, clip_index)}
    return {f"{name}/{key}": value for name, ranks in directions.items() for key, value in ranks.summary().items()}


def chance_scores(clip_index: Int[np.ndarray, " t"], clips: int) -> dict[str, float]:
    """Expected scores of uniformly random rankings, exact, under the names of `retrieval_scores`.

    For a query with R relevant among n items: P(rank >= k) = C(n - R, k) / C(n, k), E[rank] + 1 = (n + 1) / (R + 1), and
    E[AP@10] = 1 / n * sum_{p <= 10} (1 + (p - 1)(R - 1) / (n - 1)) / p. MedR is the median of the rank's distribution over all queries.

    Args:
      clip_index: column of each text's clip.
      clips: number of clips, those without captions included.
    """
    captions = np.unique(np.asarray(clip_index), return_counts=True)[1]  # per clip that has any
    texts = int(captions.sum())
    directions = {"t2a": _chance(np.ones(1, np.int64), np.ones(1), clips), "a2t": _chance(*np.unique(captions, return_counts=True), texts)}
    return {f"{name}/{key}": value for name, scores in directions.items() for key, value in scores.items()}


def _chance(relevant: np.ndarray, queries: np.ndarray, items: int) -> dict[str, float]:
    """Chance level where `queries[i]` queries have `relevant[i]` relevant among `items`."""
    share = queries / queries.sum()
    # P(rank >= k) for k = 0..items, as a running product of (n - R - j) / (n - j)
    steps = np.maximum(items - relevant[:, None] - np.arange(items)[None, :], 0) / (items - np.arange(items))[None, :]
    beyond = share @ np.concatenate([np.ones((len(relevant), 1)), np.cumprod(steps, axis=1)], axis=1)  # [items + 1]
    recall = {f"R@{depth}": float(1 - beyond[min(depth, items)]) for depth in DEPTHS}
    position = np.arange(1, min(AP_DEPTH, items) + 1)
    together = (relevant[:, None] - 1) / max(items - 1, 1) * (position - 1)[None, :]
    precision = np.sum((1 + together) / position[None, :], axis=1) / items
    return recall | {
        "R_sum": sum(recall.values()),
        f"mAP@{AP_DEPTH}": float(share @ precision),
        "MedR": float(np.argmax(beyond <= 0.5)),  # smallest k with P(rank < k) >= 1/2
        "MeanR": float(share @ ((items + 1) / (relevant + 1))),
    }


def _checked(similarity: np.ndarray, clip_index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    similarity, clip_index = np.asarray(similarity), np.asarray(clip_index)
    if similarity.ndim != 2 or clip_index.shape != similarity.shape[:1] or similarity.size == 0:
        raise AudiojaxError(f"similarity {similarity.shape} should be [texts, clips] with one clip index per text, got {clip_index.shape}")
    if clip_index.min() < 0 or clip_index.max() >= similarity.shape[1]:
        raise AudiojaxError(f"clip indices {clip_index.min()}..{clip_index.max()} do not fit {similarity.shape[1]} clips")
    _refuse_nan(similarity)
    return similarity, clip_index.astype(np.int64)


def _refuse_nan(similarity: np.ndarray) -> None:
    missing = np.isnan(similarity)
    if missing.any():
        row, column = np.argwhere(missing)[0]
        raise AudiojaxError(f"{missing.sum()} of {similarity.size} similarities are NaN, the first at row {row}, column {column}")
