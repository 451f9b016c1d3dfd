"""Embeddings on disk, by content: what was computed once for some bytes, by some model, is never computed again.

A cache folder holds one folder per model and setting with shards of entries, and one table of digests per indexed folder. Every file is
written beside its place and moved there, so a kill leaves whole files only; runs that share a cache never overwrite each other's shards.
"""

import dataclasses
import errno
import hashlib
import json
import os
import stat
import uuid
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from audiojax.audio.reasons import Reason
from audiojax.errors import AudiojaxError

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Entry:
    """What is known about one content: its windows' embeddings, or why it has none.

    Attributes:
      embeddings: one row per window; [0, 0] for a bad file.
      starts: seconds at which the windows begin.
      silent: no window holds a sound.
      reason: None, or what is wrong with the file.
      detail: of the reason.
    """

    embeddings: Float[np.ndarray, "w d"]
    starts: Float[np.ndarray, " w"]
    silent: bool = False
    reason: Reason | None = None
    detail: str = ""


def settings_folder(cache_dir: Path, settings: Mapping[str, Any]) -> Path:
    """The folder of entries that were made under `settings` (model, rate, window...); made on first use, with the settings in it to read.

    Raises:
      AudiojaxError: the cache folder cannot be written.
    """
    text = json.dumps({"format": FORMAT} | dict(settings), sort_keys=True, indent=1)
    folder = cache_dir / "entries" / hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
    if not (folder / "settings.json").exists():
        _write(folder / "settings.json", lambda file: file.write(text.encode()))
    return folder


def read_entries(folder: Path, decoder: str, wanted: Collection[str]) -> dict[str, Entry]:
    """Digest -> entry for the `wanted` digests that some shard has. A shard that cannot be read counts as absent. Bad files count only if
    `decoder` judged them. What other folders have in the cache is read shard by shard and not kept.
    """
    entries: dict[str, Entry] = {}
    for path in sorted(folder.glob("*.npz")):
        shard = _read_npz(path)
        if shard is None:
            continue
        ends = np.cumsum(shard["counts"])
        for i, digest in enumerate(shard["digests"].tolist()):
            if digest not in wanted:
                continue
            rows = slice(ends[i] - shard["counts"][i], ends[i])
            if reason := str(shard["reasons"][i]):
                if str(shard["decoder"]) == decoder:
                    entries.setdefault(digest, bad_entry(Reason(reason), str(shard["details"][i])))
            else:
                entries[digest] = Entry(shard["embeddings"][rows].copy(), shard["starts"][rows].copy(), bool(shard["silent"][i]))
    return entries


def bad_entry(reason: Reason, detail: str) -> Entry:
    """The entry of a file without embeddings."""
    return Entry(np.zeros((0, 0), np.float32), np.zeros(0, np.float64), False, reason, detail)


def write_entries(folder: Path, entries: Mapping[str, Entry], decoder: str) -> None:
    """Adds a shard with `entries`; no entry, no shard.

    Raises:
      AudiojaxError: it cannot be written.
    """
    if not entries:
        return
    good = [entry for entry in entries.values() if entry.reason is None]
    arrays = {
        "decoder": np.array(decoder),
        "digests": np.array(list(entries)),
        "counts": np.array([len(entry.starts) for entry in entries.values()]),
        "silent": np.array([entry.silent for entry in entries.values()]),
        "reasons": np.array([entry.reason or "" for entry in entries.values()]),
        "details": np.array([entry.detail for entry in entries.values()]),
        "starts": np.concatenate([entry.starts for entry in good]) if good else np.zeros(0),
        "embeddings": np.concatenate([entry.embeddings for entry in good]) if good else np.zeros((0, 0), np.float32),
    }
    _write(folder / f"{uuid.uuid4().hex}.npz", lambda file: np.savez(file, **arrays))


@dataclasses.dataclass
class Digests:
    """Content digests of files that were read before, trusted while a file keeps its size and time of change."""

    table: Path
    known: dict[str, tuple[int, int, str]]

    @classmethod
    def read(cls, cache_dir: Path, folder: Path) -> "Digests":
        """The table of one indexed folder; empty where there is none."""
        table = cache_dir / "digests" / f"{hashlib.blake2b(os.fsencode(folder.resolve()), digest_size=12).hexdigest()}.npz"
        rows = _read_npz(table) if table.exists() else None
        if rows is None:
            return cls(table, {})
        columns = (rows[name].tolist() for name in ("paths", "sizes", "times", "digests"))
        return cls(table, {path: (size, time, digest) for path, size, time, digest in zip(*columns, strict=True)})

    def of(self, path: Path) -> str:
        """blake2b digest of the file's bytes, hexadecimal.

        OSError where it cannot be read, and for pipes and devices, which may never end.
        """
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.ENODEV, "neither file nor folder")
        stamp = (status.st_size, status.st_mtime_ns)
        name = os.path.abspath(path)
        if name not in self.known or self.known[name][:2] != stamp:
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
            self.known[name] = (*stamp, digest)
        return self.known[name][2]

    def still(self, path: Path) -> bool:
        """Whether the file is as it was when its digest was taken."""
        try:
            status = os.stat(path)
        except OSError:
            return False
        return self.known[os.path.abspath(path)][:2] == (status.st_size, status.st_mtime_ns)

    def write(self) -> None:
        """Stores the table. AudiojaxError where it cannot be written."""
        if not self.known:
            return
        sizes, times, digests = zip(*self.known.values(), strict=True)
        arrays = {"sizes": np.array(sizes), "times": np.array(times), "digests": np.array(digests), "paths": np.array(list(self.known))}
        _write(self.table, lambda file: np.savez(file, **arrays))


def _read_npz(path: Path) -> dict[str, np.ndarray] | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _write(path: Path, write: Any) -> None:
    """Puts a whole file at `path`, or nothing."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise AudiojaxError(
            f"{path.parent}: cannot write the embedding cache: {error.strerror}; free space or choose another folder"
        ) from error
