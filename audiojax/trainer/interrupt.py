"""SIGTERM and SIGINT as a wish that the loop grants between two steps."""

import signal
import threading
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from audiojax.errors import AudiojaxError


class RunInterrupted(AudiojaxError):
    """A run was asked to stop and saved its state. The exit code is 128 + the signal's number, as a shell would give: 143 or 130."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class Signals:
    """Catches SIGTERM and SIGINT while the context lasts (in the main thread; elsewhere it catches nothing)."""

    def __enter__(self) -> "Signals":
        self.received = 0
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: Any) -> None:
        if self.received:  # asked twice: stop now, without a save
            raise KeyboardInterrupt
        self.received = number

    def agreed(self, ask: bool) -> int:
        """The number of the signal to obey after this step, 0 for none.

        Args:
          ask: whether the processes of a run talk to each other now; they must stop after the same step, so one that is alone waits.
        """
        if jax.process_count() == 1:
            return self.received
        if not ask:
            return 0
        return int(np.max(multihost_utils.process_allgather(np.int32(self.received))))
