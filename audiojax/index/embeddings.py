"""Embeds sounds of any number, length and health.

The sounds are decoded in child processes and reach the model as windows in batches of one fixed shape, so that a sound's embedding does not
depend on its neighbours and one program is compiled.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from audiojax.audio import io, lengths
from audiojax.audio.pool import decode_files, window_files
from audiojax.audio.reasons import AudioFileError, BadAudio, Reason
from audiojax.errors import AudiojaxError
from audiojax.files import shown
from audiojax.index.store import Settings

EmbedFn = Callable[[Float[np.ndarray, "b n"]], Float[np.ndarray, "b d"]]


@dataclasses.dataclass(frozen=True)
class Entry:
    """What is known about one content: its windows' embeddings, or why it has none.

    Attributes:
      embeddings: one row per window; [0, 0] for a bad file.
      starts: seconds at which the windows begin.
      seconds: of sound in each.
      silent: no window holds a sound.
      reason: None, or what is wrong with the file.
      detail: of the reason.
    """

    embeddings: Float[np.ndarray, "w d"]
    starts: Float[np.ndarray, " w"]
    seconds: Float[np.ndarray, " w"]
    silent: bool = False
    reason: Reason | None = None
    detail: str = ""


def bad_entry(reason: Reason, detail: str = "") -> Entry:
    """The entry of a file without embeddings."""
    return Entry(np.zeros((0, 0), np.float32), np.zeros(0), np.zeros(0), False, reason, detail)


def embed_files(
    paths: Iterable[Path],
    embed_fn: EmbedFn,
    settings: Settings,
    *,
    batch_size: int = 32,
    workers: int | None = None,
    timeout: float = 20.0,
) -> Iterator[tuple[Path, Entry]]:
    """(path, entry) of each file as soon as its last window is embedded; a file that is longer than a window has a row for each.

    Args:
      paths: read lazily, a few ahead.
      embed_fn: float32 [batch_size, window] mono clips in [-1, 1] -> [batch_size, d]; always called with this one shape, the rows past the
        last window are zeros.
      settings: rate, window, hop and padding.
      batch_size: windows per call of `embed_fn`.
      workers: child processes that decode; None for one per core, at most 4.
      timeout: seconds that decoding one window may take.

    Raises:
      AudiojaxError: embeddings are not finite.
    """
    events = window_files(
        paths,
        io.DecodeOptions(sample_rate=settings.sample_rate),
        seconds=settings.seconds,
        hop_seconds=settings.hop_seconds,
        short=settings.padding,
        workers=workers,
        timeout=timeout,
    )
    with contextlib.closing(events):
        yield from _embed(events, embed_fn, batch_size, round(settings.seconds * settings.sample_rate))


def _embed(events: Iterator, embed_fn: EmbedFn, batch_size: int, samples: int) -> Iterator[tuple[Path, Entry]]:
    batch: list[tuple[str, float, float, np.ndarray]] = []
    rows: dict[str, list[tuple[float, float, np.ndarray, bool]]] = {}
    closed: list[str] = []

    def run() -> Iterator[tuple[Path, Entry]]:
        clips = np.zeros((batch_size, samples), np.float32)
        for row, (*_, clip) in enumerate(batch):
            clips[row] = clip
        out = np.asarray(embed_fn(clips), np.float32)
        for (path, start, seconds, clip), embedding in zip(batch, out, strict=False):
            if not np.isfinite(embedding).all():
                raise AudiojaxError(
                    f"{shown(path)}: the model gives an embedding that is not finite at {start:g} s; are its weights whole?"
                )
            rows.setdefault(path, []).append((start, seconds, embedding.copy(), bool(np.max(np.abs(clip)) < io.SILENCE)))
        batch.clear()
        yield from finish()

    def finish() -> Iterator[tuple[Path, Entry]]:
        for path in closed:
            starts, seconds, embeddings, silent = zip(*rows.pop(path), strict=True)
            yield Path(path), Entry(np.stack(embeddings), np.array(starts), np.array(seconds), all(silent))
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
            batch.append((path, value.start, value.seconds, value.samples))
            if len(batch) == batch_size:
                yield from run()
    if batch:
        yield from run()


def read_windows(
    starts: Mapping[Path, float], *, sample_rate: int, samples: int, padding: lengths.Short, timeout: float = 20.0
) -> Float[np.ndarray, "m n"]:
    """One window of each file, from the second at which it should begin.

    Raises:
      AudioFileError: a file can no longer be read.
    """
    begin = {str(path): start for path, start in starts.items()}
    options = io.DecodeOptions(sample_rate=sample_rate, seconds=samples / sample_rate)
    windows = []
    for path, clip in decode_files(begin, options, timeout=timeout, decoder=functools.partial(_decode_at, starts=begin)):
        if isinstance(clip, BadAudio):
            raise AudioFileError(path, clip.reason, clip.detail)
        windows.append(lengths.fit(clip.samples, samples, short=padding))
    return np.stack(windows)


def _decode_at(path: str, options: io.DecodeOptions, *, starts: Mapping[str, float]) -> io.Clip:
    return io.decode(path, dataclasses.replace(options, start=starts[path]))
