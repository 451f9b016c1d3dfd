"""What the processes of a run settle before any of them goes on: whether all of them could do a thing, and what the first one knows.

A process that failed alone and went another way would leave the others waiting for ever, so failures are exchanged as one number.
"""

import errno
import json
import re
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from audiojax.errors import AudiojaxError, UsageError

T = TypeVar("T")


class Damaged(AudiojaxError):
    """What was to be read is not what was written."""


class OutOfReach(AudiojaxError):
    """The machine lacked memory, open files, rights, a file server or a device; what was to be read may be sound."""


KINDS = (Damaged, OutOfReach, UsageError)  # of failures; where processes fail in several ways, the last counts


def together(what: str, call: Callable[[], T]) -> T:
    """What `call` returns here, once it has returned on every process; if it failed on one, every process raises the same kind of error.

    Args:
      what: is read or written by `call`: a path.
      call: should not wait for other processes, which may have failed in it.

    Raises:
      UsageError: as `call` raised it.
      OutOfReach: nothing speaks of damage.
      Damaged: everything else that `call` raised.
    """
    value = error = None
    try:
        try:
            value = call()
        except Exception as caught:
            error = _named(what, caught)
        own = kind = 0 if error is None else 1 + next(i for i, kind in enumerate(KINDS) if isinstance(error, kind))
        if jax.process_count() > 1:
            kind = int(np.max(multihost_utils.process_allgather(np.int32(kind))))
        if kind == 0:
            return value
        raise error if own == kind else KINDS[kind - 1](f"{what} failed on another process")
    finally:
        del value, error  # the traceback would keep them, and with them arrays, alive


def from_first(value: T) -> T:
    """JSON data of process 0, on every process."""
    if jax.process_count() == 1:
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    room = np.zeros(size, np.uint8)
    if jax.process_index() == 0:
        room[:] = text
    return json.loads(bytes(multihost_utils.broadcast_one_to_all(room).astype(np.uint8)))


def _named(what: str, error: Exception) -> AudiojaxError:
    """`error` as one of KINDS, with its reason in one line."""
    if isinstance(error, KINDS):
        return error
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
    if _is_lack(error):
        named = OutOfReach(
            f"{what} is out of reach ({reason}); it may be sound and is left as it is: run the command again when that has passed,"
            " or move it away to do without it"
        )
    else:
        named = Damaged(reason)
    named.__cause__ = error
    return named


def _is_lack(error: BaseException) -> bool:
    """Whether an error, or what led to it, tells of the machine and not of the bytes that were read."""
    if isinstance(error, (MemoryError, jax.errors.JaxRuntimeError)) or (isinstance(error, OSError) and error.errno in _LACKS):
        return True
    text = str(error)
    number = re.search(r"\[OS error (\d+)", text)  # what reads Orbax's files in C++ has words only
    if _LACK_WORDS.search(text) or (number and int(number[1]) in _LACKS):
        return True
    parts = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return any(_is_lack(part) for part in (*parts, error.__cause__ or error.__context__) if part is not None)


_LACKS = frozenset(
    getattr(errno, name)
    for name in (
        *("EACCES", "EPERM", "EROFS", "ENOMEM", "EMFILE", "ENFILE", "ENOSPC", "EDQUOT", "ENOLCK", "EAGAIN", "EBUSY", "EINTR", "EIO"),
        *("ESTALE", "ETIMEDOUT", "ENODEV", "ENXIO", "ENOTCONN", "ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "EPIPE"),
        *("EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENETRESET"),
    )
)
_LACK_WORDS = re.compile(
    r"^(RESOURCE_EXHAUSTED|PERMISSION_DENIED|UNAUTHENTICATED|UNAVAILABLE|DEADLINE_EXCEEDED|CANCELLED|ABORTED)\b|[Oo]ut of memory"
)
