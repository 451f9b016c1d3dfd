"""What every evaluation shares: the split that is tested and its folder, the result, the metric card, the curves of training."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from audiojax.api.data import data_name, open_split
from audiojax.errors import UsageError
from audiojax.files import make_folder, shown
from audiojax.metrics.retrieval import Ranks
from audiojax.report.sections import Curves, Section
from audiojax.trainer.log import read_metrics


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What `evaluate` found.

    Attributes:
      scores: "t2a/R@1", "cider_d" and so on, as the JSON file has them.
      sections: tables and cards for the console and the report.
      report: the HTML page.
      json: the scores with their limits and the metric card.
      ranks: of a system that finds: "t2a", "t2a_cosine", "a2t", "a2t_cosine", and "probe/order" and so on if asked -> ranks per query.
      counts: of a system that describes: measure -> [2, clips], whose sums have the measure as their ratio.
      gaps: of a system that bridges or makes sounds: measure -> a number a clip, or one of the whole split.
    """

    scores: Mapping[str, float]
    sections: Sequence[Section]
    report: Path
    json: Path
    ranks: Mapping[str, Ranks] = field(default_factory=dict)
    counts: Mapping[str, np.ndarray] = field(default_factory=dict)
    gaps: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Tested:
    """The split of a data set on which a run is measured.

    Attributes:
      workdir: of the run.
      split: its name.
      source: the records.
      data: the config's `data` section with what is tested; `trained_on` with what was trained on.
      place: the split, with the data's name where they are not those that the run was trained on.
      folder: receives what the evaluation writes.
    """

    workdir: Path
    split: str
    source: Any
    data: Mapping[str, Any]
    trained_on: Mapping[str, Any]
    place: str
    folder: Path

    @property
    def trained_name(self) -> str:
        """The data that the run was trained on."""
        return data_name(self.trained_on)

    @property
    def tested_name(self) -> str:
        """The data that it is tested on."""
        return data_name(self.data)


def open_tested(
    workdir: str | os.PathLike,
    data: Mapping[str, Any],
    split: str,
    *,
    domain: str | None = None,
    data_dir: str | os.PathLike | None = None,
    out: str | os.PathLike | None = None,
    chosen: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Tested:
    """The split of a run's data, or of others; arguments as for `evaluate`.

    Args:
      data: the `data` section of the run's config.
      chosen: options that are not the model's own, so that evaluations with different ones lie side by side.

    Raises:
      UsageError: no such split or domain, or a folder that cannot be written.
    """
    workdir, trained_on, other = Path(workdir).expanduser(), data, None
    if data_dir is not None:
        if domain:
            raise UsageError("--domain and --data-dir name two different data sets: give one of them")
        data = {**data, "source": "tfds", "dir": str(Path(data_dir).expanduser())}
        other = data_name(data) if data != trained_on else None
    elif domain and data["source"] == "tfds":
        raise UsageError(f"--domain is for SoundWorld, and this run was trained on {data_name(data)}: use --data-dir")
    elif domain and domain != data["domain"]:
        data, other = {**data, "domain": domain}, domain
    where = place(split, other, chosen)
    source = open_split(data, split, progress=progress)
    folder = write_folder(Path(out).expanduser() if out else workdir / "evaluation" / where)
    return Tested(workdir, split, source, data, trained_on, where, folder)


def place(split: str, other: str | None, chosen: Mapping[str, Any] | None = None) -> str:
    """Folder name of an evaluation: the split, with the name of data that are not the run's own and options that are not the model's."""
    return "-".join(filter(None, (split, other, *(f"{name}={value}" for name, value in (chosen or {}).items()))))


def write_folder(folder: Path) -> Path:
    """The folder, made and tried, so that a place that cannot be written shows before the work."""
    try:
        make_folder(folder)
    except OSError as error:
        raise UsageError(f"{shown(folder)}: cannot be written ({error.strerror}); --out names another folder") from error
    return folder


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Values per query or clip as an npz file, for paired comparisons; whole or not at all."""
    partial = path.with_name("partial-" + path.name)
    np.savez_compressed(partial, **arrays)
    partial.replace(path)


def metric_card(model: Any, tested: Tested, protocol: str, clip_ids: Sequence[str]) -> dict[str, Any]:
    """How the scores came about; `model` is an opened run."""
    data = model.config["data"]
    name = tested.tested_name
    return {
        "protocol": protocol,
        "data": name if tested.data["source"] == "tfds" else f"SoundWorld {tested.data['size']} {name}",
        "split": tested.split,
        "clips": len(clip_ids),
        "list hash": hashlib.blake2b("\n".join(clip_ids).encode(), digest_size=8).hexdigest(),
        "sample rate": f"{data['sample_rate']} Hz",
        "trained on": tested.trained_name,
        "model": f"{model.card['task']} at step {model.card['step']} ({model.card['choice']} weights)",
        "parameters": model.parameters,
        "seed": model.config["seed"],
    }


def training_curves(workdir: Path, charts: Sequence[tuple[str, Sequence[str], bool]]) -> list[Curves]:
    """Lines over the steps of every phase, from metrics.csv: for each (title, names of values, logarithmic) one chart."""
    if not (workdir / "metrics.csv").is_file():
        return []
    rows = read_metrics(workdir)
    found = []
    for title, names, logarithmic in charts:
        series = {f"{phase}: {name.split('/')[-1]}": values for (phase, name), values in rows.items() if name in names}
        if series:
            found.append(Curves(title, series, log_y=logarithmic))
    return found
