"""Scores of the captions in a table against people's in another, by strings, by Java programs and by models."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
from jaxtyping import Float

from audiojax.api.describing.caption_measures import AGREEMENT, DIVERSITY, MODELLED, Measure, count
from audiojax.api.describing.caption_models import CaptionModel, Said, measure_all
from audiojax.api.describing.caption_pairs import Pairs, read_pairs
from audiojax.api.describing.caption_sounds import folder_sounds
from audiojax.errors import UsageError
from audiojax.metrics.bootstrap import mean_interval
from audiojax.metrics.captions.fense import penalised
from audiojax.metrics.captions.java import meteor, require, spice
from audiojax.metrics.captions.ptb import tokenize
from audiojax.metrics.captions.scores import diversity_scores
from audiojax.progress import counting_bar
from audiojax.report.sections import Card, Metric, MetricTable, Section

JAVA = {"meteor": "METEOR", "spice": "SPICE", "spider": "SPIDEr"}
DEFAULT = ("bleu", "rouge_l", "cider_d", "diversity")
METRICS = (*DEFAULT, *JAVA)
SPIDER_FL = Measure("SPIDEr-FL", percent=False)


@dataclass(frozen=True, eq=False)
class Scored:
    """What `score` found.

    Attributes:
      scores: "bleu_1", "cider_d", "meteor", "distinct_1" and so on.
      per_clip: metric -> values in the order of `pairs.ids`; not of diversity.
      pairs: the clips that were scored, and what did not fit.
      sections: tables and the metric card, for the console.
      card: how the scores came about.
    """

    scores: Mapping[str, float]
    per_clip: Mapping[str, Float[np.ndarray, " clips"]]
    pairs: Pairs
    sections: Sequence[Section]
    card: Mapping[str, Any]

    def rows(self) -> list[dict[str, Any]]:
        """A flat row per clip: its id, the caption that was scored, and its values."""
        return [
            {"id": name, "caption": own[0]} | {metric: float(values[i]) for metric, values in self.per_clip.items()}
            for i, (name, own) in enumerate(zip(self.pairs.ids, self.pairs.candidates, strict=True))
        ]


def score(
    captions: str | os.PathLike,
    references: str | os.PathLike,
    metrics: Sequence[str] = DEFAULT,
    *,
    models: Sequence[CaptionModel] = (),
    audio: str | os.PathLike | None = None,
    allow_missing: bool = False,
    progress: bool = True,
) -> Scored:
    """Scores the captions of one CSV or TSV file against those of another; `caption_pairs.read_pairs` says what the files hold.

    Args:
      metrics: any of METRICS; "spider" is the mean of CIDEr-D and SPICE; "spider_fl" comes with it where `models` find errors of fluency.
      models: measures that need a model, opened; see `audiojax.api.describing.caption_models`.
      audio: the folder of the sounds, for models that listen.
      allow_missing: score the clips that both files have, although rows are missing, repeated or empty. An empty caption scores 0.

    Raises:
      UsageError: the files do not fit together, an unknown metric, METEOR or SPICE cannot be run here, or sounds are missing.
      AudiojaxError: Java or a model fails, or a sound cannot be used.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not (metrics or models):
        raise UsageError(f"there is no metric '{', '.join(unknown)}'; known are {', '.join(METRICS)}")
    for name in JAVA.keys() & set(metrics):
        require(name)
    pairs = read_pairs(captions, references)
    if pairs.faults and not allow_missing:
        raise UsageError(f"{pairs.summary()}\n--allow-missing scores the {len(pairs.ids)} clips that both files have")
    sounds = None if audio is None else folder_sounds(audio, pairs)
    scores, per_clip, rows = _agreement(pairs, metrics)
    sections: list[Section] = []
    if JAVA.keys() & set(metrics):
        for name, (value, values) in _by_java(pairs, metrics, progress).items():
            scores[name], per_clip[name] = value, values
            rows.append(_row(JAVA[name], value, values))
    said = Said(pairs.ids, [own[0] for own in pairs.candidates], pairs.references, sounds)
    for name, values in measure_all(models, said, progress).items():
        rows.append(_measured(MODELLED[name], values))
        scores[name], per_clip[name] = rows[-1].value, values
    if {"spider", "fluency_errors"} <= per_clip.keys():
        values = penalised(per_clip["spider"], per_clip["fluency_errors"])
        rows.append(_measured(SPIDER_FL, values))
        scores["spider_fl"], per_clip["spider_fl"] = rows[-1].value, values
    if rows:
        sections.append(MetricTable("Agreement with the references", rows))
    if "diversity" in metrics:
        diversity = diversity_scores(pairs.candidates)
        scores |= diversity
        sections.append(MetricTable("Diversity", [Metric(DIVERSITY[name], value, percent=False) for name, value in diversity.items()]))
    card = _card(pairs, metrics) | {name: made for model in models for name, made in model.card.items()}
    return Scored(scores, per_clip, pairs, [*sections, Card("Metric card", card)], card)


