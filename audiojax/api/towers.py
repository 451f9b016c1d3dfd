"""Training SoundWorld's towers in turn, each as a run of its own, and measuring them beside chance and ceiling."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int
from rich.console import Console

from audiojax.api.data import clip_batches, make_transform, open_split
from audiojax.api.finding.evaluate import ceiling_scores
from audiojax.api.opening import final_folder, open_tower_run
from audiojax.api.sweep import release_memory
from audiojax.api.train import train
from audiojax.config import load_config, to_dict
from audiojax.data.examples import captions_of
from audiojax.errors import UsageError
from audiojax.metrics.bootstrap import Interval, mean_interval, ratio_interval
from audiojax.metrics.gap import FOLDS, separability
from audiojax.metrics.retrieval import DEPTHS, audio_to_text, chance_scores, text_to_audio
from audiojax.metrics.tagging import average_precisions, chance_precision
from audiojax.papers.towers import make_task
from audiojax.papers.towers.contrastive import similarity
from audiojax.papers.towers.task import PHASES_OF
from audiojax.papers.towers.words import accuracy_counts
from audiojax.report.html import write_report
from audiojax.report.sections import Curves, Metric, Note, Section, Table
from audiojax.report.tables import show_metric, write_file
from audiojax.text.normalise import clean_caption
from audiojax.text.tokenizer import SPECIAL, Tokenizer
from audiojax.towers.base import Tower
from audiojax.trainer.distributed import require_one_process
from audiojax.trainer.evaluate import predict_all
from audiojax.trainer.export import Exported, load_export
from audiojax.trainer.layout import make_layout, wrap_predict
from audiojax.trainer.log import read_metrics

ORDER = tuple(PHASES_OF)
SEPARABILITY = "sounds told from texts by a line"
CONFIG = "towers/soundworld"
COLUMNS = ("tower", "metric", "value", "95 % interval", "chance", "ceiling", "parameters", "minutes")
BATCH = 50  # clips that are predicted at a time

READING = Note(
    "How to read this",
    (
        "Every tower is measured on the test split, which no tower has seen: audio and text towers on both domains, CLAP on that of its"
        " pairs. Intervals are 95 % bootstrap intervals over clips. Parameters are those that a paper loads: without the decoder or the"
        " head of words that only training needs. Minutes are those of the training steps.",
        "CLAP: share of queries whose right answer is among the first K. Chance is a random order; the ceiling is that of an oracle that"
        " knows the scenes and must guess among clips which a caption describes equally well. Sounds told from texts by a line: 50 % where"
        " both lie in one cloud, 100 % where there is a gap between them, which Diffusion-Link bridges.",
        "Tagging, and detection with a class where it is likeliest: mean over classes of the average precision. Chance is the mean share"
        " of clips in which a class sounds.",
        "Masked words and spans: share of the hidden words that the tower finds. Chance always says the most frequent word of the training"
        " captions. Nothing reaches the ceiling of 100 %, for the rest of a caption does not decide every word in it.",
        "LLaMA: share of the tokens, the end among them, that it finds given those before, and its perplexity, of which lower is better."
        " Chance knows how often each token stands in the training captions, and nothing of the caption.",
        "AudioMAE: mean squared error on hidden patches, of which each is normalised by itself; lower is better. Chance says each patch's"
        " mean.",
    ),
)


@dataclass(frozen=True, eq=False)
class Towers:
    """What `train_towers` found: the table for the console, one flat row a metric, and the two files with them."""

    sections: Sequence[Section]
    rows: Sequence[Mapping[str, Any]]
    table: Path
    report: Path


def train_towers(
    workdir: str | os.PathLike = "runs/towers",
    *,
    size: str = "mini",
    only: Sequence[str] = (),
    domain: str = "studio",
    overrides: Sequence[str] = (),
    progress: bool = True,
) -> Towers:
    """Trains SoundWorld's towers and evaluates them on its test split; finished runs are kept, interrupted ones go on.

    Args:
      workdir: receives a run directory for each tower, table.csv and report.html.
      size: mini | base | debug.
      only: some of clap, audiomae, beats, bert, t5, tagger, llama; () = all.
      domain: of the pairs that CLAP learns from, studio | field.
      overrides: "key=value" changes of all configs.

    Raises:
      UsageError: an unknown tower, size or domain, or a run of another config in `workdir`.
    """
    require_one_process("towers")
    for name in only:
        if name not in ORDER:
            raise UsageError(f"--only {name}: there is no such tower; there are {', '.join(ORDER)}")
    if domain not in ("studio", "field"):
        raise UsageError(f"--domain {domain}: takes studio or field")
    if size not in ("mini", "base", "debug"):
        raise UsageError(f"--size {size}: takes mini, base or debug")
    workdir, console = Path(workdir).expanduser(), Console(stderr=True, quiet=not progress)
    names = [name for name in ORDER if not only or name in only]
    words = {name: f"{CONFIG}:{name},{size}" + (",field" if name == "clap" and domain == "field" else "") for name in names}
    configs = {name: load_config(spec, overrides) for name, spec in words.items()}  # every mistake shows before any work
    rows: list[dict[str, Any]] = []
    for number, (name, config) in enumerate(configs.items(), 1):
        console.rule(f"{number} of {len(names)}: {name}")
        train(config, workdir / name, progress=progress)
        tower = open_tower_run(final_folder(workdir / name))
        facts = {"tower": name, "parameters": parameter_count(tower), "minutes": training_minutes(workdir / name)}
        rows += [facts | {"metric": metric} for metric in evaluate_tower(workdir / name, progress=progress)]
        release_memory()
    table = as_table(rows)
    report = write_report(
        workdir / "report.html",
        title="The towers of SoundWorld",
        subtitle=f"size {size}, CLAP on {domain}",
        sections=[table, *(chart for name in names for chart in curves(name, workdir / name)), READING],
    )
    return Towers([table], rows, write_file(workdir / "table.csv", [flat(row) for row in rows]), report)


def evaluate_tower(run: Path, split: str = "test", *, progress: bool = True) -> list[Metric]:
    """Scores of a finished run on a split, with interval, chance and ceiling where they have a meaning."""
    model = load_export(final_folder(run))
    config, tokenizer = to_dict(model.config), Tokenizer.load(model.tokenizer)
    source = open_split(config["data"], split, progress=progress)
    phase = config["phases"][-1]
    predictions = predictions_of(model, tokenizer, source)
    if phase == "contrastive":
        return retrieval_metrics(predictions, ceiling_scores(source))
    if phase in ("tagging", "detection"):
        precisions = average_precisions(predictions["probability"], predictions["labels"])
        return [Metric("mAP", float(precisions.mean()), chance=chance_precision(predictions["labels"]), ceiling=1.0)]
    if phase == "reconstruction":
        interval, blind = mean_interval(predictions["error"]), float(predictions["blind"].mean())
        return [Metric("error", *bounds(interval), chance=blind, percent=False, lower_is_better=True)]
    data = config["data"]
    counts = token_counts(open_split({**data, "in_memory": False}, data["train_split"], progress=progress), tokenizer)
    if phase == "causal_lm":
        return [word_metric("next tokens", predictions, int(np.argmax(counts))), perplexity(predictions, counts)]
    frequent = len(SPECIAL) + int(np.argmax(counts[len(SPECIAL) :]))
    return [word_metric("masked words" if phase == "masked_lm" else "words of spans", predictions, frequent)]


def predictions_of(model: Exported, tokenizer: Tokenizer, source: Any) -> dict[str, np.ndarray]:
    """What the run's task predicts of every clip of a source."""
    config = to_dict(model.config)
    task, layout = make_task(config, config["phases"][-1], vocab_size=tokenizer.vocab_size), make_layout("pmap")
    params, model_state = jax.device_put((model.params, model.model_state), layout.replicated)
    batches = clip_batches(source, make_transform(config["data"], tokenizer), BATCH)
    return predict_all(layout, wrap_predict(layout, task.predict), params, model_state, batches)


