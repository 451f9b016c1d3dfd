"""Generated sounds of SoundWorld by how often their classes are met in training: are they recognised, and are they near real ones."""

import numpy as np
from jaxtyping import Float

from audiojax.data.soundworld.classes import CLASSES, HEAD, MIDDLE, TAIL, UNSEEN
from audiojax.metrics.bootstrap import ratio_interval
from audiojax.metrics.generation.kernel import kernel_interval
from audiojax.metrics.tagging import recognised
from audiojax.report.sections import Metric

TIERS = (HEAD, MIDDLE, TAIL, UNSEEN)  # the rarest last
LEAST = 2  # clips of a bucket that a distance takes


def bucket_metrics(
    generated: tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n c"]],
    reference: tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n c"]],
    labels: Float[np.ndarray, "n classes"],
) -> tuple[list[Metric], dict[str, list[float]]]:
    """Tagger accuracy and KID for classes that are frequent (head) to unseen in training, those of them that occur.

    Accuracy goes by events: the share of the classes that should sound which the tagger finds among the likeliest of the clip, as many as
    should sound in it. Chance is a random order, the ceiling what the real clips get. A row of its own is that of clips with one event, of
    a head class: there the tagger's first tag is asked for. For KID a clip belongs to its rarest class.

    Args:
      generated: (embeddings, logits) of the generated clips; accuracy is left out where the logits are not of SoundWorld's classes.
      reference: of the real clips, row by row for the same scenes.
      labels: 1 for every class that should sound.

    Returns:
      The rows, and of each accuracy a number for every clip that it is of, whose mean it is: what the tagger finds in it over the events
      of a clip on average.
    """
    tiers = np.array([TIERS.index(row.tier) for row in CLASSES])
    rarest = np.max(np.where(labels > 0, tiers[None], -1), axis=1)
    accuracies, values = _accuracies(generated[1], reference[1], labels, tiers)
    return [*accuracies, *_distances(generated[0], reference[0], rarest)], values


def _accuracies(
    generated: np.ndarray, reference: np.ndarray, labels: np.ndarray, tiers: np.ndarray
) -> tuple[list[Metric], dict[str, list[float]]]:
    if generated.shape != labels.shape:
        return [], {}
    hits = [recognised(logits, labels) for logits in (generated, reference)]
    chance = labels * labels.mean(axis=1, keepdims=True)
    single = labels.sum(axis=1, keepdims=True) == 1
    asked = {f"tagger accuracy, {tier}": labels * (tiers == number) for number, tier in enumerate(TIERS)}
    asked["tagger accuracy, single head events"] = asked[f"tagger accuracy, {HEAD}"] * single
    found, each = [], {}
    for name, chosen in asked.items():
        sounding, made, real, blind = (np.sum(rows * chosen, axis=1, dtype=np.float64) for rows in (labels, *hits, chance))
        if sounding.any():
            of = sounding > 0
            interval = ratio_interval(made[of], sounding[of])
            limits = {"chance": float(blind.sum() / sounding.sum()), "ceiling": float(real.sum() / sounding.sum())}
            found.append(Metric(name, interval.estimate, interval.low, interval.high, **limits))
            each[name] = (made[of] / sounding[of].mean()).tolist()
    return found, each


def _distances(generated: np.ndarray, reference: np.ndarray, rarest: np.ndarray) -> list[Metric]:
    found = []
    for number, tier in enumerate(TIERS):
        rows = rarest == number
        if rows.sum() < LEAST:
            continue
        interval = kernel_interval(generated[rows], reference[rows], paired=True)
        bounds = (interval.estimate, interval.low, interval.high)
        found.append(Metric(f"KID, {tier} ({rows.sum()} clips)", *bounds, ceiling=0.0, percent=False, lower_is_better=True))
    return found
