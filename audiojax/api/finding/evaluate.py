"""A system that finds, on a split: retrieval scores in both directions beside chance and ceiling, and minimal pairs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from audiojax.api.data import open_split
from audiojax.api.evaluation import Evaluation, Tested, metric_card, save_arrays, training_curves
from audiojax.api.finding.retrieval import TITLES, Retrieval
from audiojax.api.finding.run_finding import RunFinder
from audiojax.data.examples import facts_of
from audiojax.data.soundworld import oracle
from audiojax.data.soundworld.scenes import PROBES, Scene
from audiojax.errors import UsageError
from audiojax.files import write_whole
from audiojax.metrics.bootstrap import mean_interval
from audiojax.metrics.retrieval import DEPTHS, Ranks, chance_scores, minimal_pairs
from audiojax.report.html import write_report
from audiojax.report.sections import Card, Hit, Metric, MetricTable, Note, Section, Sound, TopList, TopLists

RANK_FIELDS = ("rank", "average_precision", "clip")
LISTED = 5  # queries of the report, and hits of each
PROTOCOL = "every caption queries all clips; every clip queries all captions (best of its own); pessimistic ties"
CHARTS = (
    ("Training loss", ("train/loss", "train/contrastive"), True),
    ("Validation, text to audio", ("val/t2a/R@1", "val/t2a/R@10"), False),
)


def evaluate_finder(finder: RunFinder, tested: Tested, *, probes: bool = False, progress: bool = True) -> Evaluation:
    """Ranks of all captions and clips of the split, as ranks.npz, scores.json and report.html in its folder.

    Raises:
      UsageError: `probes` for data that are not SoundWorld's.
    """
    source = tested.source
    found = finder.retrieval(finder.predictions(source))
    clip_index = found.ranks["t2a"].clip
    limits = {"chance": chance_scores(clip_index, len(source)), "ceiling": ceiling_scores(source)}
    card = metric_card(finder, tested, PROTOCOL, [facts_of(source, i)["id"] for i in range(len(source))]) | found.card
    scores = dict(found.scores)
    tables: list[Section] = [score_table(name, found.ranks[name], limits) for name in TITLES]
    pairs = probe_ranks(finder, tested.data, progress) if probes else {}
    if probes:
        tables.append(probe_table(pairs))
        scores |= {name: float(one.hits(1).mean()) for name, one in pairs.items()}
    sections = [*tables, *found.tables, Card("Metric card", card)]
    curves = training_curves(tested.workdir, CHARTS)
    report = write_report(
        tested.folder / "report.html",
        title=f"{found.system} on {tested.place}",
        subtitle=f"{len(source)} clips, {len(clip_index)} captions; trained on {tested.trained_name}, tested on {tested.tested_name}",
        sections=[*tables, top_lists(source, found), *found.tables, *curves, sections[-1], reading(found, probes)],
    )
    ranks = {**found.ranks, **pairs}
    save_ranks(tested.folder / "ranks.npz", ranks)
    text = json.dumps({"scores": scores, **limits, **found.curves, "card": card}, indent=2)
    path = write_whole(tested.folder / "scores.json", text + "\n")
    return Evaluation(scores, sections, report, path, ranks=ranks)


def probe_ranks(finder: RunFinder, data: Mapping[str, Any], progress: bool) -> dict[str, Ranks]:
    """Minimal pairs of SoundWorld: two clips that differ in one fact, and captions that say it; the rank of a caption's own among the two.

    Returns:
      "probe/order", "probe/count", "probe/binding" -> ranks, whose R@1 is the share of captions that prefer their own clip.

    Raises:
      UsageError: the data are not SoundWorld's.
    """
    if data["source"] == "tfds":
        raise UsageError("--probes: the minimal pairs are SoundWorld's, and this run's data are others")
    found = {}
    for split in PROBES:
        predictions = finder.predictions(open_split(data, split, progress=progress))
        first = {name: x[:, :1] if name.startswith("text") else x for name, x in predictions.items()}
        right = minimal_pairs(finder.matrix(first))
        found[split.replace("_", "/", 1)] = Ranks(np.where(right, 0, 1), np.where(right, 1.0, 0.5), np.arange(len(right)) // 2)
    return found


def probe_table(pairs: Mapping[str, Ranks]) -> MetricTable:
    """How often a caption prefers its own clip of a minimal pair."""
    metrics = []
    for name, ranks in pairs.items():
        interval = mean_interval(ranks.hits(1), ranks.clip)
        metrics.append(Metric(name.removeprefix("probe/"), interval.estimate, interval.low, interval.high, chance=0.5))
    return MetricTable("Minimal pairs", metrics)


def save_ranks(path: Path, ranks: Mapping[str, Ranks]) -> None:
    """Ranks per query as an npz file, for paired comparisons."""
    save_arrays(path, {f"{name}/{field}": getattr(one, field) for name, one in ranks.items() for field in RANK_FIELDS})


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
        lists.append(TopList(f"“{source[int(clip)]['captions'][0]}”", hits, int(ranks[query]) + 1, truth))
    return TopLists("What it finds", lists, note="Captions of the split, spread evenly over its clips; not picked by hand.")


def _sound(record: Mapping[str, Any]) -> Sound:
    return Sound(record["audio"], record["sample_rate"], record["id"], record["captions"][0])
