"""An opened sound index: what it holds, and the best places in its files for some query vectors."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int

from audiojax.audio.reasons import BadAudio, Reason, ReasonCounter
from audiojax.index.exact import ExactSearch
from audiojax.index.store import Stored, read_index, unit_vectors


@dataclass(frozen=True)
class Hit:
    """One result of a search: a file, and the window of it that fits best.

    Attributes:
      path: the sound file.
      start, end: seconds of it between which the window lies.
      score: that the ranking goes by; higher is better.
      cosine: of query and window, in [-1, 1].
      row: number of the window in the index.
    """

    path: Path
    start: float
    end: float
    score: float
    cosine: float
    row: int = -1


class Index:
    """An index that was opened; a later update does not change what it sees.

    Attributes:
      folder: where it lies.
      settings: of its vectors: model, window, dtype.
      root: folder of the sounds.
      computed: contents that a model saw in the update that came before opening it.
    """

    def __init__(self, stored: Stored, *, resident: bool = False, computed: int = 0):
        self._stored, self._resident, self.computed = stored, resident, computed
        self.folder, self.settings, self.root = stored.folder, stored.settings, stored.root
        self._used = np.flatnonzero(stored.files["windows"].to_numpy() > 0)  # rows of the table of files

    @classmethod
    def open(cls, path: str | os.PathLike, *, resident: bool = False) -> "Index":
        """The index in a folder that `audiojax index` or `Searcher.index` made.

        Args:
          resident: keep the vectors on the devices from the first search on, for many searches: one copy in the dtype of the index. Each
            search reads them from the memory-mapped files otherwise.

        Raises:
          UsageError: there is none.
          AudiojaxError: a file of it is missing or damaged.
        """
        return cls(read_index(path), resident=resident)

    def __len__(self) -> int:
        """Files that can be found."""
        return len(self._used)

    @property
    def windows(self) -> int:
        """Windows that can be found."""
        return int(self._column("windows").sum())

    @property
    def hours(self) -> float:
        """Of sound."""
        return float(self._column("duration").sum()) / 3600

    @property
    def bytes(self) -> int:
        """On the disk."""
        return self._stored.bytes

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """The files that can be found, sorted as their names are."""
        return tuple(map(self._path, range(len(self))))

    @cached_property
    def file_of(self) -> Int[np.ndarray, " rows"]:
        """Number in `paths` of each window's file; -1 for windows of files that are gone."""
        first, counts = self._column("row"), self._column("windows")
        found = np.full(self._stored.rows, -1, np.int32)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        found[np.repeat(first, counts) + within] = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        return found

    @property
    def silent(self) -> tuple[Path, ...]:
        """The files in which nothing is heard; they can be found all the same."""
        return tuple(self._path(i) for i in np.flatnonzero(self._column("silent")))

    @cached_property
    def tally(self) -> ReasonCounter:
        """How many files are in, and which were left out for which reason."""
        counter = ReasonCounter(used=len(self))
        left_out = self._stored.files.filter(pc.is_valid(self._stored.files["reason"]))
        for row in left_out.select(["path", "reason", "detail"]).to_pylist():
            counter.add(BadAudio(str(self.root / os.fsdecode(row["path"])), Reason(row["reason"]), row["detail"] or ""))
        return counter

    @property
    def skipped(self) -> dict[Path, str]:
        """Path -> reason of every file that was left out, and of every folder that could not be read."""
        return {Path(path): why for path, why in self.tally.skipped().items()}

    def captions(self, hit: Hit) -> list[str] | None:
        """What is said of a hit's file, or None."""
        return self._stored.files["captions"][int(self._used[self.file_of[hit.row]])].as_py()

    def vectors(self, rows: Sequence[int]) -> Float[np.ndarray, "m d"]:
        """The embeddings of some windows as the model gave them, in float32; those of float16 are rounded."""
        taken = self._take(rows, ["vector", "norm"])
        batch = taken.combine_chunks().to_batches()[0]
        return unit_vectors(batch).astype(np.float32) * batch.column("norm").to_numpy()[:, None]

    def search(self, queries: Float[np.ndarray, "q d"], k: int = 10) -> list[list[Hit]]:
        """For each query the k best files by the cosine of their best window, best first; equal ones in the order of the index.

        ValueError for k < 1.
        """
        queries = np.asarray(queries, np.float32)
        unit = queries / np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-12)
        best = self._exact.search(unit, k)
        places = self._take(best.rows.reshape(-1), ["start", "seconds"])
        starts, seconds = (places[name].to_numpy().reshape(best.rows.shape) for name in ("start", "seconds"))
        return [list(self._hits(*lists)) for lists in zip(best.scores, best.rows, starts, starts + seconds, strict=True)]

    def _hits(self, scores, rows, starts, ends) -> Iterator[Hit]:
        for score, row, start, end in zip(scores.tolist(), rows.tolist(), starts.tolist(), ends.tolist(), strict=True):
            yield Hit(self._path(int(self.file_of[row])), start, end, score, score, row)

    @cached_property
    def _exact(self) -> ExactSearch:
        return ExactSearch(self._stored.vectors, self.file_of, resident=self._resident)

    @cached_property
    def _ends(self) -> Int[np.ndarray, " batches"]:
        return np.cumsum([len(batch) for batch in self._stored.windows])

    def _take(self, rows: Sequence[int], columns: list[str]) -> pa.Table:
        """Some windows in this order; of the batches only those that hold them are touched."""
        rows = np.asarray(rows, np.int64)
        order = np.argsort(rows, kind="stable")
        number = np.searchsorted(self._ends, rows[order], "right")
        batches = []
        for i in np.unique(number):
            batch = self._stored.windows[i]
            batches.append(batch.select(columns).take(pa.array(rows[order][number == i] - (self._ends[i] - len(batch)))))
        return pa.Table.from_batches(batches, self._stored.window_table().select(columns).schema).take(pa.array(np.argsort(order)))

    def _path(self, number: int) -> Path:
        return self.root / os.fsdecode(self._stored.files["path"][int(self._used[number])].as_py())

    def _column(self, name: str) -> np.ndarray:
        """Of the files that can be found."""
        return self._stored.files[name].to_numpy()[self._used]
