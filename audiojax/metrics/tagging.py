"""Scores of tagging, several classes a clip. NumPy and scikit-learn, no jax."""

import numpy as np
from jaxtyping import Bool, Float

from audiojax.errors import AudiojaxError


def average_precisions(scores: Float[np.ndarray, "b classes"], labels: Float[np.ndarray, "b classes"]) -> Float[np.ndarray, " occurring"]:
    """Average precision of each class that occurs, in the order of classes.

    Args:
      scores: higher is more likely.
      labels: 1 where a class sounds, 0 elsewhere.

    Raises:
      AudiojaxError: no class occurs, or the shapes differ.
    """
    from sklearn.metrics import average_precision_score

    occurring = _occurring(scores, labels)
    return np.array([average_precision_score(labels[:, i] > 0, scores[:, i]) for i in np.flatnonzero(occurring)])


def chance_precision(labels: Float[np.ndarray, "b classes"]) -> float:
    """What scores drawn at random get on average in many clips: the mean share of clips in which a class occurs, over those that do."""
    return float(labels[:, _occurring(labels, labels)].mean())


def _occurring(scores: np.ndarray, labels: np.ndarray) -> Bool[np.ndarray, " classes"]:
    if scores.shape != labels.shape or labels.ndim != 2:
        raise AudiojaxError(f"scores {scores.shape} and labels {labels.shape}: both are [clips, classes]")
    occurring = (labels > 0).any(axis=0)
    if not occurring.any():
        raise AudiojaxError(f"none of {labels.shape[1]} classes occurs in {labels.shape[0]} clips: there is nothing to score")
    return occurring


def likeliest(scores: Float[np.ndarray, "b classes"], labels: Float[np.ndarray, "b classes"]) -> Bool[np.ndarray, "b classes"]:
    """True for the likeliest classes of a clip, as many as sound in it; equal ones in the order of classes.

    Raises:
      AudiojaxError: as `average_precisions`.
    """
    _occurring(scores, labels)
    ranks = np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1)
    return ranks < (labels > 0).sum(axis=1, keepdims=True)


def recognised(scores: Float[np.ndarray, "b classes"], labels: Float[np.ndarray, "b classes"]) -> Bool[np.ndarray, "b classes"]:
    """True where a class sounds and is among the likeliest of its clip: a clip of one class asks for the first.

    Raises:
      AudiojaxError: as `average_precisions`.
    """
    return likeliest(scores, labels) & (labels > 0)
