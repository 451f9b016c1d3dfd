"""What every model that describes sounds has in common: files become windows, windows become captions, a batch of one shape at a time."""

import contextlib
import hashlib
import itertools
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt32

from audiojax.audio import io, lengths
from audiojax.audio.pool import Window, window_files
from audiojax.audio.reasons import AudioFileError, BadAudio, Reason, ReasonCounter
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.progress import counting_bar

CAPTION_BATCH = 16  # windows described at a time, at least one a device
WINDOW_TIMEOUT = 20.0  # seconds that decoding one window may take


class Described(NamedTuple):
    """What a model says about one window: the text, its confidence in [0, 1], and the tokens it is made of."""

    text: str
    confidence: float
    tokens: int


@dataclass(frozen=True)
class Caption:
    """One caption of a window of a file.

    Attributes:
      path: the file.
      start, end: seconds at which the window begins and the sound in it ends.
      candidate: number of the caption among those of the window, from 0.
      text: the caption.
      confidence: of the model in its words, in [0, 1].
      digest: hash of the window's samples: whether a caption still belongs to its file.
    """

    path: Path
    start: float
    end: float
    candidate: int
    text: str
    confidence: float
    digest: str


@dataclass(frozen=True, eq=False)
class Row:
    """A caption to be written: any key that says for what, the sound, as long as it is, and the number that alone decides chance."""

    key: Hashable
    sound: Float[np.ndarray, " n"]
    seed: int


