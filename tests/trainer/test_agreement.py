"""Processes that fail in different ways all raise; memory, files and rights are told from damage."""

import errno

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from audiojax.errors import UsageError
from audiojax.trainer.agreement import KINDS, Damaged, OutOfReach, from_first, together


def failing(error):
    def call():
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), OutOfReach),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes"), OutOfReach),
        *((OSError(number, "no"), OutOfReach) for number in (errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.EACCES, errno.EIO)),
        (ValueError("PERMISSION_DENIED: Error opening local file"), OutOfReach),
        (ValueError("UNKNOWN: Error reading [OS error 24: EMFILE Too many open files]"), OutOfReach),
        (ExceptionGroup("reads", [ValueError("a"), MemoryError()]), OutOfReach),
        (FileNotFoundError(errno.ENOENT, "No such file"), Damaged),
        (ValueError("NOT_FOUND: Error reading [OS error 2: ENOENT No such file]"), Damaged),
        (KeyError("digest"), Damaged),
        (UsageError("another config"), UsageError),
    ],
    ids=str,
)
def test_kind_of_failure(error, kind):
    with pytest.raises(kind) as caught:
        together("run/3", failing(error))
    assert type(caught.value) is kind
    assert error in (caught.value, caught.value.__cause__)


def test_what_led_to_an_error_counts():
    def call():
        try:
            raise OSError(errno.EMFILE, "Too many open files")
        except OSError as error:
            raise ValueError("cannot open the array") from error

    with pytest.raises(OutOfReach, match=r"^run/3 is out of reach \(cannot open the array\)"):
        together("run/3", call)


@pytest.mark.parametrize("other", range(4), ids=["sound", *(kind.__name__ for kind in KINDS)])
@pytest.mark.parametrize("own", range(4), ids=["sound", *(kind.__name__ for kind in KINDS)])
def test_two_processes_raise_the_same_kind(monkeypatch, own, other):
    told = []

    def gather(number):
        told.append(int(number))
        return np.array([number, other])

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(multihost_utils, "process_allgather", gather)
    call = (lambda: "value") if own == 0 else failing(KINDS[own - 1]("mine"))
    if own == other == 0:
        assert together("run/3", call) == "value"
    else:
        with pytest.raises(KINDS[max(own, other) - 1], match="mine" if own >= other else "run/3 failed on another process"):
            together("run/3", call)
    assert told == [own]  # one word to the others, however it went here


@pytest.mark.parametrize("index", [0, 1])
def test_data_of_the_first_process(monkeypatch, index):
    first = [[3, 6, 9], {"select": 0.1 + 0.2, "note": "ä"}]
    text = np.frombuffer(b'[[3, 6, 9], {"select": 0.30000000000000004, "note": "\\u00e4"}]', np.uint8)
    sent = iter([np.uint32(len(text)), text.astype(np.uint32)])  # sums of unsigned bytes come back wider
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "process_index", lambda: index)
    monkeypatch.setattr(multihost_utils, "broadcast_one_to_all", lambda x: next(sent))
    assert from_first(first if index == 0 else "something else") == first
