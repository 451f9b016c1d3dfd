"""The child process behind `audiojax.audio.pool`: runs one function on one item after another and sends back what it yields.

Started as `python -m audiojax.audio.worker FD` with one end of a socket pair. It imports neither jax nor the caller's main module.
"""

import contextlib
import os
import resource
import sys
from multiprocessing.connection import Connection
from typing import Any

from audiojax.audio.io import warm_up
from audiojax.audio.reasons import AudioFileError, BadAudio, Reason

MEMORY_LIMIT = 4 * 2**30  # bytes of address space: a header that asks for more is out_of_memory, not the end of the machine

STARTED, PAYLOAD, DONE, BAD = "started", "payload", "done", "bad"


def serve(connection: Connection) -> None:
    """Answers (function, item) messages until the other end closes; str(item) says where the item lies.

    For each: STARTED, a PAYLOAD per value that function(item) yields, then DONE, or BAD with a `BadAudio`. Whatever an item makes the
    function raise is an answer, and the next one is unharmed.
    """
    warm_up()
    with contextlib.suppress(ValueError, OSError):  # a tighter limit is in force, or the system has none
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, resource.getrlimit(resource.RLIMIT_AS)[1]))
    _silence()
    while True:
        try:
            function, item = connection.recv()
        except EOFError:
            return
        connection.send((STARTED, None))
        try:
            for payload in function(item):
                connection.send((PAYLOAD, payload))
            answer: tuple[str, Any] = (DONE, None)
        except (BrokenPipeError, ConnectionResetError):
            return
        except Exception as error:  # decoders raise what they like
            answer = (BAD, why_not(error, str(item)))
        connection.send(answer)


def why_not(error: Exception, path: str) -> BadAudio:
    """What an error says about the sound at `path` whose decoding raised it."""
    if isinstance(error, AudioFileError):
        return error.bad
    if isinstance(error, MemoryError):
        return BadAudio(path, Reason.OUT_OF_MEMORY, f"decoding asks for more than {MEMORY_LIMIT // 2**30} GiB")
    return BadAudio(path, Reason.UNDECODABLE, f"{type(error).__name__}: {error}")


def _silence() -> None:
    """Decoders written in C print about every damaged frame; their words go nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        serve(Connection(int(sys.argv[1])))