def retrieval_metrics(predictions: Mapping[str, np.ndarray], ceiling: Mapping[str, float]) -> list[Metric]:
    """R@1/5/10 and mAP@10 of both directions, and how well a line tells sounds from texts."""
    scores, clip_index = similarity(predictions)
    gap = separability(predictions["audio"], predictions["text"][:, 0]) if len(predictions["audio"]) >= FOLDS else None
    chance = chance_scores(clip_index, len(predictions["audio"]))
    metrics = []
    for direction, ranks in {"t2a": text_to_audio(scores, clip_index), "a2t": audio_to_text(scores, clip_index)}.items():
        for name, values in ({f"R@{depth}": ranks.hits(depth) for depth in DEPTHS} | {"mAP@10": ranks.average_precision}).items():
            key = f"{direction}/{name}"
            metrics.append(Metric(key, *bounds(mean_interval(values, ranks.clip)), chance=chance[key], ceiling=ceiling.get(key)))
    return metrics + ([] if gap is None else [Metric(SEPARABILITY, gap, chance=0.5)])


def word_metric(name: str, predictions: Mapping[str, np.ndarray], frequent: int) -> Metric:
    """The share of hidden words that are found, beside always saying the same one."""
    target = predictions["target"][predictions["scored"]]
    return Metric(name, *bounds(ratio_interval(*accuracy_counts(predictions))), chance=float((target == frequent).mean()), ceiling=1.0)


