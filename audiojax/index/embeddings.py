"""Embeds a folder of sounds of any number, length and health, and remembers the result by content.

The sounds are decoded in child processes and reach the model as windows in batches of one fixed shape, so that a sound's embedding does not
depend on its neighbours and one program is compiled.
"""

import contextlib
import dataclasses
import errno
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float, Int

from audiojax.audio import io, lengths
from audiojax.audio.pool import window_files
from audiojax.audio.reasons import BadAudio, Reason, ReasonCounter
from audiojax.errors import AudiojaxError, UsageError
from audiojax.files import shown
from audiojax.index.cache import Digests, Entry, bad_entry, read_entries, settings_folder, write_entries
from audiojax.progress import counting_bar

EmbedFn = Callable[[Float[np.ndarray, "b n"]], Float[np.ndarray, "b d"]]
FLUSH_SECONDS = 20.0  # work that a kill may cost
FLUSH_FILES = 1000
PASSING = {
    Reason.MISSING,
    Reason.UNREADABLE,
    Reason.NOT_A_FILE,
    Reason.CHANGED,
    Reason.OUT_OF_MEMORY,
    Reason.TIMEOUT,
    Reason.CRASHED_DECODER,
}


@dataclasses.dataclass(frozen=True)
class FolderEmbeddings:
    """Every window of every sound of a folder.

    Attributes:
      paths: the files that were embedded, sorted.
      embeddings: float32, one row per window, in the order of the files and of time.
      starts: seconds of its file at which a row's window begins.
      file_of: number in `paths` of a row's file.
      skipped: path -> reason of every file that was left out, and of every folder that could not be read.
      silent: the files in which nothing is heard; they are embedded all the same.
      tally: the same reasons with their counts and a table for reports.
      computed: files that the model saw in this call; the others came from the cache.
    """

    paths: tuple[Path, ...]
    embeddings: Float[np.ndarray, "rows d"]
    starts: Float[np.ndarray, " rows"]
    file_of: Int[np.ndarray, " rows"]
    skipped: dict[Path, str]
    silent: tuple[Path, ...]
    tally: ReasonCounter
    computed: int


