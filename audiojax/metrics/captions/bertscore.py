"""BERTScore of token states (arXiv 1904.09675): every token is matched with the nearest one of the other text. NumPy only.

    precision = sum_i w_i max_j cos(x_i, y_j) / sum_i w_i,   recall the same the other way round,   F1 = 2 P R / (P + R)

x are the candidate's tokens, y the reference's. As in the public tool (bert_score 0.3), special tokens may be matched but have no weight,
of several references the best one counts in each of the three by itself, and a text without a word scores 0.
"""

import csv
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from audiojax.errors import UsageError
from audiojax.files import shown

COLUMNS = ("P", "R", "F")  # of a baseline's file
UNSEEN = -1  # stands for the tokens that no reference holds
LAYERS = {  # tuned by the authors on translations of WMT16
    "bert-base-uncased": 9,
    "bert-large-uncased": 18,
    "bert-base-multilingual-cased": 9,
    "bert-base-chinese": 8,
    "distilroberta-base": 5,
    "roberta-base": 10,
    "roberta-large": 17,
    "roberta-large-mnli": 19,
    "scibert_scivocab_uncased": 8,
    "scibert_scivocab_cased": 9,
    "unsup-simcse-bert-base-uncased": 10,
    "sup-simcse-bert-base-uncased": 10,
    "unsup-simcse-roberta-large": 13,
    "sup-simcse-roberta-large": 16,
}


@dataclass(frozen=True, eq=False)
class Text:
    """A text as BERTScore sees it: unit vectors of its tokens, special ones included, and what each counts in an average."""

    states: Float[np.ndarray, "l d"]
    weights: Float[np.ndarray, " l"]


def layer_of(name: str) -> int | None:
    """The layer that the public tool reads for a model of this name, None where it knows none."""
    return LAYERS.get(name.rstrip("/").rpartition("/")[2])


def token_weights(ids: Sequence[int], special: Collection[int], idf: Mapping[int, float] | None = None) -> Float[np.ndarray, " l"]:
    """What each token counts: 1, or its idf; a special one nothing.

    Args:
      idf: of `inverse_frequencies`; a token that it lacks counts as much as one that no reference holds.
    """
    if idf is None:
        return np.array([float(token not in special) for token in ids])
    return np.array([0.0 if token in special else idf.get(token, idf[UNSEEN]) for token in ids])


def inverse_frequencies(references: Sequence[Sequence[int]]) -> dict[int, float]:
    """Token -> log((n + 1) / (references that hold it + 1)) of n references, and `UNSEEN` -> log(n + 1)."""
    held = Counter(token for row in references for token in set(row))
    count = len(references)
    return {token: log((count + 1) / (times + 1)) for token, times in held.items()} | {UNSEEN: log(count + 1)}


def unit_states(states: Float[np.ndarray, "l d"]) -> Float[np.ndarray, "l d"]:
    """The states at length 1; zeros stay zeros."""
    return states / np.maximum(np.linalg.norm(states, axis=-1, keepdims=True), 1e-12)


def best_match(candidate: Text, references: Sequence[Text]) -> Float[np.ndarray, "3"]:
    """(P, R, F1), each the best that one of the references gives."""
    return np.max([match(candidate, reference) for reference in references], axis=0)


def match(candidate: Text, reference: Text) -> Float[np.ndarray, "3"]:
    """(P, R, F1) of two texts; 0 where one of them has no weight at all."""
    totals = candidate.weights.sum(), reference.weights.sum()
    if min(totals) <= 0:
        return np.zeros(3)
    cosines = (candidate.states @ reference.states.T).astype(np.float64)
    precision = candidate.weights @ cosines.max(axis=1) / totals[0]
    recall = reference.weights @ cosines.max(axis=0) / totals[1]
    total = precision + recall
    return np.array([precision, recall, 2 * precision * recall / total if total else 0.0])


def read_baseline(path: Path, layer: int) -> Float[np.ndarray, "3"]:
    """(P, R, F1) that unrelated texts get at a layer, from a table of the public tool: columns LAYER, P, R, F with commas between.

    Raises:
      UsageError: it cannot be read, or lacks the layer.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows: list[dict[str, Any]] = list(csv.DictReader(file))
        found = {int(row["LAYER"]): np.array([float(row[name]) for name in COLUMNS]) for row in rows}
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise UsageError(f"{shown(path)}: is no baseline of BERTScore, a table with the columns LAYER,P,R,F ({error})") from error
    if layer not in found:
        raise UsageError(f"{shown(path)}: has no layer {layer}; it has {', '.join(map(str, sorted(found))) or 'none'}")
    if not (found[layer] < 1).all():
        raise UsageError(f"{shown(path)}: the baseline of layer {layer} is not below 1")
    return found[layer]


def rescaled(scores: Float[np.ndarray, "... 3"], baseline: Float[np.ndarray, "3"]) -> Float[np.ndarray, "... 3"]:
    """Scores that unrelated texts reach become 0, those of equal texts stay 1."""
    return (scores - baseline) / (1 - baseline)