def perplexity(predictions: Mapping[str, np.ndarray], counts: Int[np.ndarray, " v"]) -> Metric:
    """Perplexity of the scored tokens, beside that of their frequencies in training, of which each token has one more than was counted."""
    scored = predictions["scored"]
    total = np.where(scored, predictions["cross_entropy"], 0.0).sum(axis=(1, 2))
    found = ratio_interval(total, scored.sum(axis=(1, 2)).astype(np.float64))
    unigram = np.log((counts + 1) / (counts + 1).sum())
    chance = float(np.exp(-unigram[predictions["target"][scored]].mean()))
    return Metric("perplexity", *(float(np.exp(x)) for x in bounds(found)), chance=chance, percent=False, lower_is_better=True)


def token_counts(source: Any, tokenizer: Tokenizer) -> Int[np.ndarray, " v"]:
    """How often each token follows the first one in the captions of a source, the end among them."""
    counts = np.zeros(tokenizer.vocab_size, np.int64)
    for i in range(len(source)):
        for row in tokenizer.rows([clean_caption(text) for text in captions_of(source, i)]):
            np.add.at(counts, row[1:], 1)
    return counts


def bounds(interval: Interval) -> tuple[float, float, float]:
    """(value, low, high)."""
    return interval.estimate, interval.low, interval.high


def parameter_count(tower: Tower) -> int:
    """Parameters of what a paper loads."""
    return sum(leaf.size for leaf in jax.tree.leaves(tower.params["params"]))


def training_minutes(run: Path) -> float:
    """How long the steps of a run took, from the rates in its metrics.csv, so that interruptions do not count."""
    seconds = 0.0
    for (_, name), (steps, rates) in read_metrics(run).items():
        if name == "speed/steps_per_second":
            seconds += float(np.sum(np.diff(steps, prepend=0)[rates > 0] / rates[rates > 0]))
    return seconds / 60


def curves(name: str, run: Path) -> list[Curves]:
    """Training loss and the selecting metric on validation over the steps."""
    selecting = {"clap": "t2a/R@10", "audiomae": "error", "beats": "mAP", "tagger": "mAP"}.get(name, "accuracy")
    found = []
    for title, row, logarithmic in ((f"{name}: training loss", "train/loss", True), (f"{name}: validation", f"val/{selecting}", False)):
        series = {f"{phase}: {key}": values for (phase, key), values in read_metrics(run).items() if key == row}
        if series:
            found.append(Curves(title, series, log_y=logarithmic))
    return found


def as_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The rows for people: what is the same as above is left out."""
    lines, before = [], None
    for row in rows:
        metric, first = row["metric"], row["tower"] != before
        before = row["tower"]
        interval = "" if metric.low is None else f"{show_metric(metric, metric.low)} to {show_metric(metric, metric.high)}"
        numbers = [show_metric(metric, metric.value), interval, *(show_metric(metric, x) for x in (metric.chance, metric.ceiling))]
        facts = (f"{row['parameters']:,}", f"{row['minutes']:.1f}") if first else ("", "")
        lines.append((row["tower"] if first else "", metric.name, *numbers, *facts))
    return Table("Towers on the test split", COLUMNS, lines)


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row for a file, raw values."""
    metric = row["metric"]
    fields = {name: getattr(metric, name) for name in ("value", "low", "high", "chance", "ceiling")}
    return {"tower": row["tower"], "metric": metric.name, **fields, "parameters": row["parameters"], "minutes": row["minutes"]}
