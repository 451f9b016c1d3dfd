"""Checkpoints of torch.save, zip and legacy, read without torch: `torch_child.py` says what lies where. Host only, no jax.

What the child says is checked against the file here: a number from a file is not trusted because another process has seen it too.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

from audiojax.errors import AudiojaxError
from audiojax.pretrained.stored import DTYPES, Stored, refused, within

CHILD = Path(__file__).with_name("torch_child.py")
WALL_SECONDS = 120.0  # far beyond its limit of processor time: for a machine that is busy
PASSED_ON = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # without which some Pythons do not start
SAFER = "download it again, or if you trust it open it with torch and save only its state dict"


class LeftOut:
    """What is neither a tensor nor plain data."""


def read_torch(path: Path, file: BinaryIO, size: int) -> tuple[str, Any]:
    """The format of a torch checkpoint of `size` bytes, and what was saved: dictionaries and lists of `Stored`, plain values and `LeftOut`.

    Raises:
      WeightFileError: it is damaged, or asks for what weights do not need.
      AudiojaxError: the child process cannot be started.
    """
    said = _ask_child(path, file)
    if "refused" in said:
        raise refused(path, said["refused"], SAFER)
    tensors = []
    for dtype, key, first, elements, offset, shape, strides in said["tensors"]:
        start, count = said["storages"][key]
        item = DTYPES[dtype].itemsize
        try:
            if start < 0 or start + count > size or (first + elements) * item > count:
                raise ValueError("lies outside of the file")
            tensors.append(within(DTYPES[dtype], tuple(shape), tuple(strides), start + (first + offset) * item, elements - offset))
        except ValueError as error:
            raise refused(path, f"is damaged: a tensor {error}", SAFER) from error
    return said["format"], _decoded(said["tree"], tensors)


def _ask_child(path: Path, file: BinaryIO) -> dict[str, Any]:
    """The child's answer. It has the open file as its input and nothing else: no path, no settings, no package outside of the library."""
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    command = [sys.executable, "-I", "-S", "-B", os.fspath(CHILD)]
    try:
        done = subprocess.run(command, stdin=file, capture_output=True, env=environment, cwd="/", timeout=WALL_SECONDS)
    except subprocess.TimeoutExpired:
        raise refused(path, f"took more than {WALL_SECONDS:g} s to be looked through", SAFER) from None
    except OSError as error:
        raise AudiojaxError(f"cannot start a child process to read {path.name} ({error.strerror}); free memory or processes") from error
    if done.returncode == 0:
        return json.loads(done.stdout)
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        raise refused(path, "took too much time or memory to be looked through", SAFER)
    if done.returncode < 0:
        raise refused(path, f"ended the process that looked through it (signal {-done.returncode})", SAFER)
    last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    raise AudiojaxError(f"{sys.executable} {CHILD.name} fails on this machine ({last[0][:200]}); run audiojax doctor")


def _decoded(node: Any, tensors: list[Stored]) -> Any:
    """The tree from its JSON, where every object is one of three tags."""
    if isinstance(node, list):
        return [_decoded(item, tensors) for item in node]
    if not isinstance(node, dict):
        return node
    if "dict" in node:
        return {key: _decoded(value, tensors) for key, value in node["dict"]}
    return tensors[node["tensor"]] if "tensor" in node else LeftOut()