def list_sounds(folder: str | os.PathLike) -> tuple[list[Path], list[BadAudio]]:
    """The sound files below a folder, by extension, sorted, and the folders in it that cannot be read.

    Hidden names are left out, links are followed and loops of links are not.

    Raises:
      UsageError: there is no such folder, it cannot be read, or no sound file is found in it.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise UsageError(f"{shown(root)}: " + ("is a file; give the folder it lies in" if root.exists() else "no such folder"))
    found: list[Path] = []
    unread: list[BadAudio] = []
    seen: set[tuple[int, int]] = set()

    def note(error: OSError) -> None:
        unread.append(BadAudio(str(error.filename), _reason_of(error), f"a folder: {error.strerror}"))

    for here, folders, files in os.walk(root, onerror=note, followlinks=True):
        try:
            status = os.stat(here)
        except OSError as error:
            note(error)
            folders.clear()
            continue
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found.extend(Path(here, name) for name in files if not name.startswith(".") and name.lower().endswith(io.EXTENSIONS))
    if not found:
        closed = "".join(f"; cannot be read: {bad}" for bad in unread[:1]) + (f" and {len(unread) - 1} more" if len(unread) > 1 else "")
        raise UsageError(f"{shown(root)}: no sound file in it; looked for {' '.join(io.EXTENSIONS)}{closed}")
    return sorted(found), unread


def embed_folder(
    folder: str | os.PathLike,
    embed_fn: EmbedFn,
    *,
    model_id: str,
    sample_rate: int,
    seconds: float,
    cache_dir: str | os.PathLike,
    batch_size: int = 32,
    padding: lengths.Short = "repeat",
    hop_seconds: float | None = None,
    workers: int | None = None,
    timeout: float = 20.0,
    progress: bool = False,
) -> FolderEmbeddings:
    """Embeddings of all sounds below `folder`; contents that this model has seen come from the cache.

    A sound longer than `seconds` has a row per window, the last one ending with the sound. What is finished is stored every few seconds and
    when an error or an interrupt ends the call, so the next call goes on from there.

    Args:
      folder: searched with its subfolders, see `list_sounds`.
      embed_fn: float32 [batch_size, seconds * sample_rate] mono clips in [-1, 1] -> [batch_size, d]; always called with this one shape, the
        rows past the last window are zeros.
      model_id: changes whenever embeddings would.
      sample_rate: Hz of what `embed_fn` takes.
      seconds: window length.
      cache_dir: where embeddings are kept; other models' stay untouched.
      batch_size: windows per call of `embed_fn`.
      padding: of sounds shorter than a window: "repeat", "repeat_cut" or "zero", as in `audiojax.audio.lengths.fit`.
      hop_seconds: between window starts; None for windows that do not overlap.
      workers: child processes that decode; None for one per core, at most 4.
      timeout: seconds that decoding one window may take.
      progress: show a bar on stderr.

    Raises:
      UsageError: no such folder, or no sound file in it that can be found.
      AudiojaxError: no file could be read, embeddings are not finite, or the cache cannot be written.
    """
    paths, closed = list_sounds(folder)
    cache = Path(cache_dir).expanduser()
    settings = {"model": model_id, "sample_rate": sample_rate, "seconds": seconds, "hop": hop_seconds, "padding": padding, "mono": "mean"}
    shards, decoder = settings_folder(cache, settings), f"libsndfile {soundfile.__libsndfile_version__}, {io.second_decoder()}"
    options = io.DecodeOptions(sample_rate=sample_rate)
    samples = round(seconds * sample_rate)
    with counting_bar("files", progress) as bar:
        digests, unread, digest_of = Digests.read(cache, Path(folder).expanduser()), {}, {}
        try:
            for path in bar.track(paths, description="reading"):
                try:
                    digest_of[path] = digests.of(path)
                except OSError as error:
                    unread[path] = BadAudio(str(path), _reason_of(error), error.strerror or "")
        finally:
            digests.write()
        entries = read_entries(shards, decoder, set(digest_of.values()))
        todo: dict[str, Path] = {}  # one path per content
        for path, digest in digest_of.items():
            if digest not in entries:
                todo.setdefault(digest, path)
        fresh: dict[str, Entry] = {}
        events = window_files(
            todo.values(), options, seconds=seconds, hop_seconds=hop_seconds, short=padding, workers=workers, timeout=timeout
        )
        with contextlib.closing(events):
            made = _embed(events, embed_fn, batch_size, samples)
            for path, entry in _stored(bar.track(made, total=len(todo), description="embedding"), shards, decoder, digests, digest_of):
                fresh[digest_of[path]] = entry
    computed = sum(entry.reason is None for entry in fresh.values())
    return _assemble(folder, paths, closed, unread, digest_of, entries | fresh, computed)


def _embed(events: Iterator, embed_fn: EmbedFn, batch_size: int, samples: int) -> Iterator[tuple[Path, Entry]]:
    """(path, entry) of each file as soon as its last window is embedded."""
    batch: list[tuple[str, float, np.ndarray]] = []
    rows: dict[str, list[tuple[float, np.ndarray, bool]]] = {}
    closed: list[str] = []

    def run() -> Iterator[tuple[Path, Entry]]:
        clips = np.zeros((batch_size, samples), np.float32)
        for row, (_, _, clip) in enumerate(batch):
            clips[row] = clip
        out = np.asarray(embed_fn(clips), np.float32)
        for (path, start, clip), embedding in zip(batch, out, strict=False):
            if not np.isfinite(embedding).all():
                raise AudiojaxError(
                    f"{shown(path)}: the model gives an embedding that is not finite at {start:g} s; are its weights whole?"
                )
            rows.setdefault(path, []).append((start, embedding.copy(), bool(np.max(np.abs(clip)) < io.SILENCE)))
        batch.clear()
        yield from finish()

    def finish() -> Iterator[tuple[Path, Entry]]:
        for path in closed:
            starts, embeddings, silent = zip(*rows.pop(path), strict=True)
            yield Path(path), Entry(np.stack(embeddings), np.array(starts, np.float64), all(silent))
        closed.clear()

    for path, value in events:
        if value is None:
            closed.append(path)
            if not batch:
                yield from finish()
        elif isinstance(value, BadAudio):  # a file counts whole or not at all
            batch[:] = [item for item in batch if item[0] != path]
            rows.pop(path, None)
            yield Path(path), bad_entry(value.reason, value.detail)
        else:
            batch.append((path, value.start, value.samples))
            if len(batch) == batch_size:
                yield from run()
    if batch:
        yield from run()


def _stored(
    made: Iterator[tuple[Path, Entry]], shards: Path, decoder: str, digests: Digests, digest_of: Mapping[Path, str]
) -> Iterator[tuple[Path, Entry]]:
    """Passes entries on and writes them to the cache now and then, and at the end however it comes."""
    waiting: dict[str, Entry] = {}
    since = time.monotonic()
    try:
        for path, entry in made:
            if not digests.still(path):
                entry = bad_entry(Reason.CHANGED, "changed while it was read; run again")
            if entry.reason not in PASSING:
                waiting[digest_of[path]] = entry
            yield path, entry
            if len(waiting) >= FLUSH_FILES or time.monotonic() - since > FLUSH_SECONDS:
                write_entries(shards, waiting, decoder)
                waiting, since = {}, time.monotonic()
    finally:
        write_entries(shards, waiting, decoder)


def _assemble(
    folder: str | os.PathLike,
    paths: list[Path],
    closed: list[BadAudio],
    unread: Mapping[Path, BadAudio],
    digest_of: Mapping[Path, str],
    entries: Mapping[str, Entry],
    computed: int,
) -> FolderEmbeddings:
    tally, skipped, used, silent = ReasonCounter(), {}, [], []
    for path in paths:
        entry = entries[digest_of[path]] if path in digest_of else None
        if entry is not None and entry.reason is None:
            tally.add(entry)
            used.append((path, entry))
            if entry.silent:
                silent.append(path)
            continue
        bad = unread[path] if entry is None else BadAudio(str(path), entry.reason, entry.detail)
        tally.add(bad)
        skipped[path] = bad.why
    for bad in closed:
        tally.add(bad)
        skipped[Path(bad.path)] = bad.why
    if not used:
        raise AudiojaxError(f"{shown(folder)}: none of its {len(paths)} sound files can be used: {tally.summary()}")
    counts = [len(entry.starts) for _, entry in used]
    return FolderEmbeddings(
        paths=tuple(path for path, _ in used),
        embeddings=np.concatenate([entry.embeddings for _, entry in used]),
        starts=np.concatenate([entry.starts for _, entry in used]),
        file_of=np.repeat(np.arange(len(used)), counts),
        skipped=skipped,
        silent=tuple(silent),
        tally=tally,
        computed=computed,
    )


def _reason_of(error: OSError) -> Reason:
    if error.errno == errno.ENODEV:
        return Reason.NOT_A_FILE
    return Reason.MISSING if isinstance(error, FileNotFoundError) else Reason.UNREADABLE
