"""The bytes of a sound, wherever it lies: a file, a member of a tar, a cell of a parquet table."""

import bisect
import dataclasses
import itertools
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from audiojax.audio.reasons import AudioFileError, Reason
from audiojax.data.layouts.clips import Sound

MAX_BYTES = 2**31  # three hours of stereo at CD quality


def name_of(sound: Sound, root: Path | None = None) -> str:
    """The sound for people: its path, from `root` where that is given, and after a colon its member."""
    return str(dataclasses.replace(sound, path=Path(os.path.relpath(sound.path, root))) if root else sound)


def read_bytes(sound: Sound, *, max_bytes: int = MAX_BYTES) -> bytes:
    """The encoded sound; for many sounds of one table `SoundReader` is faster.

    Raises:
      AudioFileError: as `SoundReader.read` does.
    """
    with SoundReader(max_bytes) as reader:
        return reader.read(sound)


class SoundReader:
    """Reads sounds one after the other; keeps the last table open, with the rows around the last one. A context manager."""

    def __init__(self, max_bytes: int = MAX_BYTES):
        self.max_bytes = max_bytes
        self._table: _Table | None = None

    def __enter__(self) -> "SoundReader":
        return self

    def __exit__(self, *_: Any) -> None:
        self._close()

    def read(self, sound: Sound) -> bytes:
        """The encoded sound.

        Raises:
          AudioFileError: `missing`, `unreadable`, `not_a_file`, `truncated` (an archive that ends too soon), `empty` (a cell without bytes)
            or `out_of_memory`: more than `max_bytes`.
        """
        name = name_of(sound)
        with _named_errors(name):
            if sound.member and sound.path.suffix == ".parquet":
                return self._read_cell(sound, name)
            return self._read_part(sound, name)

    def _read_part(self, sound: Sound, name: str) -> bytes:
        status = os.stat(sound.path)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe may never end
            raise AudioFileError(name, Reason.NOT_A_FILE, "a folder" if stat.S_ISDIR(status.st_mode) else "neither file nor folder")
        with open(sound.path, "rb") as file:
            size = sound.size if sound.member else status.st_size
            self._check_size(size, name)
            file.seek(sound.offset)
            data = file.read(size)
        if len(data) < size:
            raise AudioFileError(name, Reason.TRUNCATED, f"{len(data)} of {size} bytes are there")
        return data

    def _read_cell(self, sound: Sound, name: str) -> bytes:
        row, _, column = sound.member.partition("/")
        if self._table is None or self._table.path != sound.path:
            self._close()
            self._table = _Table(sound.path)
        data = self._table.cell(int(row), column)
        if not data:
            raise AudioFileError(name, Reason.EMPTY, "the cell holds no bytes")
        self._check_size(len(data), name)
        return data

    def _check_size(self, size: int, name: str) -> None:
        if size > self.max_bytes:
            raise AudioFileError(name, Reason.OUT_OF_MEMORY, f"{size} bytes; at most {self.max_bytes} are read")

    def _close(self) -> None:
        if self._table is not None:
            self._table.close()
            self._table = None


class _Table:
    """A parquet file, of which one column of one row group lies in memory: pages are often as large as their group."""

    def __init__(self, path: Path):
        self.path = path
        self._file = pq.ParquetFile(path)
        groups = range(self._file.num_row_groups)
        self._ends = list(itertools.accumulate(self._file.metadata.row_group(group).num_rows for group in groups))
        self._loaded = (-1, "")
        self._cells: pa.ChunkedArray | None = None

    def cell(self, row: int, column: str) -> bytes | None:
        """One cell. ArrowInvalid where there is no such row."""
        group = bisect.bisect_right(self._ends, row)
        if group == len(self._ends):
            raise pa.ArrowInvalid(f"there is no row {row}")
        if self._loaded != (group, column):
            self._cells = self._file.read_row_group(group, columns=[column]).flatten().column(0)
            self._loaded = (group, column)
        return self._cells[row - (self._ends[group - 1] if group else 0)].as_py()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


@contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """Errors of the system and of the table reader as an AudioFileError."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise AudioFileError(name, Reason.MISSING, "no such file") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise AudioFileError(name, Reason.UNREADABLE, getattr(error, "strerror", None) or str(error)) from None
