"""A grid of settings times seeds: train, evaluate, compare with paired bootstrap intervals. The same call goes on where it stopped."""

import ctypes
import gc
import itertools
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from audiojax.api.data import data_name
from audiojax.api.evaluate import evaluate, load_ranks, place
from audiojax.api.retrieval import TITLES
from audiojax.api.train import train
from audiojax.config import load_config, to_dict
from audiojax.errors import UsageError
from audiojax.metrics.bootstrap import difference_interval, mean_interval
from audiojax.metrics.retrieval import Ranks
from audiojax.report.html import write_report
from audiojax.report.sections import Note, Table
from audiojax.report.tables import write_file
from audiojax.trainer.distributed import require_one_process

MEASURES = ("R@1", "mAP@10")
SCORES = {"cosine": "_cosine", "fused": ""}  # suffix of the names in `Evaluation.ranks`


@dataclass(frozen=True, eq=False)
class Sweep:
    """What a sweep found: tables for the console and the report, one flat row a number, and the report's path."""

    sections: Sequence[Table | Note]
    rows: Sequence[Mapping[str, Any]]
    report: Path


def sweep(
    config: str,
    grid: Sequence[tuple[str, Sequence[str]]],
    seeds: Sequence[int],
    workdir: str | os.PathLike,
    *,
    overrides: Sequence[str] = (),
    domains: Sequence[str] = (),
    split: str = "test",
    progress: bool = True,
) -> Sweep:
    """Trains and evaluates every setting with every seed, and compares them on the same queries.

    Args:
      config: file or installed name, with its argument, as `audiojax train --config` takes it.
      grid: (key, values as text) axes, crossed; the first combination is what the others are compared with.
      seeds: of each setting.
      workdir: receives a run directory per setting and seed, table.csv and report.html; finished runs are not repeated.
      overrides: "key=value" changes of all runs.
      domains: SoundWorld domains to test in; () = those that are trained on. Other data are tested on their own split.

    Raises:
      UsageError: an unknown key, a value of the wrong type, no seed, settings that would be tested on different clips.
    """
    require_one_process("sweep")
    if not seeds:
        raise UsageError("--seeds names no seed")
    if any(key == "seed" for key, _ in grid) or any(word.split("=")[0] == "seed" for word in overrides):
        raise UsageError("seed: seeds have a flag of their own, --seeds")
    workdir, console = Path(workdir).expanduser(), Console(stderr=True, quiet=not progress)
    settings = [tuple(zip([key for key, _ in grid], values, strict=True)) for values in itertools.product(*(v for _, v in grid))]
    plans = [(setting, seed, [*overrides, *(f"{k}={v}" for k, v in setting), f"seed={seed}"]) for setting in settings for seed in seeds]
    configs = [load_config(config, words) for _, _, words in plans]  # every mistake shows before the first hour of work
    check_same_test([to_dict(loaded.data) for loaded in configs], domains)
    domains = list(domains) or list(dict.fromkeys(data_name(to_dict(loaded.data)) for loaded in configs))
    ranks: dict[tuple[str, str], list[Mapping[str, Ranks]]] = {}
    for number, ((setting, seed, _), loaded) in enumerate(zip(plans, configs, strict=True), 1):
        name = setting_name(setting)
        console.rule(f"{number} of {len(plans)}: {name}, seed {seed}")
        folder = workdir / name / f"seed{seed}"
        train(loaded, folder, progress=progress)
        trained_on = data_name(to_dict(loaded.data))
        for domain in domains:
            other = domain if domain != trained_on else None
            found = load_ranks(folder / "evaluation" / place(split, other))
            if found is None:
                found = evaluate(folder, split, domain=other, progress=progress).ranks
            ranks.setdefault((name, domain), []).append(found)
        release_memory()
    names = [setting_name(setting) for setting in settings]
    tables, rows = compare(names, domains, ranks)
    write_file(workdir / "table.csv", rows)
    sections = [*tables, Note("Intervals", (INTERVALS.format(seeds=len(seeds)),))]
    return Sweep(sections, rows, write_report(workdir / "report.html", title=f"Sweep of {config}", sections=sections))


