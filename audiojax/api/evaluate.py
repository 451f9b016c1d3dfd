"""Scores of a finished model on a split, beside chance and ceiling, as tables, JSON and an HTML report."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from audiojax.api.data import data_name, open_split
from audiojax.api.loading import load
from audiojax.api.retrieval import TITLES, Retrieval
from audiojax.api.runs import RunFinder
from audiojax.data.soundworld import oracle
from audiojax.data.soundworld.scenes import PROBES, Scene
from audiojax.errors import UsageError
from audiojax.files import shown, write_whole
from audiojax.metrics.bootstrap import mean_interval
from audiojax.metrics.retrieval import DEPTHS, Ranks, chance_scores, minimal_pairs
from audiojax.report.html import write_report
from audiojax.report.sections import Card, Curves, Hit, Metric, MetricTable, Note, Section, Sound, TopList, TopLists
from audiojax.trainer.distributed import require_one_process
from audiojax.trainer.log import read_metrics

RANK_FIELDS = ("rank", "average_precision", "clip")
LISTED = 5  # queries of the report, and hits of each


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What `evaluate` found.

    Attributes:
      scores: "t2a/R@1" and so on, as the JSON file has them.
      ranks: "t2a", "t2a_cosine", "a2t", "a2t_cosine" -> ranks per query.
      sections: tables and cards for the console and the report.
      report: the HTML page.
      json: the scores with chance, ceiling and metric card.
    """

    scores: Mapping[str, float]
    ranks: Mapping[str, Ranks]
    sections: Sequence[Section]
    report: Path
    json: Path


def evaluate(
    workdir: str | os.PathLike,
    split: str = "test",
    *,
    domain: str | None = None,
    data_dir: str | os.PathLike | None = None,
    out: str | os.PathLike | None = None,
    probes: bool = False,
    progress: bool = True,
) -> Evaluation:
    """Evaluates the finished model of a run and writes `<workdir>/evaluation/<split>[-domain]/report.html` and `scores.json`.

    Args:
      workdir: a run directory or an exported model.
      split: train | val | test | any split of the data.
      domain: another SoundWorld domain than the model was trained on.
      data_dir: another data set in the builder's schema, for tests out of domain or where the data have moved.
      out: another folder for the two files.
      probes: also ask for the minimal pairs of SoundWorld.

    Raises:
      UsageError: no finished model, no such split or domain, or one of several processes.
    """
    require_one_process("evaluate")
    workdir = Path(workdir).expanduser()
    finder = load(workdir)
    if not isinstance(finder, RunFinder):
        raise UsageError(f"{shown(workdir)}: is no run of a system that finds, which this measures; `audiojax towers` measures towers")
    trained_on, data, other = finder.config["data"], finder.config["data"], None
    if data_dir is not None:
        if domain:
            raise UsageError("--domain and --data-dir name two different data sets: give one of them")
        data = data | {"source": "tfds", "dir": str(Path(data_dir).expanduser())}
        other = data_name(data) if data != trained_on else None
    elif domain and data["source"] == "tfds":
        raise UsageError(f"--domain is for SoundWorld, and this run was trained on {data_name(data)}: use --data-dir")
    elif domain and domain != data["domain"]:
        data, other = data | {"domain": domain}, domain
    where = place(split, other)
    source = open_split(data, split, progress=progress)
    folder = write_folder(Path(out).expanduser() if out else workdir / "evaluation" / where)
    found = finder.retrieval(finder.predictions(source))
    clip_index = found.ranks["t2a"].clip
    limits = {"chance": chance_scores(clip_index, len(source)), "ceiling": ceiling_scores(source)}
    tested, trained = data_name(data), data_name(trained_on)
    card = (
        metric_card(finder, source, split, tested if data["source"] == "tfds" else f"SoundWorld {data['size']} {tested}", trained)
        | found.card
    )
    scores = dict(found.scores)
    tables: list[Section] = [score_table(name, found.ranks[name], limits) for name in TITLES]
    if probes:
        table, accuracies = probe_table(finder, data, progress)
        tables.append(table)
        scores |= accuracies
    sections = [*tables, *found.tables, Card("Metric card", card)]
    report = write_report(
        folder / "report.html",
        title=f"{found.system} on {where}",
        subtitle=f"{len(source)} clips, {len(clip_index)} captions; trained on {trained}, tested on {tested}",
        sections=[*tables, top_lists(source, found), *found.tables, *curves(workdir), sections[-1], reading(found, probes)],
    )
    save_ranks(folder / "ranks.npz", found.ranks)
    text = json.dumps({"scores": scores, **limits, **found.curves, "card": card}, indent=2)
    path = write_whole(folder / "scores.json", text + "\n")
    return Evaluation(scores, found.ranks, sections, report, path)


