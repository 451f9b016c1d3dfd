"""A grid of settings times seeds: train, evaluate, compare with paired bootstrap intervals. The same call goes on where it stopped."""

import ctypes
import gc
import itertools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict
from rich.console import Console
from rich.text import Text

from audiojax.api.bridging.bridge import Bridge
from audiojax.api.bridging.evaluate import load_gaps
from audiojax.api.compare import PROBED, compare_counts, compare_gaps, compare_ranks
from audiojax.api.data import data_name
from audiojax.api.describing.captioning import Captioner
from audiojax.api.describing.evaluate import load_counts
from audiojax.api.evaluate import evaluate
from audiojax.api.evaluation import Evaluation, place
from audiojax.api.finding.evaluate import load_ranks
from audiojax.api.loading import makes_sounds, opener_of
from audiojax.api.making.evaluate import SoundTest, load_sounds
from audiojax.api.train import train
from audiojax.config import load_config, to_dict
from audiojax.errors import UsageError
from audiojax.report.html import write_report
from audiojax.report.sections import Note, Table
from audiojax.report.tables import write_file
from audiojax.trainer.distributed import require_one_process

ARGUMENT = "argument"  # of the config, as an axis of the grid


class Kind(NamedTuple):
    """How runs of one kind are compared: what of an evaluation, how it is read back, the tables, and what to know about their values."""

    pick: Callable[[Evaluation], Mapping[str, Any]]
    load: Callable[[Path], Mapping[str, Any] | None]
    compare: Callable[..., tuple[list[Table], list[dict[str, Any]]]]
    reading: str


FINDING = Kind(attrgetter("ranks"), load_ranks, compare_ranks, "Values are means over {seeds} seed(s) and all queries, in per cent")
DESCRIBING = Kind(
    attrgetter("counts"), load_counts, compare_counts, "Values are over {seeds} seed(s) and all clips, in per cent but for CIDEr-D"
)
MAKING = Kind(
    attrgetter("gaps"), load_gaps, partial(compare_gaps, titles=None, title="Sounds made"), "Values are over {seeds} seed(s) and all clips"
)
BRIDGING = Kind(attrgetter("gaps"), load_gaps, compare_gaps, "Values are over {seeds} seed(s) and all clips")


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
    probes: bool = False,
    sounds: SoundTest | None = None,
    progress: bool = True,
) -> Sweep:
    """Trains and evaluates every setting with every seed, and compares them on the same queries.

    Args:
      config: file or installed name, with its argument, as `audiojax train --config` takes it.
      grid: (key, values as text) axes, crossed; the first combination is what the others are compared with. The key "argument" is no key
        of the config: its values follow the config's own argument, as in "coattention/soundworld:base,stack".
      seeds: of each setting.
      workdir: receives a run directory per setting and seed, table.csv and report.html; finished runs are not repeated.
      overrides: "key=value" changes of all runs.
      domains: SoundWorld domains to test in; () = those that are trained on. Other data are tested on their own split.
      probes: also ask for SoundWorld's minimal pairs; of systems that find.
      sounds: how systems that make sounds are measured.

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
    plans = [(setting, seed) for setting in settings for seed in seeds]
    configs = [load_setting(config, overrides, *plan) for plan in plans]  # every mistake shows before the first hour of work
    check_same_test([to_dict(loaded.data) for loaded in configs], domains)
    kind = kind_of(configs[0])
    if probes and kind is not FINDING:
        raise UsageError("--probes is for systems that find, and these do not")
    if (sounds is None) is (kind is MAKING):
        raise UsageError("--backbone: systems that make sounds need it, a CNN14 by which sounds are compared, and others do not take it")
    chosen, load = ({}, kind.load) if sounds is None else (sounds.chosen, partial(load_sounds, test=sounds))
    domains = list(domains) or list(dict.fromkeys(data_name(to_dict(loaded.data)) for loaded in configs))
    measured: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for number, ((setting, seed), loaded) in enumerate(zip(plans, configs, strict=True), 1):
        name = setting_name(setting)
        console.rule(Text(f"{number} of {len(plans)}: {name}, seed {seed}"))
        folder = workdir / name / f"seed{seed}"
        train(loaded, folder, progress=progress)
        trained_on = data_name(to_dict(loaded.data))
        for domain in domains:
            other = domain if domain != trained_on else None
            found = load(folder / "evaluation" / place(split, other, chosen))
            if found is None or probes and not any(name.startswith(PROBED) for name in found):
                found = kind.pick(evaluate(folder, split, domain=other, probes=probes, sounds=sounds, progress=progress))
            measured.setdefault((name, domain), []).append(found)
        release_memory()
    names = [setting_name(setting) for setting in settings]
    tables, rows = kind.compare(names, domains, measured)
    write_file(workdir / "table.csv", rows)
    sections = [*tables, Note("Intervals", (kind.reading.format(seeds=len(seeds)) + INTERVALS,))]
    return Sweep(sections, rows, write_report(workdir / "report.html", title=f"Sweep of {config}", sections=sections))


def kind_of(config: ConfigDict) -> Kind:
    """What is compared of runs of a config."""
    opener = opener_of(config) or object
    if makes_sounds(config):
        return MAKING
    return DESCRIBING if issubclass(opener, Captioner) else BRIDGING if issubclass(opener, Bridge) else FINDING


def load_setting(config: str, overrides: Sequence[str], setting: Sequence[tuple[str, str]], seed: int) -> ConfigDict:
    """The config of one run."""
    words = [value for key, value in setting if key == ARGUMENT]
    name, _, own = config.partition(":")
    argument = ",".join(filter(None, (own, *words)))
    changes = [f"{key}={value}" for key, value in setting if key != ARGUMENT]
    return load_config(f"{name}:{argument}" if argument else name, [*overrides, *changes, f"seed={seed}"])


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
    "; brackets are 95 % bootstrap intervals over clips, on the same draws for both sides of a difference. They speak of the clips, not of"
    " the seeds."
)


def setting_name(setting: Sequence[tuple[str, str]]) -> str:
    """A folder name: "diffusion.steps=10,inference.top_m=0", or "plain" without a grid."""
    return re.sub(r"[^\w.=,+-]", "_", ",".join(f"{key}={value}" for key, value in setting)) or "plain"