def check_same_test(datas: Sequence[Mapping[str, Any]], domains: Sequence[str]) -> None:
    """Settings are compared query by query, so all must be tested on the same clips, whatever domain or share they are trained on."""
    stored = [data["source"] == "tfds" for data in datas]
    if any(stored) and domains:
        raise UsageError("--domains is for SoundWorld, and data.source is tfds: leave it out")
    if len(set(stored)) > 1:
        raise UsageError("--grid data.source: SoundWorld and other data have different test clips, which cannot be compared in pairs")
    keys = ("dir",) if stored[0] else ("size", "world_seed", "sample_rate", "seconds")
    for key in keys:
        values = list(dict.fromkeys(data[key] for data in datas))
        if len(values) > 1:
            raise UsageError(f"--grid data.{key}: {values[0]} and {values[1]} have different test clips, which cannot be compared in pairs")


def release_memory() -> None:
    """Gives back what a finished run leaves behind in this process: compiled programs (half a GiB of a tiny model) and freed pages."""
    jax.clear_caches()
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, TypeError, AttributeError):  # not glibc
        return


INTERVALS = (
    "Values are means over {seeds} seed(s) and all queries, in per cent; brackets are 95 % bootstrap intervals over clips, on the same"
    " draws for both sides of a difference. They speak of the queries, not of the seeds."
)


def setting_name(setting: Sequence[tuple[str, str]]) -> str:
    """A folder name: "diffusion.steps=10,inference.top_m=0", or "plain" without a grid."""
    return re.sub(r"[^\w.=,+-]", "_", ",".join(f"{key}={value}" for key, value in setting)) or "plain"


def compare(
    names: Sequence[str], domains: Sequence[str], ranks: Mapping[tuple[str, str], Sequence[Mapping[str, Ranks]]]
) -> tuple[list[Table], list[dict[str, Any]]]:
    """A table per domain and direction: each setting's cosine and fused scores, fused minus cosine, and both against the first setting.

    Args:
      ranks: (setting, domain) -> per seed, what `Evaluation.ranks` holds.
    """
    tables, rows = [], []
    for domain, direction in itertools.product(domains, TITLES):
        lines = []
        for name, (kind, suffix), measure in itertools.product(names, SCORES.items(), MEASURES):
            values, clips = _values(ranks[name, domain], direction + suffix, measure)
            first, _ = _values(ranks[names[0], domain], direction + suffix, measure)
            plain, _ = _values(ranks[name, domain], direction + "_cosine", measure)
            cells = {
                "value": mean_interval(values, clips),
                "against first": None if name == names[0] else difference_interval(values, first, clips),
                "against cosine": None if kind == "cosine" else difference_interval(values, plain, clips),
            }
            lines.append((name, kind, measure, *(_percent(cell) for cell in cells.values())))
            row = {"domain": domain, "direction": direction, "setting": name, "scores": kind, "measure": measure}
            for column, cell in cells.items():
                for part in ("estimate", "low", "high"):
                    row[f"{column} {part}"] = "" if cell is None else getattr(cell, part)
            rows.append(row)
        columns = ("setting", "scores", "measure", "value", f"minus {names[0]}" if len(names) > 1 else "", "minus cosine")
        tables.append(Table(f"{TITLES[direction]}, tested on {domain}", columns, lines))
    return tables, rows


def _values(found: Sequence[Mapping[str, Ranks]], key: str, measure: str) -> tuple[np.ndarray, np.ndarray]:
    """([seeds, queries] values, clip of each query)."""
    per_seed = [one[key].hits(1) if measure == "R@1" else one[key].average_precision for one in found]
    return np.stack(per_seed), found[0][key].clip


def _percent(interval: Any) -> str:
    if interval is None:
        return ""
    return f"{100 * interval.estimate:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