def _agreement(pairs: Pairs, metrics: Sequence[str]) -> tuple[dict[str, float], dict[str, np.ndarray], list[Metric]]:
    """(scores, values per clip, rows of a table) of the metrics that need no Java."""
    scores, per_clip, rows = {}, {}, []
    chosen = {name: measure for name, measure in AGREEMENT.items() if name in metrics or (name.startswith("bleu_") and "bleu" in metrics)}
    counts = count([own[0] for own in pairs.candidates], pairs.references) if chosen else {}
    for name, measure in chosen.items():
        rows.append(_measured(measure, counts[name]))
        scores[name], per_clip[name] = rows[-1].value, measure.statistic(counts[name])
    return scores, per_clip, rows


def _measured(measure: Measure, counts: np.ndarray) -> Metric:
    """The row of a measure, from its counts [k, clips] or its values [clips]."""
    interval = measure.interval(np.atleast_2d(counts))
    return Metric(measure.title, interval.estimate, interval.low, interval.high, percent=measure.percent)


def _by_java(pairs: Pairs, metrics: Sequence[str], progress: bool) -> dict[str, tuple[float, np.ndarray]]:
    """Metric -> (value of the corpus, value of each clip) of METEOR, SPICE and SPIDEr, those that are asked for."""
    said = [tokenize(own[0]) for own in pairs.candidates]
    wanted = [[tokenize(text) for text in own] for own in pairs.references]
    found = {}
    with counting_bar("clips", progress) as bar:
        if "meteor" in metrics:
            task = bar.add_task("METEOR", total=len(said))
            found["meteor"] = meteor(said, wanted, lambda: bar.advance(task))
        if {"spice", "spider"} & set(metrics):
            task = bar.add_task("SPICE", total=len(said))
            found["spice"] = spice(said, wanted)
            bar.advance(task, len(said))
    if "spider" in metrics:
        values = (found["spice"][1] + count([own[0] for own in pairs.candidates], pairs.references)["cider_d"][0]) / 2
        found["spider"] = float(values.mean()), values
    return {name: found[name] for name in JAVA if name in metrics}


def _row(title: str, value: float, values: np.ndarray) -> Metric:
    """With the interval of the mean over clips, where that is the value; METEOR pools its clips."""
    interval = mean_interval(values)
    bounds = {"low": interval.low, "high": interval.high} if np.isclose(interval.estimate, value, rtol=0, atol=1e-9) else {}
    return Metric(title, value, **bounds, percent=title != JAVA["spider"])


def _card(pairs: Pairs, metrics: Sequence[str]) -> dict[str, Any]:
    """How the scores came about."""
    versions = {"pycocoevalcap": metadata.version("pycocoevalcap")} if JAVA.keys() & set(metrics) else {}
    return {
        "protocol": "the first caption of a clip against all its references; intervals over clips, 95 %",
        "tokeniser": "as PTBTokenizer 3.4.1, lower case, without punctuation",
        "clips": len(pairs.ids),
        "captions a clip": _sizes(pairs.candidates),
        "references a clip": _sizes(pairs.references),
        "list hash": hashlib.blake2b("\n".join(pairs.ids).encode(), digest_size=8).hexdigest(),
        "left out or empty": pairs.summary() or "nothing",
        **versions,
    }


def _sizes(lists: Sequence[Sequence[str]]) -> str:
    """How many each holds: "5", or "1 to 5"."""
    sizes = [len(own) for own in lists]
    return f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
