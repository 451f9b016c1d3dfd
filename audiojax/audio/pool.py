"""Decoding in child processes, so that a file that kills or hangs its decoder costs that file and nothing else. Host only, no jax.

Children are fresh interpreters (never forks of a process that holds jax, and they do not import the caller's main module). Results come
in the order of the paths whatever the children do, and memory stays bounded: a child whose file is not yet due waits with one value in its
hands.
"""

import collections
import contextlib
import dataclasses
import functools
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from audiojax.audio import io, lengths, worker
from audiojax.audio.reasons import BadAudio, Reason
from audiojax.errors import AudiojaxError

STARTUP_SECONDS = 120.0  # a cold disk and a busy machine
START_ATTEMPTS = 3
HELD_BYTES = str(2**28)
ONE_CORE = {  # of a child's environment
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": HELD_BYTES,  # glibc otherwise gives every sound's memory back and asks for it again, page by page:
    "MALLOC_TRIM_THRESHOLD_": HELD_BYTES,  # a fifth of the time of decoding
}


@dataclasses.dataclass(frozen=True)
class Window:
    """One window of a sound.

    Attributes:
      samples: float32 [window].
      start: second of the sound at which it begins.
      seconds: of sound in it, without what a short one is padded with.
    """

    samples: Float[np.ndarray, " n"]
    start: float
    seconds: float


def decode_files(
    paths: Iterable[str | Path],
    options: io.DecodeOptions = io.AS_IT_IS,
    *,
    workers: int | None = None,
    timeout: float = 5.0,
    decoder: Callable[[str, io.DecodeOptions], io.Clip] = io.decode,
) -> Iterator[tuple[str, io.Clip | BadAudio]]:
    """(path, clip or reason) for every path, in order.

    Args:
      paths: files; read lazily, a few ahead.
      options: how files become clips.
      workers: child processes; None for one per core, at most 4.
      timeout: seconds that one file may take before its child is killed and it is named `timeout`.
      decoder: what the children run; a function of a module that they can import.
    """
    function = functools.partial(_decode_one, decoder=decoder, options=options)
    for path, payloads, bad in _gathered(run_isolated(function, map(str, paths), workers=workers, timeout=timeout)):
        yield path, bad if bad is not None else payloads[0]


def window_files(
    paths: Iterable[str | Path],
    options: io.DecodeOptions,
    *,
    seconds: float,
    hop_seconds: float | None = None,
    short: lengths.Short = "repeat",
    workers: int | None = None,
    timeout: float = 5.0,
) -> Iterator[tuple[str, Window | BadAudio | None]]:
    """The windows of every file, in order, without holding a whole sound: (path, window) for each, then (path, None) or (path, reason).

    A reason after some windows means that the fault lies later in the file; whoever wants all or nothing drops them.

    Args:
      paths: files; read lazily, a few ahead.
      options: how files are decoded; `sample_rate` must be set. `limits.max_seconds` does not apply.
      seconds: window length; sounds shorter than it are padded by `short`, as in `lengths.fit`.
      hop_seconds: between window starts; None for windows that do not overlap.
      short: "repeat", "repeat_cut" or "zero".
      workers: child processes; None for one per core, at most 4.
      timeout: seconds that one window may take.

    Raises:
      ValueError: no sample rate, or a hop that is not in (0, seconds].
    """
    if options.sample_rate is None:
        raise ValueError("windows of one length need a sample rate: set options.sample_rate")
    samples = round(seconds * options.sample_rate)
    hop = samples if hop_seconds is None else round(hop_seconds * options.sample_rate)
    if not 1 <= hop <= samples:
        raise ValueError(f"hop_seconds must lie in (0, {seconds:g}], got {hop_seconds:g}")
    function = functools.partial(_windows_of_one, options=options, samples=samples, hop=hop, short=short)
    for path, kind, value in run_isolated(function, map(str, paths), workers=workers, timeout=timeout):
        yield path, value if kind != worker.DONE else None


