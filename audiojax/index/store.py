"""The sound index on disk: a folder of Arrow files that are read through memory maps, and one small file that says which of them count.

    index.json              format, settings, root of the sounds, names, sizes and checksums of the files below
    files-<id>.arrow        one row per sound file, used or left out: see FILES
    windows-<id>.arrow      one row per window: unit vector, norm that it had, second at which it starts, seconds of sound in it

Arrow files are written once and never changed. A change of the index is new files and then a new index.json, moved into place: a kill
leaves the index as it was. Windows are numbered through all their files, in the order of index.json; those of one sound lie together.
Windows that no row of the table of files names are what was removed; they go when the files of windows are merged.
"""

import contextlib
import dataclasses
import fcntl
import io
import json
import mmap
import os
import re
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from audiojax.errors import AudiojaxError, UsageError
from audiojax.files import shown, write_whole

FORMAT = 1
MANIFEST = "index.json"
LOCK = "lock"
BATCH_ROWS = 16_384  # windows in one piece
DTYPES = ("float32", "float16")
PART_NAME = re.compile(r"(files|windows)-[0-9a-f]{32}\.arrow")
FILES = pa.schema(
    [
        ("path", pa.binary()),  # below the root, in the bytes of the system
        ("duration", pa.float64()),  # seconds
        ("digest", pa.string()),  # of the content
        ("size", pa.int64()),
        ("modified", pa.int64()),  # nanoseconds since 1970
        ("silent", pa.bool_()),
        ("row", pa.int64()),  # its first window
        ("windows", pa.int64()),  # 0 for a file that was left out
        ("reason", pa.string()),  # why it was left out, or null
        ("detail", pa.string()),
        ("decoder", pa.string()),  # that judged so
        ("captions", pa.list_(pa.string())),  # null where nobody gave any
    ]
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the vectors of an index depend on; all vectors of an index share it.

    Attributes:
      model: where the model comes from: a folder or a hub name.
      model_id: changes whenever embeddings would.
      sample_rate: Hz of what the model hears.
      seconds: window length.
      hop_seconds: between window starts; None for windows that do not overlap.
      padding: of sounds shorter than a window, as in `audiojax.audio.lengths.fit`.
      dtype: of the stored vectors, one of DTYPES.
    """

    model: str
    model_id: str
    sample_rate: int
    seconds: float
    hop_seconds: float | None = None
    padding: str = "repeat"
    dtype: str = "float32"

    def differences(self, other: "Settings") -> list[str]:
        """What keeps the vectors of the two from being compared, as "name: mine, not other's"."""
        pairs = ((field.name, getattr(self, field.name), getattr(other, field.name)) for field in dataclasses.fields(self)[2:])
        found = [f"{name}: {mine}, not {theirs}" for name, mine, theirs in pairs if mine != theirs]
        if self.model_id != other.model_id:
            found.insert(0, f"model: {shown(self.model)} ({self.model_id[:12]}), not {shown(other.model)} ({other.model_id[:12]})")
        return found


@dataclasses.dataclass(frozen=True)
class Part:
    """One Arrow file of an index: its name, rows, bytes and their CRC-32, which is None where an older audiojax wrote it."""

    name: str
    rows: int
    bytes: int
    crc32: int | None = None


@dataclasses.dataclass(frozen=True)
class Stored:
    """An index as it lies on the disk.

    Attributes:
      root: folder of the sounds.
      width: of the vectors.
      files: as FILES says, sorted by path.
      windows: batches of vector, norm, start, seconds, mapped and not read.
      maps: the memory map under each batch.
      parts: the table of files, then the files of windows.
    """

    folder: Path
    settings: Settings
    root: Path
    width: int
    files: pa.Table
    windows: tuple[pa.RecordBatch, ...]
    maps: tuple[mmap.mmap, ...]
    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        """Windows, removed ones included."""
        return sum(part.rows for part in self.parts[1:])

    @property
    def bytes(self) -> int:
        """Of all its files."""
        return sum(part.bytes for part in self.parts)

    def window_table(self) -> pa.Table:
        """All windows as one table, without a copy."""
        return pa.Table.from_batches(self.windows, window_schema(self.width, self.settings.dtype))

    def vectors(self) -> Iterator[Float[np.ndarray, "_ d"]]:
        """The unit vectors of all windows, batch by batch where they lie; pages that were read do not stay in the memory of the process."""
        for batch, under in zip(self.windows, self.maps, strict=True):
            yield unit_vectors(batch)
            under.madvise(mmap.MADV_DONTNEED)


def window_schema(width: int, dtype: str) -> pa.Schema:
    """The columns of a file of windows."""
    vector = pa.list_(pa.from_numpy_dtype(np.dtype(dtype)), width)
    return pa.schema([("vector", vector), ("norm", pa.float32()), ("start", pa.float64()), ("seconds", pa.float64())])


def window_batch(vectors: Float[np.ndarray, "w d"], starts, seconds, dtype: str) -> pa.RecordBatch:
    """Windows to write: the vectors of any length become unit vectors and norms."""
    vectors = np.asarray(vectors, np.float32)
    norms = np.linalg.norm(vectors, axis=1)
    units = (vectors / np.maximum(norms, 1e-12)[:, None]).astype(dtype)
    schema = window_schema(vectors.shape[1], dtype)
    column = pa.FixedSizeListArray.from_arrays(pa.array(units.reshape(-1)), vectors.shape[1])
    rest = (pa.array(values, field.type) for values, field in zip((norms, starts, seconds), list(schema)[1:], strict=True))
    return pa.RecordBatch.from_arrays([column, *rest], schema=schema)


def unit_vectors(batch: pa.RecordBatch) -> Float[np.ndarray, "w d"]:
    """The vectors of a batch where they lie, read-only."""
    column = batch.column("vector")
    return column.flatten().to_numpy(zero_copy_only=True).reshape(len(column), -1)


def read_index(folder: str | os.PathLike) -> Stored:
    """The index in a folder. Nothing but the table of files is checked row by row; vectors stay on the disk, see `check.check_index`.

    Raises:
      UsageError: there is no index.
      AudiojaxError: a file of it is missing or damaged; says which.
    """
    folder = Path(folder).expanduser()
    manifest = _read_manifest(folder)
    while True:
        try:
            return _open(folder, manifest)
        except FileNotFoundError as error:
            before, manifest = manifest, _read_manifest(folder)  # a running update may have replaced the files
            if manifest == before:
                damaged(Path(error.filename), "is missing")


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        what = "holds no sound index" if folder.is_dir() else "no such folder"
        raise UsageError(f"{shown(folder)}: {what}; make one with audiojax index DIR --model MODEL --out {shown(folder)}")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise UsageError(f"{shown(path)}: is of format {found['format']}, this audiojax reads {FORMAT}; make the index anew")
        return {
            "settings": Settings(**found["settings"]),
            "root": Path(found["root"]),
            "width": int(found["width"]),
            "parts": tuple(map(_part, found["parts"])),
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        damaged(path, f"{type(error).__name__}: {error}")


def _part(found: dict[str, Any]) -> Part:
    crc32 = found.get("crc32")
    return Part(str(found["name"]), int(found["rows"]), int(found["bytes"]), None if crc32 is None else int(crc32))


def _open(folder: Path, manifest: dict[str, Any]) -> Stored:
    settings, parts, width = manifest["settings"], manifest["parts"], manifest["width"]
    if not parts or width < 1 or settings.dtype not in DTYPES or any(not PART_NAME.fullmatch(part.name) for part in parts):
        damaged(folder / MANIFEST, "names files, a width or a dtype that no index has")
    table, schema = _mapped(folder, parts[0], FILES), window_schema(width, settings.dtype)
    files = pa.Table.from_batches([batch for batch, _ in table], FILES)
    windows = [item for part in parts[1:] for item in _mapped(folder, part, schema)]
    if why := _faults(files, sum(part.rows for part in parts[1:])):
        damaged(folder / parts[0].name, why)
    batches, maps = (tuple(item[i] for item in windows) for i in (0, 1))
    return Stored(folder, settings, manifest["root"], width, files, batches, maps, parts)


def _faults(files: pa.Table, windows: int) -> str:
    """What is wrong with a table of files beside so many windows, or nothing."""
    try:
        files.validate(full=True)
    except pa.ArrowInvalid as error:
        return str(error)
    if any(files[name].null_count for name in ("path", "row", "windows", "duration", "silent")):
        return "has rows that are not whole"
    counts, first = (files[name].to_numpy() for name in ("windows", "row"))
    order = np.argsort(first[counts > 0])
    begin, end = (values[counts > 0][order] for values in (first, first + counts))
    beyond = len(begin) and (begin[0] < 0 or end[-1] > windows or (begin[1:] < end[:-1]).any())
    return "names windows that are not there" if beyond or (counts < 0).any() else ""


def _mapped(folder: Path, part: Part, schema: pa.Schema) -> list[tuple[pa.RecordBatch, mmap.mmap]]:
    """The batches of an Arrow file in place, each with the map that it lies in."""
    path = folder / part.name
    with open(path, "rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        if size != part.bytes or not size:
            damaged(path, f"has {size} bytes instead of {part.bytes}")
        under = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        file = pa.ipc.open_file(pa.py_buffer(under))
        batches = [file.get_batch(i) for i in range(file.num_record_batches)]
    except (pa.ArrowException, OSError) as error:
        damaged(path, str(error))
    if not file.schema.equals(schema) or sum(map(len, batches)) != part.rows:
        damaged(path, "its columns or its number of rows are not those of an index")
    return [(batch, under) for batch in batches]


def damaged(path: Path, why: str) -> NoReturn:
    """AudiojaxError that names a file of an index, what is wrong with it, and what to do."""
    raise AudiojaxError(f"{shown(path)}: damaged: {' '.join(why.split())}; delete the folder of the index and make it anew")


@contextlib.contextmanager
def locked(folder: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Holds the index for one writer. The folder is made.

    Args:
      waiting: called where another one has it, before waiting for that to end.

    Raises:
      UsageError: the folder has other things in it, or cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = os.listdir(folder)
        if MANIFEST not in names and any(name != LOCK and not (name.startswith(".") or PART_NAME.fullmatch(name)) for name in names):
            raise UsageError(f"{shown(folder)}: is no index and not empty; choose a new folder for the index")
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise UsageError(f"{shown(folder)}: cannot be written ({error.strerror}); choose another place for the index") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # goes with the process
        except BlockingIOError:
            waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def write_part(folder: Path, kind: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Part:
    """Writes an Arrow file of a new name, "files" or "windows", which counts once `commit` names it.

    Raises:
      AudiojaxError: the disk is full, or the folder cannot be written.
    """
    path, rows = folder / f"{kind}-{uuid.uuid4().hex}.arrow", 0
    try:
        with _Summed(path) as file:
            with pa.ipc.new_file(file, schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)
                    rows += len(batch)
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            why = f"cannot write the index: {error.strerror or error}; free space or choose another place"
            raise AudiojaxError(f"{shown(folder)}: {why}") from error
        raise
    return Part(path.name, rows, path.stat().st_size, file.crc32)


class _Summed(io.BufferedWriter):
    """A new file, and the CRC-32 of what was written to it."""

    def __init__(self, path: Path):
        super().__init__(io.FileIO(path, "w"))
        self.crc32 = 0

    def write(self, data) -> int:
        self.crc32 = zlib.crc32(data, self.crc32)
        return super().write(data)


def commit(folder: Path, settings: Settings, root: Path, width: int, parts: Sequence[Part]) -> None:
    """Makes `parts` the index: the table of files, then the files of windows. What is in none of them is deleted."""
    values = {
        "format": FORMAT,
        "settings": dataclasses.asdict(settings),
        "root": os.fspath(root),
        "width": width,
        "parts": [dataclasses.asdict(part) for part in parts],
    }
    write_whole(folder / MANIFEST, json.dumps(values, indent=1))
    current = {part.name for part in parts}
    for name in os.listdir(folder):
        if PART_NAME.fullmatch(name) and name not in current:
            (folder / name).unlink(missing_ok=True)
