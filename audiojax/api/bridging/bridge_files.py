"""What can be bridged from the command line: sound files, an index of them, or a file of CLAP embeddings; and the file that is written."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from audiojax.api.bridging.bridge import Bridge
from audiojax.api.describing.caption_table import find_sounds
from audiojax.audio.reasons import ReasonCounter
from audiojax.errors import UsageError
from audiojax.files import make_folder, shown
from audiojax.index.store import MANIFEST, Stored, read_index

FILES = (".npy", ".npz")
NAME, RAW = "embeddings", "raw"  # of the arrays in an .npz file: text-like ones, and those that they were made of


@dataclass(frozen=True, eq=False)
class BridgedFile:
    """What `bridge_files` has written.

    Attributes:
      arrays: "embeddings" and "raw" [n, d]; "files" [n] where these are known, and of an index "starts" [n] in seconds.
      tally: the sound files that were used, and those that were left out with their reasons.
    """

    arrays: Mapping[str, np.ndarray]
    tally: ReasonCounter = field(default_factory=ReasonCounter)


def bridge_files(
    bridge: Bridge,
    sources: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    *,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
) -> BridgedFile:
    """Bridges sounds, an index or a file of embeddings, and writes the result whole or not at all.

    Args:
      sources: sound files, folders with their subfolders and patterns; or one index; or one .npy or .npz file of embeddings [n, d] of the
        bridge's CLAP.
      out: .npz with all arrays, or .npy with the text-like embeddings alone.
      seed: decides the noise.
      batch_size: windows of sounds embedded at a time.

    Raises:
      UsageError: nothing to bridge, embeddings of another CLAP, of another width or not finite, or a place that cannot be written.
      AudiojaxError: the index is damaged.
    """
    out = Path(out).expanduser()
    if out.suffix not in FILES:
        raise UsageError(f"{shown(out)}: the name must end in .npz or .npy")
    if not sources:
        raise UsageError("nothing to bridge: name sound files, an index, or a file of embeddings")
    _require_place(out)
    first, tally = Path(sources[0]).expanduser(), ReasonCounter()
    single = first.suffix in FILES or (first / MANIFEST).is_file()
    if single and len(sources) > 1:
        raise UsageError(f"{shown(first)}: an index or a file of embeddings is bridged alone; {len(sources)} sources are named")
    if single:
        arrays = of_index(bridge, first) if first.is_dir() else {RAW: read_embeddings(first)}
        arrays = {NAME: _named(first, bridge, arrays[RAW], seed, progress), **arrays}
    else:
        paths, unread = find_sounds(sources)
        for bad in unread:
            tally.add(bad)
        found = bridge.bridge_audio(paths, seed=seed, batch_size=batch_size, tally=tally, progress=progress)
        arrays = {NAME: found.embeddings, "raw": found.raw, "files": np.array([shown(path) for path in found.files], str)}
    _write(out, arrays)
    return BridgedFile(arrays, tally)


def read_embeddings(path: Path) -> np.ndarray:
    """The array [n, d] of a .npy file, or of a .npz file the one called "raw", as in what was bridged before, or "embeddings", or alone in
    it; nothing is unpickled.

    Raises:
      UsageError: the file cannot be read, or holds something else.
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.lib.npyio.NpzFile):
            with loaded:
                names = loaded.files
                name = next((known for known in (RAW, NAME) if known in names), names[0] if len(names) == 1 else None)
                if name is None:
                    raise UsageError(f"{shown(path)}: holds {', '.join(names) or 'nothing'}; the embeddings are to be called '{NAME}'")
                loaded = loaded[name]
    except FileNotFoundError as error:
        raise UsageError(f"{shown(path)}: no such file") from error
    except UsageError:
        raise
    except Exception as error:  # zipfile, numpy and zlib have errors of many kinds for damaged bytes
        raise UsageError(f"{shown(path)}: cannot be read as an array: {str(error).splitlines()[0] if str(error) else error!r}") from error
    if loaded.ndim != 2 or not np.issubdtype(loaded.dtype, np.floating):
        raise UsageError(f"{shown(path)}: holds {loaded.dtype} of shape {loaded.shape}; embeddings are real numbers [n, d]")
    return loaded.astype(np.float32)


def of_index(bridge: Bridge, folder: Path) -> dict[str, np.ndarray]:
    """The vectors of an index, those of silent sounds among them, in the order of its files and their windows: "raw", "files", "starts".

    Raises:
      UsageError: its vectors are not of the bridge's CLAP.
    """
    index = read_index(folder)
    if bridge.clap_id not in (None, index.settings.model_id):
        raise UsageError(
            f"{shown(folder)}: its vectors are those of {shown(index.settings.model)}, and {shown(bridge.source)} bridges those of"
            f" {bridge.card['started from']['clap']['source']}"
        )
    vectors = np.concatenate([np.asarray(batch, np.float32) for batch in index.vectors()] or [np.zeros((0, index.width), np.float32)])
    rows, names = window_rows(index)
    starts = index.window_table()["start"].to_numpy()
    return {"raw": vectors[rows], "files": np.array(names, str), "starts": starts[rows]}


def window_rows(index: Stored) -> tuple[np.ndarray, list[str]]:
    """(number of every window that a file of the index has, that file's path)."""
    rows, names = [], []
    for path, row, count in zip(*(index.files[name].to_pylist() for name in ("path", "row", "windows")), strict=True):
        rows.extend(range(row, row + count))
        names.extend([shown(index.root / os.fsdecode(path))] * count)
    return np.array(rows, np.int64), names


def _named(path: Path, bridge: Bridge, raw: np.ndarray, seed: int, progress: bool) -> np.ndarray:
    try:
        return bridge.bridge(raw, seed=seed, progress=progress)
    except UsageError as error:
        raise UsageError(f"{shown(path)}: {error}") from error


def _require_place(path: Path) -> None:
    """UsageError where nothing can be written, before the work."""
    try:
        make_folder(path.parent)
    except OSError as error:
        raise UsageError(f"{shown(path)}: cannot be written ({error.strerror}); choose another place") from error


def _write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(partial, "wb") as file:
                np.save(file, arrays[NAME]) if path.suffix == ".npy" else np.savez(file, **arrays)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{shown(path)}: cannot be written ({error.strerror}); choose another place") from error