def run_isolated(
    function: Callable[[Any], Iterable[Any]], items: Iterable[Any], *, workers: int | None = None, timeout: float = 5.0
) -> Iterator[tuple[Any, str, Any]]:
    """(item, kind, value) for everything that function(item) yields in a child process, item by item in order.

    Kinds are worker.PAYLOAD with a yielded value, then for each item exactly one worker.DONE (None) or worker.BAD (a `BadAudio`): raised by
    the function, or `crashed_decoder` when the child died, or `timeout` when nothing came for `timeout` seconds.

    Args:
      function: picklable, importable by the children.
      items: paths as text, or anything picklable that has its place as text, str(item); read lazily, one per child ahead.
      workers: child processes; None for one per core, at most 4.
      timeout: seconds between two values.

    Raises:
      AudiojaxError: children cannot be started at all.
    """
    count = max(1, workers or min(4, os.cpu_count() or 1))
    waiting = iter(items)
    busy: collections.deque[tuple[Any, _Child]] = collections.deque()
    children: list[_Child] = []

    def assign(child: _Child | None) -> None:
        item = next(waiting, None)
        if item is None:
            return
        if child is None:
            child = _Child()
            children.append(child)
        child.ask(function, item)
        busy.append((item, child))

    try:
        for _ in range(count):
            assign(None)
        while busy:
            item, child = busy.popleft()
            for kind, value in child.answers(str(item), timeout):
                yield item, kind, value
            assign(child)
    finally:
        for child in children:
            child.stop()


class _Child:
    """One child process, restarted when it has died."""

    def __init__(self):
        self._task: tuple[Any, Any] | None = None
        self._start()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            environment = os.environ | ONE_CORE
            environment["PYTHONPATH"] = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
            command = [sys.executable, "-P", "-m", "audiojax.audio.worker", str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=(theirs.fileno(),), env=environment, stdin=subprocess.DEVNULL)
        self._connection = Connection(ours.detach())

    def ask(self, function: Any, item: Any) -> None:
        """Hands the child its next item, to be answered later."""
        self._task = (function, item)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has died: the next receive says so
            self._connection.send(self._task)

    def answers(self, path: str, timeout: float) -> Iterator[tuple[str, Any]]:
        """What the child says about the item it was asked about, which lies at `path`, ending in DONE or BAD."""
        for _ in range(START_ATTEMPTS):
            if self._wait_until_started():
                break
            self._restart()
            self.ask(*self._task)
        else:
            raise AudiojaxError("cannot start child processes that decode sound: python -m audiojax.audio.worker fails on this machine")
        while True:
            if not self._connection.poll(timeout):
                self._restart()
                yield worker.BAD, BadAudio(path, Reason.TIMEOUT, f"no progress in {timeout:g} s")
                return
            try:
                kind, value = self._connection.recv()
            except (EOFError, OSError):
                code = self._process.wait()
                self._restart()
                yield worker.BAD, BadAudio(path, Reason.CRASHED_DECODER, f"signal {-code}" if code < 0 else f"exit code {code}")
                return
            yield kind, value
            if kind != worker.PAYLOAD:
                return

    def _wait_until_started(self) -> bool:
        """Whether the child has taken up its file; not part of the file's time."""
        while self._connection.poll(STARTUP_SECONDS):
            try:
                kind, _ = self._connection.recv()
            except (EOFError, OSError):
                return False
            if kind == worker.STARTED:
                return True
        return False

    def _restart(self) -> None:
        self.stop()
        self._start()

    def stop(self) -> None:
        """Ends the child, whatever it is doing."""
        self._connection.close()
        self._process.kill()
        self._process.wait()


def _decode_one(path: str, *, decoder: Callable[[str, io.DecodeOptions], io.Clip], options: io.DecodeOptions) -> Iterator[io.Clip]:
    yield decoder(path, options)


def _windows_of_one(path: str, *, options: io.DecodeOptions, samples: int, hop: int, short: lengths.Short) -> Iterator[Window]:
    heard = 0

    def counted() -> Iterator[Float[np.ndarray, " n"]]:
        nonlocal heard
        for block in io.stream(path, options):
            heard += len(block)
            yield block

    for first, window in lengths.slide(counted(), samples, hop, short=short):
        yield Window(window, first / options.sample_rate, min(samples, heard - first) / options.sample_rate)


def _gathered(events: Iterable[tuple[Any, str, Any]]) -> Iterator[tuple[Any, list[Any], BadAudio | None]]:
    """What `run_isolated` gives, per item: its values, and its reason or None."""
    values: list[Any] = []
    for item, kind, value in events:
        if kind == worker.PAYLOAD:
            values.append(value)
            continue
        yield item, values, value if kind == worker.BAD else None
        values = []
