"""Scores of generated sounds against real ones: Frechet and kernel distance, KL, Inception score, CLAP score, silence."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audiojax.api.describing.caption_models.clap import clap_facts, open_clap
from audiojax.api.finding.clap_search import ClapFinder
from audiojax.api.making.listening import side_by_side
from audiojax.api.making.score_buckets import bucket_metrics
from audiojax.api.making.sound_backbone import Backbone
from audiojax.api.making.sound_measures import Compared, Measured, clap_metric, distance_metrics, silence_metric, tag_metrics
from audiojax.api.making.sound_sets import SoundSet, open_set, paired, with_captions
from audiojax.errors import UsageError
from audiojax.metrics.generation.logits import SEED, SPLITS
from audiojax.progress import counting_bar
from audiojax.report.html import write_report
from audiojax.report.sections import Card, Metric, MetricTable, Note, Section
from audiojax.trainer.distributed import require_one_process

TITLE = "Generated sounds"
BUCKETS = "By how often classes are met in training"
READING = Note(
    "How to read this",
    (
        "Frechet distance (FD) and KID compare the two sets as clouds of embeddings, one vector a clip; FAD takes one a frame. Lower is"
        " nearer. The distances of halves compare sets of one size: the value is that of generated sounds against half of the real ones,"
        " the ceiling that of the other half of the real ones, and the range is that over ten random halves.",
        "KL compares what the backbone hears in a generated sound and in the real one of the same id; chance pairs it with others. The"
        " Inception score is higher where single sounds are clear and the set is varied; its ceiling is that of the real sounds.",
        "All of these belong to the backbone and its window: those of another backbone do not compare. FAD in papers is that of VGGish.",
        "The CLAP score is the cosine of a sound and its caption; chance takes others' captions, the ceiling real sounds.",
    ),
)


@dataclass(frozen=True, eq=False)
class ScoredSounds:
    """What `score_audio` found.

    Attributes:
      metrics: rows of all tables.
      ids: of the pairs; without pairs, of the generated sounds.
      per_clip: values in the order of `ids`.
      groups: values of those of them that a score is of, whose mean it is.
      compared: the features of both sets.
      sections: tables and the metric card, for the console.
      card: how the scores came about.
      remarks: what was left out, is silent or too few, one line each.
      report: the page, where one was asked for.
    """

    metrics: Sequence[Metric]
    ids: Sequence[str]
    per_clip: Mapping[str, Sequence[float]]
    groups: Mapping[str, Sequence[float]]
    compared: Compared
    sections: Sequence[Section]
    card: Mapping[str, Any]
    remarks: Sequence[str]
    report: Path | None = None

    @property
    def scores(self) -> dict[str, float]:
        """Name of each metric -> its value."""
        return {metric.name: metric.value for metric in self.metrics}

    def rows(self) -> list[dict[str, Any]]:
        """A flat row per id: its values."""
        return [{"id": own} | {name: values[i] for name, values in self.per_clip.items()} for i, own in enumerate(self.ids)]


def score_audio(
    generated: str | os.PathLike | SoundSet,
    reference: str | os.PathLike | SoundSet,
    backbone: str | os.PathLike | Backbone,
    *,
    clap: str | os.PathLike | None = None,
    captions: str | os.PathLike | None = None,
    window: float | None = None,
    unpaired: bool = False,
    allow_missing: bool = False,
    out: str | os.PathLike | None = None,
    progress: bool = True,
) -> ScoredSounds:
    """Scores a set of generated sounds against a set of real ones.

    Args:
      generated: a folder.
      reference: a folder, or a split of SoundWorld ("soundworld:test,base"), whose captions and classes are known.
      backbone: CNN14 weights, or a run of the tagger of `audiojax towers`.
      clap: model of the CLAP score, which takes captions.
      captions: CSV or TSV file of them.
      window: seconds that the backbone hears at a time; None for its own.
      unpaired: compare the sets as they are; otherwise sounds are paired by id and both sets must have the same.
      allow_missing: measure the ids that both sets have.
      out: HTML report to write.

    Raises:
      UsageError: the sets or options do not fit together, a model is of another kind, too few sounds can be used, or this is one of
        several processes.
      AudiojaxError: a model gives numbers that are not finite.
    """
    require_one_process("score-audio")
    sets = [one if isinstance(one, SoundSet) else open_set(one) for one in (generated, reference)]
    pairs = () if unpaired else paired(*sets, allow_missing=allow_missing)
    prompts = _prompts(*sets, clap, captions)
    network = backbone if isinstance(backbone, Backbone) else Backbone(backbone, seconds=window, progress=progress)
    finder = None if clap is None else open_clap(clap, progress)
    compared = Compared(*(_hear(network, one, pairs or one.ids, progress) for one in sets), paired=not unpaired)
    compared.require_enough()
    tags, per_clip = tag_metrics(compared)
    metrics = [*distance_metrics(compared), *tags]
    if finder is not None:
        metric, per_clip["clap"] = clap_metric(compared, finder, prompts, progress)
        metrics.append(metric)
    metric, per_clip["silent"] = silence_metric(compared)
    buckets, groups = _buckets(compared)
    tables = [MetricTable(TITLE, [*metrics, metric])] + [MetricTable(BUCKETS, buckets)] * bool(buckets)
    remarks = [*compared.made.remarks(), *compared.real.remarks(), *compared.rank_remark()]
    card = _card(compared, network, finder, remarks)
    sections = [*tables, Card("Metric card", card)]
    report = None if out is None else _report(out, compared, prompts, sections)
    rows = [row for table in tables for row in table.metrics]
    return ScoredSounds(rows, compared.ids, per_clip, groups, compared, sections, card, remarks, report)


def _prompts(made: SoundSet, real: SoundSet, clap: str | os.PathLike | None, captions: str | os.PathLike | None) -> Mapping[str, str]:
    """Id -> caption, where any are known."""
    if captions is not None and clap is None:
        raise UsageError("--captions belongs to --clap: name the model that compares them with the sounds")
    if captions is not None:
        return with_captions(made, captions).captions
    if clap is not None and not real.captions:
        raise UsageError("--clap compares sounds with captions: name a table of them with --captions")
    return real.captions


def _hear(network: Backbone, sounds: SoundSet, ids: Sequence[str], progress: bool) -> Measured:
    with counting_bar("sounds", progress) as bar:
        task = bar.add_task("listening", total=len(ids))
        return Measured(sounds, network.hear(ids, sounds.read(ids), lambda: bar.advance(task)))


def _buckets(compared: Compared) -> tuple[list[Metric], dict[str, list[float]]]:
    """The scores by tier of classes, with their values, where the classes of the sounds are known."""
    labels = compared.real.sounds.labels
    known = [own for own in compared.ids if own in labels] if compared.paired else []
    if not known:
        return [], {}
    rows = (one.rows(known) for one in (compared.made, compared.real))
    return bucket_metrics(*rows, np.stack([labels[own] for own in known]))


def _card(compared: Compared, network: Backbone, finder: ClapFinder | None, remarks: Sequence[str]) -> dict[str, Any]:
    """How the scores came about."""
    card = dict(network.card)
    if finder is not None:
        card["CLAP"] = clap_facts(finder)
    for role, one in (("generated", compared.made), ("reference", compared.real)):
        digest = hashlib.blake2b("\n".join(one.features.ids).encode(), digest_size=8).hexdigest()
        card[role] = f"{one.sounds.name}: {len(one.features.ids)} sounds, list {digest}"
    return card | {
        "pairs": f"{len(compared.ids)}, by path without extension" if compared.paired else "none: two sets",
        "intervals": "95 %, bootstrap over clips; of halves, the range over 10 random halves",
        "Inception score": f"{SPLITS} splits, seed {SEED}",
        "left out, silent, few": "; ".join(remarks) or "nothing",
    }


def _report(out: str | os.PathLike, compared: Compared, prompts: Mapping[str, str], sections: Sequence[Section]) -> Path:
    """The page: tables, some generated sounds, each beside its real one, and how to read it."""
    sets = {"generated": compared.made} | ({"real": compared.real} if compared.paired else {})
    listened = side_by_side(sets, compared.ids, prompts, compared.real.sounds.labels if compared.paired else {})
    page = [*sections[:-1], listened, sections[-1], READING]
    return write_report(out, title=TITLE, subtitle=f"{compared.made.sounds.name} against {compared.real.sounds.name}", sections=page)
