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
from audiojax.api.find import Finder, load
from audiojax.data.soundworld import oracle
from audiojax.data.soundworld.scenes import Scene
from audiojax.errors import UsageError
from audiojax.files import shown, write_whole
from audiojax.metrics.bootstrap import mean_interval
from audiojax.metrics.retrieval import DEPTHS, Ranks, chance_scores
from audiojax.papers import diffatr
from audiojax.report.html import write_report
from audiojax.report.sections import Card, Curves, Hit, Metric, MetricTable, Note, Section, Sound, Table, TopList, TopLists
from audiojax.trainer.distributed import require_one_process
from audiojax.trainer.log import read_metrics

TITLES = {"t2a": "Text to audio", "a2t": "Audio to text"}
RANK_FIELDS = ("rank", "average_precision", "clip")
LISTED = 5  # queries of the report, and hits of each
RIVALS = 32  # candidates of the generation loss in the report, as in a training batch


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
    progress: bool = True,
) -> Evaluation:
    """Evaluates the finished model of a run and writes `<workdir>/evaluation/<split>[-domain]/report.html` and `scores.json`.

    Args:
      workdir: a run directory or an exported model.
      split: train | val | test | any split of the data.
      domain: another SoundWorld domain than the model was trained on.
      data_dir: another data set in the builder's schema, for tests out of domain or where the data have moved.
      out: another folder for the two files.

    Raises:
      UsageError: no finished model, no such split or domain, or one of several processes.
    """
    require_one_process("evaluate")
    workdir = Path(workdir).expanduser()
    finder = load(workdir)
    if not isinstance(finder, Finder):
        raise UsageError(f"{shown(workdir)}: is no run of DiffATR, which this measures; `audiojax towers` measures towers")
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
    predictions = finder.predictions(source)
    search_key, loss_key = (jax.random.fold_in(jax.random.key(finder.config["seed"]), i) for i in (1, 2))
    directions = diffatr.search_split(finder.settings, finder.params, predictions, search_key)
    rivals = min(RIVALS, len(source))
    losses = diffatr.generation_curve(finder.settings, finder.params, predictions, loss_key, candidates=rivals)
    scores, ranks = {}, {}
    for name, direction in directions.items():
        fused = f"denoiser_{name}" in finder.params
        scores |= direction.summary(finder.fusion[name] if fused else None)
        ranks[name] = direction.ranks(finder.fusion[name] if fused else None)
        ranks[f"{name}_cosine"] = direction.ranks()
    clip_index = directions["t2a"].clip_index
    limits = {"chance": chance_scores(clip_index, len(source)), "ceiling": ceiling_scores(source)}
    tested, trained = data_name(data), data_name(trained_on)
    card = metric_card(finder, source, split, tested if data["source"] == "tfds" else f"SoundWorld {data['size']} {tested}", trained)
    tables = [score_table(name, ranks[name], limits) for name in directions]
    fusion = [cosine_table(ranks, scores), *loss_tables(losses, rivals)]
    sections: list[Section] = [*tables, *fusion, Card("Metric card", card)]
    report = write_report(
        folder / "report.html",
        title=f"DiffATR on {where}",
        subtitle=f"{len(source)} clips, {len(clip_index)} captions; trained on {trained}, tested on {tested}",
        sections=[*tables, top_lists(finder, source, directions["t2a"]), *fusion, *curves(workdir), sections[-1], READING],
    )
    save_ranks(folder / "ranks.npz", ranks)
    text = json.dumps({"scores": scores, **limits, "generation_loss": losses, "card": card}, indent=2)
    path = write_whole(folder / "scores.json", text + "\n")
    return Evaluation(scores, ranks, sections, report, path)


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


READING = Note(
    "How to read this",
    (
        "R@K is the share of queries whose right answer is among the first K; mAP@10 rewards it for being high up. Ties count against"
        " the model. Chance is the expected score of a random order; the ceiling is that of an oracle that knows the scenes and must"
        " guess among clips which a caption describes equally well.",
        "Intervals are 95 % bootstrap intervals over clips. 'Cosine' is the dual encoder alone; 'fused' adds what the diffusion over the"
        " best candidates says, with the weight and temperature that validation chose.",
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


def cosine_table(ranks: Mapping[str, Ranks], scores: Mapping[str, float]) -> Table:
    """The dual encoder alone beside the fused scores, and what the fusion did."""
    columns = ("direction", "score", "R@1", "R@5", "R@10", "mAP@10", "alpha", "temp", "pi", "top-1 changed")
    rows = []
    for name in TITLES:
        plain, fused = ranks[f"{name}_cosine"].summary(), ranks[name].summary()
        shown = ("R@1", "R@5", "R@10", "mAP@10")
        rows.append((TITLES[name], "cosine", *(f"{100 * plain[key]:.1f}" for key in shown), "", "", "", ""))
        if f"{name}_fusion/alpha" in scores:
            of = {key: scores[f"{name}_fusion/{key}"] for key in ("alpha", "temperature", "pi_min", "pi_max", "top1_changed")}
            spread, changed = f"{of['pi_min']:.3f} to {of['pi_max']:.3f}", f"{100 * of['top1_changed']:.1f} %"
            values = (f"{100 * fused[key]:.1f}" for key in shown)
            rows.append((TITLES[name], "fused", *values, f"{of['alpha']:g}", f"{of['temperature']:g}", spread, changed))
    return Table("Cosine alone and fused", columns, rows)


def loss_tables(losses: Mapping[str, Mapping[int, float]], candidates: int) -> list[Table]:
    """The generation loss by noise level beside ln N, or nothing where there is no denoiser."""
    if not losses:
        return []
    title = f"Generation loss by noise level, N = {candidates}: knowing nothing costs ln N = {np.log(candidates):.2f}"
    columns = ("direction", *(f"k = {k}" for k in next(iter(losses.values()))))
    return [Table(title, columns, [(TITLES[name], *(f"{value:.2f}" for value in by_level.values())) for name, by_level in losses.items()])]


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


def metric_card(finder: Finder, source: Any, split: str, tested: str, trained: str) -> dict[str, Any]:
    """How the scores came about."""
    data, inference, diffusion = (finder.config[section] for section in ("data", "inference", "diffusion"))
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
        "diffusion": f"{diffusion['schedule']}, K = {diffusion['steps']}, M = {inference['top_m'] or 'all'}",
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


def top_lists(finder: Finder, source: Any, direction: diffatr.Direction) -> TopLists:
    """Best five clips of some captions, spread over the split, with sounds and pictures."""
    fused = diffatr.fuse(direction.scores, finder.fusion["t2a"]) if direction.scores.top.shape[1] else direction.scores.similarity
    ranks = direction.ranks(finder.fusion["t2a"] if direction.scores.top.shape[1] else None).rank
    captions = len(direction.clip_index) // len(source)
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
