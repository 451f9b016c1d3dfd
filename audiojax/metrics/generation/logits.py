"""What a classifier says of generated sounds: KL divergence from the sound that it says of the reference, and the Inception score.

Formulas of "haoheliu/audioldm_eval code". SciPy, float64.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float

from audiojax.errors import AudiojaxError

EPSILON = 1e-6  # added to the probabilities of the generated sound before the logarithm
SPLITS, SEED = 10, 2020  # of the public evaluator

Activation = Literal["softmax", "sigmoid"]


def divergences(
    generated: Float[np.ndarray, "n classes"], reference: Float[np.ndarray, "n classes"], activation: Activation = "softmax"
) -> Float[np.ndarray, " n"]:
    """sum_c p_c log(p_c / (q_c + 1e-6)) of each pair of clips, p of the reference and q of the generated sound.

    The sigmoid variant sums over classes what each holds for "yes" alone, as the public evaluator does, so it may come out below 0.

    Args:
      generated: logits.
      reference: logits of the sound that each belongs to.

    Raises:
      AudiojaxError: the shapes differ, there are no clips, or logits that are not finite.
    """
    p, log_p, log_q = _terms(generated, reference, activation)
    return np.sum(p * (log_p - log_q), axis=1)


def mismatched_divergences(
    generated: Float[np.ndarray, "n classes"], reference: Float[np.ndarray, "n classes"], activation: Activation = "softmax"
) -> Float[np.ndarray, " n"]:
    """The mean divergence of each reference and the sounds that were generated for others: what sounds without regard to the prompt get.

    Raises:
      AudiojaxError: as `divergences`, or fewer than two clips.
    """
    p, log_p, log_q = _terms(generated, reference, activation)
    if len(p) < 2:
        raise AudiojaxError("one clip has no others")
    others = log_q.sum(axis=0, keepdims=True) - log_q
    return np.sum(p * (log_p - others / (len(p) - 1)), axis=1)


def _terms(generated: np.ndarray, reference: np.ndarray, activation: Activation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(p, log p, log(q + 1e-6))."""
    from scipy.special import expit, log_expit, log_softmax, softmax

    generated, reference = _checked(generated), _checked(reference)
    if generated.shape != reference.shape:
        raise AudiojaxError(f"logits {generated.shape} and {reference.shape}: each generated clip needs its reference")
    if activation == "sigmoid":
        return expit(reference), log_expit(reference), np.log(expit(generated) + EPSILON)
    return softmax(reference, axis=1), log_softmax(reference, axis=1), np.log(softmax(generated, axis=1) + EPSILON)


def inception_score(logits: Float[np.ndarray, "n classes"], splits: int = SPLITS, seed: int | None = SEED) -> tuple[float, float]:
    """(mean, standard deviation) over splits of exp(mean_i KL(p(y|x_i) || p(y))), from 1 to the number of classes.

    Args:
      splits: parts that are scored apart, each with its own p(y).
      seed: of the order in which clips are dealt to the parts; None keeps the given order.

    Raises:
      AudiojaxError: fewer clips than splits, or logits that are not finite.
    """
    from scipy.special import log_softmax, logsumexp

    logits = _checked(logits)
    count = len(logits)
    if not 1 <= splits <= count:
        raise AudiojaxError(f"{count} clips cannot be split into {splits} parts")
    if seed is not None:
        logits = logits[np.random.RandomState(seed).permutation(count)]
    log_p = log_softmax(logits, axis=1)
    scores = []
    for i in range(splits):
        part = log_p[i * count // splits : (i + 1) * count // splits]
        marginal = logsumexp(part, axis=0, keepdims=True) - np.log(len(part))
        scores.append(np.exp(np.mean(np.sum(np.exp(part) * (part - marginal), axis=1))))
    return float(np.mean(scores)), float(np.std(scores))


def _checked(logits: np.ndarray) -> np.ndarray:
    logits = np.asarray(logits, np.float64)
    if logits.ndim != 2 or not logits.size:
        raise AudiojaxError(f"logits of the shape {logits.shape}: [clips, classes] are needed")
    if not np.isfinite(logits).all():
        raise AudiojaxError(f"{(~np.isfinite(logits)).any(axis=1).sum()} of {len(logits)} rows of logits are not finite")
    return logits