def probe_table(finder: RunFinder, data: Mapping[str, Any], progress: bool) -> tuple[MetricTable, dict[str, float]]:
    """Minimal pairs of SoundWorld: two clips that differ in one fact, and captions that say it; how often a caption prefers its own.

    Raises:
      UsageError: the data are not SoundWorld's.
    """
    if data["source"] == "tfds":
        raise UsageError("--probes: the minimal pairs are SoundWorld's, and this run's data are others")
    metrics, scores = [], {}
    for split in PROBES:
        predictions = finder.predictions(open_split(data, split, progress=progress))
        kind, first = split.removeprefix("probe_"), {name: x[:, :1] if name.startswith("text") else x for name, x in predictions.items()}
        right = minimal_pairs(finder.matrix(first))
        interval = mean_interval(right, np.arange(len(right)) // 2)
        metrics.append(Metric(kind, interval.estimate, interval.low, interval.high, chance=0.5))
        scores[f"probe/{kind}"] = interval.estimate
    return MetricTable("Minimal pairs", metrics), scores


def place(split: str, other: str | None) -> str:
    """Folder name of an evaluation: the split, with the data's name where they are not those that the run was trained on."""
    return f"{split}-{other}" if other else split


def write_folder(folder: Path) -> Path:
    """The folder, made and tried, so that a place that cannot be written shows before the work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror}); --out names another folder") from error


def save_ranks(path: Path, ranks: Mapping[str, Ranks]) -> None:
    """Ranks per query as an npz file, for paired comparisons."""
    arrays = {f"{name}/{field}": getattr(one, field) for name, one in ranks.items() for field in RANK_FIELDS}
    partial = path.with_name("partial-" + path.name)
    np.savez_compressed(partial, **arrays)
    partial.replace(path)


def load_ranks(folder: Path) -> dict[str, Ranks] | None:
    """What an earlier evaluation saved in its folder, or None."""
    path = folder / "ranks.npz"
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as stored:
        names = sorted({name.rsplit("/", 1)[0] for name in stored.files})
        return {name: Ranks(**{field: stored[f"{name}/{field}"] for field in RANK_FIELDS}) for name in names}


def reading(found: Retrieval, probes: bool) -> Note:
    """How to read the report."""
    pairs = (
        "Minimal pairs: two clips that differ only in the order of two events, in how often one sounds, or in which of them has an"
        " attribute; right is a caption that scores its own clip above the other one. Ties are wrong; guessing gives 50 %.",
    )
    return Note(
        "How to read this",
        (
            "R@K is the share of queries whose right answer is among the first K; mAP@10 rewards it for being high up. Ties count against"
            " the model. Chance is the expected score of a random order; the ceiling is that of an oracle that knows the scenes and must"
            " guess among clips which a caption describes equally well.",
            f"Intervals are 95 % bootstrap intervals over clips. {found.reading}",
            *(pairs if probes else ()),
        ),
    )


def score_table(name: str, ranks: Ranks, limits: Mapping[str, Mapping[str, float]]) -> MetricTable:
    """R@1/5/10 and mAP@10 with intervals, MedR, each beside chance and ceiling."""
    values = {f"R@{depth}": ranks.hits(depth) for depth in DEPTHS} | {"mAP@10": ranks.average_precision}
    metrics = []
    for key, per_query in values.items():
        interval = mean_interval(per_query, ranks.clip)
        bounds = {side: limits[side].get(f"{name}/{key}") for side in ("chance", "ceiling")}
        metrics.append(Metric(key, interval.estimate, interval.low, interval.high, **bounds))
    median = ranks.summary()["MedR"]
    metrics.append(Metric("MedR", median, chance=limits["chance"][f"{name}/MedR"], percent=False, lower_is_better=True))
    return MetricTable(TITLES[name], metrics)


def ceiling_scores(source: Any) -> dict[str, float]:
    """Expected R@K and mAP@10 of SoundWorld's oracle under the names of `retrieval_scores`; {} for data without SoundWorld's truth."""
    scenes, captions = [], []
    for record in map(source.__getitem__, range(len(source))):  # one by one: a split's waveforms need not fit in memory
        scene = Scene.parse(record["scene"])
        if scene is None:
            return {}
        scenes.append(scene)
        captions.append(record["captions"])
    found = oracle.retrieval(scenes, captions)
    return {key.replace("_", "/", 1): value for key, value in found.items() if "@" in key}


def metric_card(finder: RunFinder, source: Any, split: str, tested: str, trained: str) -> dict[str, Any]:
    """How the scores came about."""
    data = finder.config["data"]
    listed = "\n".join(source[i]["id"] for i in range(len(source)))
    return {
        "protocol": "every caption queries all clips; every clip queries all captions (best of its own); pessimistic ties",
        "data": tested,
        "split": split,
        "clips": len(source),
        "list hash": hashlib.blake2b(listed.encode(), digest_size=8).hexdigest(),
        "sample rate": f"{data['sample_rate']} Hz",
        "trained on": trained,
        "model": f"{finder.card['task']} at step {finder.card['step']} ({finder.card['choice']} weights)",
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(finder.params)),
        "seed": finder.config["seed"],
    }


def curves(workdir: Path) -> list[Curves]:
    """Loss and validation recall over the steps of every phase, from metrics.csv."""
    if not (workdir / "metrics.csv").is_file():
        return []
    rows = read_metrics(workdir)
    charts = (
        ("Training loss", ("train/loss", "train/contrastive"), True),
        ("Validation, text to audio", ("val/t2a/R@1", "val/t2a/R@10"), False),
    )
    found = []
    for title, names, logarithmic in charts:
        series = {f"{phase}: {name.split('/')[-1]}": values for (phase, name), values in rows.items() if name in names}
        if series:
            found.append(Curves(title, series, log_y=logarithmic))
    return found


def top_lists(source: Any, found: Retrieval) -> TopLists:
    """Best five clips of some captions, spread over the split, with sounds and pictures."""
    fused, ranks = found.matrix, found.ranks["t2a"].rank
    captions = len(ranks) // len(source)
    lists = []
    for clip in np.linspace(0, len(source) - 1, min(LISTED, len(source))).astype(int):
        query = int(clip) * captions
        order = np.argsort(-fused[query], kind="stable")[:LISTED]
        hits = [Hit(_sound(source[int(i)]), float(fused[query, i]), bool(i == clip)) for i in order]
        truth = None if clip in order else _sound(source[int(clip)])
        lists.append(TopList(source[int(clip)]["captions"][0], hits, int(ranks[query]) + 1, truth))
    return TopLists("What it finds", lists, note="Captions of the split, spread evenly over its clips; not picked by hand.")


def _sound(record: Mapping[str, Any]) -> Sound:
    return Sound(record["audio"], record["sample_rate"], record["id"], record["captions"][0])
