"""One writer for what a run tells: metrics.csv (phase, step, name, value) and TensorBoard events.

A resumed run cuts the rows that lie after the restored step, so the file reads as if the run had never stopped.
"""

import csv
import io
import os
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

HEADER = ("phase", "step", "name", "value")


class Writer:
    """Writes the metrics of one phase. A context manager; inactive writers (other processes) accept everything and write nothing."""

    def __init__(self, workdir: str | os.PathLike, phase: str, start_step: int = 0, active: bool = True) -> None:
        self.phase = phase
        self.active = active
        if not active:
            return
        folder = Path(workdir)
        folder.mkdir(parents=True, exist_ok=True)
        cut_metrics(folder / "metrics.csv", phase, start_step)
        self._file = (folder / "metrics.csv").open("a", newline="", encoding="utf-8")
        purge = start_step + 1 if start_step > 0 else None
        self._events = _summary_writer()(str(folder / "tensorboard" / phase), purge_step=purge, flush_secs=10)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One row and one event a value; rows reach the file before the call returns."""
        if not self.active:
            return
        text = io.StringIO()
        csv.writer(text).writerows((self.phase, step, name, repr(float(value))) for name, value in values.items())
        self._file.write(text.getvalue())
        self._file.flush()
        for name, value in values.items():
            self._events.add_scalar(name, float(value), step)

    def image(self, step: int, name: str, picture: np.ndarray) -> None:
        """A picture [height, width, 3], uint8 or float in [0, 1]."""
        if self.active:
            self._events.add_image(name, np.asarray(picture), step, dataformats="HWC")

    def audio(self, step: int, name: str, waveform: np.ndarray, sample_rate: int) -> None:
        """A mono clip [samples] in [-1, 1], at `sample_rate` Hz."""
        if self.active:
            self._events.add_audio(name, np.clip(np.asarray(waveform, np.float32), -1, 1)[:, None], step, sample_rate=sample_rate)

    def text(self, step: int, name: str, text: str) -> None:
        """A text, shown as markdown."""
        if self.active:
            self._events.add_text(name, text, step)

    def close(self) -> None:
        """Writes what is buffered."""
        if self.active:
            self._file.close()
            self._events.close()


def _summary_writer() -> type:
    """TensorBoard's writer. Imported when a run begins, and where torch is installed without it, which would take seconds."""
    blocked = "torch" not in sys.modules
    if blocked:
        sys.modules["torch"] = None
    try:
        from tensorboardX import SummaryWriter
    finally:
        if blocked:
            del sys.modules["torch"]
    return SummaryWriter


def cut_metrics(path: Path, phase: str, last_step: int) -> None:
    """Drops the rows of `phase` after `last_step` and any half-written line; makes the file if there is none. Atomic."""
    kept = [HEADER] + [row for row in _rows(path) if row[0] != phase or int(row[1]) <= last_step]
    text = io.StringIO()
    csv.writer(text).writerows(kept)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text.getvalue(), encoding="utf-8", newline="")
    os.replace(temporary, path)


def read_metrics(workdir: str | os.PathLike) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
    """(phase, name) -> (steps int64 [n], values float64 [n]) of a run's metrics.csv; empty if there is none."""
    series = defaultdict(list)
    for phase, step, name, value in _rows(Path(workdir) / "metrics.csv"):
        series[phase, name].append((int(step), float(value)))
    return {key: (np.array([s for s, _ in rows], np.int64), np.array([v for _, v in rows], np.float64)) for key, rows in series.items()}


def _rows(path: Path) -> list[list[str]]:
    if not path.is_file():
        return []
    text = path.read_bytes().decode("utf-8", errors="replace")
    complete = text[: text.rfind("\n") + 1]  # a killed run may leave half a line
    rows = list(csv.reader(io.StringIO(complete)))[1:]
    return [row for row in rows if len(row) == len(HEADER) and row[1].isdigit()]
