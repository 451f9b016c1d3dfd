"""What was retrieved for sounds that were made, and how far they copy it, where the truth of SoundWorld is known."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from audiojax.api.making.datastore import Datastore
from audiojax.api.making.sound_backbone import Backbone
from audiojax.api.making.sound_measures import Compared
from audiojax.api.making.sound_sets import Heard
from audiojax.data.examples import facts_of
from audiojax.data.transforms import to_float
from audiojax.metrics.bootstrap import mean_interval
from audiojax.metrics.generation.likeness import NONE, copy_scores, retrieval_precision
from audiojax.progress import counting_bar
from audiojax.report.sections import Metric

OTHERS = 10  # clips of its classes that a sound is compared with besides those that it was given
SEED = 0  # by which they are drawn


def retrieval_metrics(
    datastore: Datastore,
    classes: Bool[np.ndarray, "m classes"],
    retrieved: Mapping[str, Int[np.ndarray, " k"]],
    compared: Compared,
    network: Backbone,
    *,
    progress: bool = True,
) -> tuple[list[Metric], dict[str, Float[np.ndarray, " n"]]]:
    """Precision of what was retrieved, and copy scores of the sounds and of the real clips; with the values of each sound, NaN where a
    sound was given nothing, or where there is nothing else to compare it with.

    A sound is compared with the clips that it was given and with `OTHERS` of the datastore that have a class of it. The real clip has heard
    none of them: what its score is above 0.5 comes of what is retrieved being alike, and what the made sound's is above that of copying.

    Args:
      classes: of the datastore's clips.
      retrieved: id of each sound -> clips of the datastore, NONE where there are no more.
      compared: the sounds beside the real clips of the same ids, whose classes are known.
      network: that hears the datastore's clips; the one that has heard the others.
    """
    labels = compared.real.sounds.labels
    ids = [own for own in compared.ids if np.any(retrieved[own] != NONE)]
    if not ids:
        return [], {}
    rows, wanted = np.stack([retrieved[own] for own in ids]), np.stack([labels[own] for own in ids]) > 0
    alike = wanted.astype(np.float32) @ classes.T.astype(np.float32) > 0
    precision = retrieval_precision(wanted, classes, rows)
    interval = mean_interval(precision)
    limits = {"chance": float(alike.mean()), "ceiling": 1.0}
    found = [Metric("precision of what is retrieved", interval.estimate, interval.low, interval.high, **limits)]
    others = _others(datastore, alike, rows, ids)
    some = [i for i in range(len(ids)) if others[i].any()]
    values = {"retrieval_precision": _at(precision, ids, compared.ids)}
    if not some:
        return found, values
    heard = np.unique(np.concatenate([rows[some][rows[some] != NONE], np.nonzero(others[some].any(axis=0))[0]]))
    vectors, places = _hear(datastore, heard, network, progress), np.full(len(classes) + 1, NONE)
    places[heard] = np.arange(len(heard))  # NONE, the last, stays
    given, theirs = places[rows[some]], others[some][:, heard]
    own = [ids[i] for i in some]
    scores = [copy_scores(one.rows(own)[0], vectors, given, theirs) for one in (compared.made, compared.real)]
    for name, score in zip(("copy score", "copy score of the real clips"), scores, strict=True):
        interval = mean_interval(score)
        found.append(Metric(name, interval.estimate, interval.low, interval.high, chance=0.5, ceiling=1.0))
    above = {"copy_score": scores[0], "copy_score_above_real": scores[0] - scores[1]}
    return found, values | {name: _at(score, own, compared.ids) for name, score in above.items()}


def _at(values: Float[np.ndarray, " k"], ids: Sequence[str], all_ids: Sequence[str]) -> Float[np.ndarray, " n"]:
    """The values of some sounds among those of all, NaN for the others."""
    known = dict(zip(ids, values, strict=True))
    return np.array([known.get(own, np.nan) for own in all_ids])


def _others(
    datastore: Datastore, alike: Bool[np.ndarray, "n m"], rows: Int[np.ndarray, "n k"], ids: Sequence[str]
) -> Bool[np.ndarray, "n m"]:
    """Of each sound `OTHERS` clips that are like it, drawn; none that it was given, nor itself."""
    stored = {facts_of(datastore.records, i)["id"]: i for i in range(len(datastore.records))}
    chosen = np.zeros_like(alike)
    for i, own in enumerate(ids):
        free = alike[i].copy()
        free[rows[i][rows[i] != NONE]] = False
        if own in stored:
            free[stored[own]] = False
        there = np.nonzero(free)[0]
        chosen[i, np.random.default_rng([SEED, i]).permutation(there)[:OTHERS]] = True
    return chosen


def _hear(datastore: Datastore, clips: Int[np.ndarray, " h"], network: Backbone, progress: bool) -> Float[np.ndarray, "h d"]:
    """The embeddings of some of the datastore's clips."""

    def sounds() -> Iterator[Heard]:
        for clip in clips:
            record = datastore.records[int(clip)]
            yield to_float(record["audio"]), record["sample_rate"]

    with counting_bar("sounds", progress) as bar:
        task = bar.add_task("listening to the datastore", total=len(clips))
        return network.hear([str(clip) for clip in clips], sounds(), lambda: bar.advance(task)).embeddings
