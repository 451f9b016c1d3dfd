"""Decoders that misbehave on files of certain names; the children import them from here."""

import ctypes
import os
import sys
import time

import numpy as np

from audiojax.audio import io


def misbehaving(path: str, options: io.DecodeOptions) -> io.Clip:
    """Dies, hangs, fills the memory or raises where the file's name says so; otherwise decodes."""
    name = os.path.basename(path)
    if "abort" in name:
        os.abort()
    if "segfault" in name:
        ctypes.string_at(0)
    if "exit" in name:
        os._exit(3)
    if "hang" in name:
        time.sleep(3600)
    if "memory" in name:
        np.ones(2**40)
    if "bug" in name:
        raise KeyError("no such codec")
    return io.decode(path, options)


def loaded_modules(path: str):
    """The modules of the child, and where it runs."""
    yield sorted(sys.modules), os.getpid()
