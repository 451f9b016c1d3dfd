"""Paths of files that kill or hang the child process that decodes them; the children import them from here."""

import os
import sys
import time
from pathlib import PosixPath, PurePath


class FatalPath(PosixPath):
    """Harmless but in a child of `audiojax.audio.pool`: there "abort" in its name ends the process, "hang" stops it."""

    def __fspath__(self) -> str:
        if PurePath(sys.argv[0]).name == "worker.py":
            if "abort" in self.name:
                os.abort()
            time.sleep(3600)
        return str(self)