class Captioner(ABC):
    """Describes sound files; a model adds `model_id`, `defaults`, `example` and `caption_batch`.

    Attributes:
      model_id: hash of the weights and the config.
      defaults: the options that this model takes, with the values that it was evaluated with.
      config: of the run, as plain dicts.
      card: what training reported.
      sample_rate: Hz of the sounds that `example` takes.
      samples: of a window, the longest sound that is described at once.
      padding: of shorter sounds, see `audiojax.audio.lengths.fit`.
      devices: that a batch is spread over.
      source: where the model comes from.
      parameters: how many numbers it has learned.
    """

    model_id: str
    parameters: int
    defaults: Mapping[str, Any]
    config: Mapping[str, Any]
    card: Mapping[str, Any]

    def __init__(self, sample_rate: int, samples: int, padding: lengths.Short, devices: int, source: str = ""):
        self.sample_rate, self.samples, self.padding, self.devices, self.source = sample_rate, samples, padding, devices, source

    @property
    def seconds(self) -> float:
        """Length of a window."""
        return self.samples / self.sample_rate

    @abstractmethod
    def example(self, sound: Float[np.ndarray, " n"]) -> dict[str, np.ndarray]:
        """A sound in [-1, 1] of any length as the model hears it, in arrays of fixed shapes; what is beyond `samples` is not heard."""

    @abstractmethod
    def caption_batch(
        self, batch: Mapping[str, np.ndarray], seeds: UInt32[np.ndarray, " b"], options: Mapping[str, Any]
    ) -> list[Described]:
        """Captions of stacked examples; row i depends on example i, seed i and the options alone.

        Args:
          options: what `options` gives.
        """

    def options(self, **chosen: Any) -> dict[str, Any]:
        """All options: those that are chosen, the model's own for those that are None or left out.

        Raises:
          UsageError: the model does not take one of them.
        """
        given = {name: value for name, value in chosen.items() if value is not None}
        if unknown := [name for name in given if name not in self.defaults]:
            raise UsageError(
                f"{unknown[0].replace('_', '-')}: {shown(self.source) or 'this model'} does not take it; it takes "
                + ", ".join(name.replace("_", "-") for name in self.defaults)
            )
        return {**self.defaults, **given}

    def draws(self, options: Mapping[str, Any]) -> bool:
        """Whether chance has a part in the captions, so that candidates differ."""
        return True

    def require_candidates(self, candidates: int, options: Mapping[str, Any]) -> None:
        """Raises UsageError for a number of candidates that makes no sense."""
        if candidates < 1:
            raise UsageError(f"candidates = {candidates}: ask for at least one caption of a sound")
        if candidates > 1 and not self.draws(options):
            raise UsageError(
                f"candidates = {candidates}: nothing is drawn with these options, so all would be the same; set temperature or top-p"
            )

    def batch_rows(self, batch_size: int | None = None, rows: int | None = None) -> int:
        """Rows of a batch, a multiple of the devices: the size asked for, or the usual one, or as many as `rows` in all make necessary.

        These go in the smallest power of two that holds them: a single file does not cost as much as a full batch.
        """
        wanted = batch_size or CAPTION_BATCH
        if rows is not None:
            wanted = min(wanted, 1 << max(0, rows - 1).bit_length())
        return -(-wanted // self.devices) * self.devices

    def caption(
        self,
        paths: Sequence[str | os.PathLike],
        *,
        candidates: int = 1,
        seed: int = 0,
        batch_size: int | None = None,
        tally: ReasonCounter | None = None,
        progress: bool = False,
        **options: Any,
    ) -> list[Caption]:
        """The captions of sound files, by file, time and candidate; a long file has captions for each window.

        Args:
          paths: the files.
          candidates: captions of each window, drawn independently.
          seed: decides all that is drawn.
          batch_size: windows described at a time.
          tally: counts and names files that cannot be used, which are then left out; None raises at the first one.
          progress: show a bar on stderr.
          options: of the model, see `defaults`.

        Raises:
          UsageError: an option that the model does not take, or a number below 1.
          AudioFileError: a file cannot be used, and there is no tally.
        """
        files = [Path(path).expanduser() for path in paths]
        found: dict[Path, list[Caption]] = {}
        with counting_bar("files", progress) as bar:
            task = bar.add_task("describing", total=len(files))
            for path, value in caption_files(
                self, files, candidates=candidates, seed=seed, options=self.options(**options), batch_size=batch_size
            ):
                if isinstance(value, Caption):
                    found.setdefault(path, []).append(value)
                    continue
                bar.advance(task)
                if isinstance(value, BadAudio):  # a file counts whole or not at all
                    found.pop(path, None)
                    if tally is None:
                        raise AudioFileError(path, value.reason, value.detail)
                if tally is not None:
                    tally.add(value)
        return [caption for captions in found.values() for caption in captions]


def caption_files(
    captioner: Captioner,
    paths: Iterable[Path],
    *,
    candidates: int,
    seed: int,
    options: Mapping[str, Any],
    batch_size: int | None = None,
    known: Mapping[tuple[str, float], Sequence[Caption]] | None = None,
    workers: int | None = None,
    timeout: float = WINDOW_TIMEOUT,
) -> Iterator[tuple[Path, Caption | BadAudio | None]]:
    """The captions of every file in order: (path, caption) for each, then (path, None), or (path, reason) for one that cannot be used.

    A reason after some captions means that the fault lies later in the file. Windows without sound are left out; a file that has no
    others is `silent`.

    Args:
      known: (path as `shown`, second) -> captions that there are already; those of the same samples come back, whatever their number, and
        are not written again.
      workers, timeout: see `window_files`.

    Raises:
      UsageError: as `Captioner.require_candidates`.
    """
    captioner.require_candidates(candidates, options)
    ready: deque[tuple[int, Path, Caption | BadAudio | None]] = deque()  # with the number of rows that must be written before
    asked = 0

    def rows() -> Iterator[Row]:
        nonlocal asked
        heard = 0  # windows with sound of the file that is being read
        for name, value in events:
            path = Path(name)
            if not isinstance(value, Window):
                silent = value is None and not heard
                ready.append((asked, path, BadAudio(name, Reason.SILENT, "nothing is heard in it") if silent else value))
                heard = 0
            elif np.max(np.abs(value.samples)) >= io.SILENCE:
                heard += 1
                sound = value.samples[: round(value.seconds * captioner.sample_rate)]  # padding is the model's own affair
                digest = sound_digest(sound)
                there = [caption for caption in (known or {}).get((shown(path), value.start), ()) if caption.digest == digest]
                ready.extend((asked, path, replace(caption, path=path)) for caption in there)
                for candidate in sorted({*range(candidates)} - {caption.candidate for caption in there}):
                    asked += 1
                    key = (path, value.start, value.start + value.seconds, candidate, digest)
                    yield Row(key, sound, row_seed(digest, seed, candidate))

    decoding = io.DecodeOptions(sample_rate=captioner.sample_rate)
    events = window_files(map(str, paths), decoding, seconds=captioner.seconds, short=captioner.padding, workers=workers, timeout=timeout)
    with contextlib.closing(events):
        for number, (row, said) in enumerate(describe_rows(captioner, rows(), options, batch_size)):
            while ready and ready[0][0] <= number:
                yield ready.popleft()[1:]
            path, start, end, candidate, digest = row.key
            yield path, Caption(path, start, end, candidate, said.text, said.confidence, digest)
    yield from (event[1:] for event in ready)


def describe_rows(
    captioner: Captioner, rows: Iterable[Row], options: Mapping[str, Any], batch_size: int | None = None
) -> Iterator[tuple[Row, Described]]:
    """(row, what the model says) in order, in batches of one shape, so that one program is compiled."""
    waiting = iter(rows)
    first = list(itertools.islice(waiting, captioner.batch_rows(batch_size)))
    size = captioner.batch_rows(batch_size, len(first))
    waiting = itertools.chain(first, waiting)
    while batch := list(itertools.islice(waiting, size)):
        examples = [captioner.example(row.sound) for row in batch]
        examples += examples[:1] * (size - len(batch))
        seeds = np.array([row.seed for row in batch] + [0] * (size - len(batch)), np.uint32)
        stacked = {name: np.stack([example[name] for example in examples]) for name in examples[0]}
        yield from zip(batch, captioner.caption_batch(stacked, seeds, options), strict=False)


def sound_digest(sound: Float[np.ndarray, " n"]) -> str:
    """Hash of samples, 16 hexadecimal digits."""
    return hashlib.blake2b(np.ascontiguousarray(sound, np.float32).tobytes(), digest_size=8).hexdigest()


def row_seed(digest: str, seed: int, candidate: int) -> int:
    """The 32-bit number that decides a caption: from what is heard, so that renaming, moving or repacking a sound changes nothing."""
    return int.from_bytes(hashlib.blake2b(f"{digest}/{seed}/{candidate}".encode(), digest_size=4).digest(), "big")
