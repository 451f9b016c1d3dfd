"""Brings an index up to date with its folder: what is new is embedded, what is gone is dropped, what is known is never embedded again."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import soundfile

from audiojax.audio import io
from audiojax.audio.reasons import PASSING, BadAudio, Reason
from audiojax.errors import AudiojaxError, UsageError
from audiojax.files import shown
from audiojax.index import store
from audiojax.index.check import check_parts
from audiojax.index.embeddings import EmbedFn, Entry, bad_entry, embed_files
from audiojax.index.listing import content_digest, list_sounds, reason_of, stamp
from audiojax.index.store import Settings, Stored
from audiojax.progress import counting_bar

FLUSH_SECONDS = 20.0  # work that a kill may cost
FLUSH_SHARE = 0.05  # of the time, at most, goes into storing: a large table of files takes its time
MAX_PARTS = 8  # files of windows before they are merged


@dataclass(frozen=True)
class FileRow:
    """A row of the table of files, see `store.FILES`."""

    path: bytes
    duration: float = 0.0
    digest: str | None = None
    size: int = -1
    modified: int = -1
    silent: bool = False
    row: int = 0
    windows: int = 0
    reason: str | None = None
    detail: str | None = None
    decoder: str | None = None
    captions: list[str] | None = None


def update_index(
    folder: str | os.PathLike,
    out: str | os.PathLike,
    embed_fn: EmbedFn,
    settings: Settings,
    *,
    captions: Mapping[str, Sequence[str]] | None = None,
    batch_size: int = 32,
    workers: int | None = None,
    timeout: float = 20.0,
    progress: bool = False,
) -> int:
    """Makes the index at `out` that of the sounds below `folder`, and returns how many contents the model saw for that.

    What is finished is stored every few seconds and when an error or an interrupt ends the call, so the next call goes on from there.

    Args:
      folder: searched with its subfolders, see `list_sounds`. Where an index was made of a folder that is no longer there, `folder` takes
        its place: files of the same name, size and time are the same.
      out: an index, or a folder to be.
      embed_fn, batch_size, workers, timeout: as in `embed_files`.
      settings: of a new index; those of one that is there must be the same.
      captions: path below `folder` -> what is known of the sound; files that it does not name keep what they had.
      progress: show a bar on stderr.

    Raises:
      UsageError: no such folder, no sound file in it, or the index is of another model, setting or folder.
      AudiojaxError: no file could be read, embeddings are not finite, the index is damaged or cannot be written.
    """
    root, out = Path(os.path.abspath(Path(folder).expanduser())), Path(out).expanduser()
    paths, closed = list_sounds(root)
    waiting = f"waiting for another update of {shown(out)}"
    with counting_bar("files", progress) as bar, store.locked(out, lambda: bar.console.print(waiting, markup=False)):
        stored = store.read_index(out) if (out / store.MANIFEST).exists() else None
        if stored is not None:
            require_same(stored, settings, root)
        update = _Update(out, settings, root, stored)
        todo = update.take_over(bar.track(paths, description="reading"), closed)
        made = embed_files((same[0] for same in todo.values()), embed_fn, settings, batch_size=batch_size, workers=workers, timeout=timeout)
        computed = 0
        try:
            for path, entry in bar.track(made, total=len(todo), description="embedding"):
                digest = update.digests[path]
                for same in todo[digest]:
                    update.add(same, entry)
                computed += entry.reason is None
                if update.due:
                    update.commit()
        finally:
            if update.used:
                update.commit()
        if not update.used:
            raise AudiojaxError(f"{shown(folder)}: none of its {len(paths)} sound files can be used: {update.reasons()}")
        update.caption(captions or {})
        update.commit()
        update.merge()
    return computed


def require_same(stored: Stored, settings: Settings, root: Path) -> None:
    """UsageError where an index is of another model or setting, or of another folder that is still there."""
    if differences := stored.settings.differences(settings):
        raise UsageError(
            f"{shown(stored.folder)}: is an index with another {'; '.join(differences)}\n"
            "Vectors of different models and settings do not mix: name a new folder for the index, or delete this one."
        )
    if stored.root != root and stored.root.is_dir() and not stored.root.samefile(root):
        raise UsageError(
            f"{shown(stored.folder)}: is the index of {shown(stored.root)}, not of {shown(root)}; name a new folder for the index"
        )


class _Update:
    """The index that is to be: its files, and its windows in the order in which they are written.

    Attributes:
      files: path below the root -> row.
      digests: of the contents of all files that could be read.
    """

    def __init__(self, folder: Path, settings: Settings, root: Path, stored: Stored | None):
        self.folder, self.settings, self.root, self._stored = folder, settings, root, stored
        self.files: dict[bytes, FileRow] = {}
        self.digests: dict[Path, str] = {}
        self.width = stored.width if stored else 0
        self._parts = list(stored.parts[1:]) if stored else []
        self._rows = stored.rows if stored else 0
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = 0
        self._stamps: dict[Path, tuple[int, int]] = {}
        self._known: dict[bytes, FileRow] = {}  # what the stored index has
        self._decoder = f"libsndfile {soundfile.__libsndfile_version__}, {io.second_decoder()}"
        self._changed = stored is None or stored.root != root
        self._next = time.monotonic() + FLUSH_SECONDS

    @property
    def used(self) -> int:
        """Files that have windows."""
        return sum(row.windows > 0 for row in self.files.values())

    @property
    def due(self) -> bool:
        """Whether it is time to store what is finished."""
        return time.monotonic() > self._next or self._waiting_rows >= store.BATCH_ROWS

    def take_over(self, paths: Iterable[Path], closed: Sequence[BadAudio]) -> dict[str, list[Path]]:
        """Takes over what the stored index has of these files, and returns the others: digest -> files of this content."""
        known = self._known = {row["path"]: FileRow(**row) for row in self._stored.files.to_pylist()} if self._stored else {}
        contents = {row.digest: row for row in known.values() if row.digest and self._believed(row)}
        todo: dict[str, list[Path]] = {}
        for path in paths:
            name = self._name(path)
            old = known.get(name)
            try:
                self._stamps[path] = stamp(path)
                same = old is not None and old.digest and (old.size, old.modified) == self._stamps[path]
                digest = self.digests[path] = old.digest if same else content_digest(path)
            except OSError as error:
                self._leave_out(BadAudio(str(path), reason_of(error), error.strerror or ""))
                continue
            size, modified = self._stamps[path]
            if digest not in contents:
                todo.setdefault(digest, []).append(path)
            elif old is not None and old.digest == digest and self._believed(old):
                self.files[name] = replace(old, size=size, modified=modified)
            else:
                twin = contents[digest]
                captions = twin.captions if old is None else old.captions  # a file that was renamed keeps its own
                self.files[name] = replace(twin, path=name, size=size, modified=modified, row=self._copy(twin), captions=captions)
        for bad in closed:
            self._leave_out(bad)
        self._changed |= self.files != known
        return todo

    def add(self, path: Path, entry: Entry) -> None:
        """Adds a file that was embedded, or judged."""
        try:
            if stamp(path) != self._stamps[path]:
                entry = bad_entry(Reason.CHANGED, "changed while it was read; run again")
        except OSError as error:
            entry = bad_entry(reason_of(error), error.strerror or "")
        size, modified = self._stamps[path]
        row = FileRow(self._name(path), digest=self.digests[path], size=size, modified=modified, captions=self._captions(self._name(path)))
        self._changed = True
        if entry.reason is not None:
            self.files[row.path] = replace(row, reason=str(entry.reason), detail=entry.detail, decoder=self._decoder)
            return
        self.width = entry.embeddings.shape[1]
        first = self._append([store.window_batch(entry.embeddings, entry.starts, entry.seconds, self.settings.dtype)])
        end = float((entry.starts + entry.seconds).max())
        self.files[row.path] = replace(row, duration=end, silent=entry.silent, row=first, windows=len(entry.starts))

    def caption(self, captions: Mapping[str, Sequence[str]]) -> None:
        """Gives files their captions. UsageError for a file that the index does not have."""
        for name, texts in captions.items():
            row = self.files.get(os.fsencode(name))
            if row is None:
                raise UsageError(f"{shown(name)}: has captions, and there is no such file below {shown(self.root)}")
            self._changed |= row.captions != list(texts)
            self.files[row.path] = replace(row, captions=list(texts))

    def reasons(self) -> str:
        """How many files were left out for which reason."""
        found = [row.reason for row in self.files.values() if row.reason]
        return ", ".join(f"{reason} {found.count(reason)}" for reason in sorted(set(found)))

    def commit(self) -> None:
        """Makes the index what it is by now."""
        begun = time.monotonic()
        if self._changed:
            self._spill()
            rows = [asdict(self.files[name]) for name in sorted(self.files)]
            table = store.write_part(self.folder, "files", store.FILES, pa.Table.from_pylist(rows, store.FILES).to_batches())
            store.commit(self.folder, self.settings, self.root, self.width, (table, *self._parts))
            self._changed = False
        done = time.monotonic()
        self._next = done + max(FLUSH_SECONDS, (done - begun) / FLUSH_SHARE)

    def merge(self) -> None:
        """Puts the windows into one file where they are in many, or where most of them are of files that are gone."""
        used = [row for row in self.files.values() if row.windows]
        if len(self._parts) <= MAX_PARTS and 2 * sum(row.windows for row in used) >= self._rows:
            return
        live = np.zeros(self._rows, bool)
        for row in used:
            live[row.row : row.row + row.windows] = True
        place = np.cumsum(live) - 1
        schema, stored = store.window_schema(self.width, self.settings.dtype), store.read_index(self.folder)
        check_parts(self.folder, stored.parts[1:])  # what is wrong in them would get a right checksum
        self._parts = [store.write_part(self.folder, "windows", schema, _even(_living(stored, live)))]
        self._rows = int(live.sum())
        self.files |= {row.path: replace(row, row=int(place[row.row])) for row in used}
        self._changed = True
        self.commit()

    def _name(self, path: Path) -> bytes:
        return os.fsencode(os.path.relpath(path, self.root))

    def _believed(self, row: FileRow) -> bool:
        return row.windows > 0 or (row.reason not in PASSING and row.decoder == self._decoder)

    def _leave_out(self, bad: BadAudio) -> None:
        name = self._name(Path(bad.path))
        said = {"reason": str(bad.reason), "detail": bad.detail, "decoder": self._decoder}
        self.files[name] = FileRow(name, **said, captions=self._captions(name))

    def _captions(self, name: bytes) -> list[str] | None:
        """Those that a file had, which its sound does not decide."""
        return self._known[name].captions if name in self._known else None

    def _copy(self, row: FileRow) -> int:
        """Writes the windows of a stored file once more, for another file of this content."""
        first = self._append(self._stored.window_table().slice(row.row, row.windows).to_batches())
        if self.due:
            self._spill()
        return first

    def _append(self, batches: Sequence[pa.RecordBatch]) -> int:
        first = self._rows + self._waiting_rows
        self._waiting.extend(batches)
        self._waiting_rows += sum(map(len, batches))
        return first

    def _spill(self) -> None:
        """Writes the windows that wait, which count after the next commit."""
        if self._waiting:
            schema = store.window_schema(self.width, self.settings.dtype)
            self._parts.append(store.write_part(self.folder, "windows", schema, _even(self._waiting)))
            self._rows += self._parts[-1].rows
            self._waiting, self._waiting_rows = [], 0


def _living(stored: Stored, live: np.ndarray) -> Iterator[pa.RecordBatch]:
    """The windows that count."""
    first = 0
    for batch in stored.windows:
        yield batch.filter(pa.array(live[first : first + len(batch)]))
        first += len(batch)


def _even(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of BATCH_ROWS, the last one smaller."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        held.append(batch)
        rows += len(batch)
        while rows >= store.BATCH_ROWS:
            whole = pa.Table.from_batches(held)
            yield _one(whole.slice(0, store.BATCH_ROWS))
            held = whole.slice(store.BATCH_ROWS).to_batches()
            rows -= store.BATCH_ROWS
    if rows:
        yield _one(pa.Table.from_batches(held))


def _one(table: pa.Table) -> pa.RecordBatch:
    return table.combine_chunks().to_batches()[0]
