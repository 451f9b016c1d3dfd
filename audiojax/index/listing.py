"""What lies in a folder of sounds: the files by extension, and the digests of their contents."""

import errno
import hashlib
import os
import stat
from pathlib import Path

from audiojax.audio import io
from audiojax.audio.reasons import BadAudio, Reason
from audiojax.errors import UsageError
from audiojax.files import shown


def list_sounds(folder: str | os.PathLike) -> tuple[list[Path], list[BadAudio]]:
    """The sound files below a folder, by extension, sorted, and the folders in it that cannot be read.

    Hidden names are left out, links are followed and loops of links are not.

    Raises:
      UsageError: there is no such folder, it cannot be read, or no sound file is found in it.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise UsageError(f"{shown(root)}: " + ("is a file; give the folder it lies in" if root.exists() else "no such folder"))
    found: list[Path] = []
    unread: list[BadAudio] = []
    seen: set[tuple[int, int]] = set()

    def note(error: OSError) -> None:
        unread.append(BadAudio(str(error.filename), reason_of(error), f"a folder: {error.strerror}"))

    for here, folders, files in os.walk(root, onerror=note, followlinks=True):
        try:
            status = os.stat(here)
        except OSError as error:
            note(error)
            folders.clear()
            continue
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found.extend(Path(here, name) for name in files if not name.startswith(".") and name.lower().endswith(io.EXTENSIONS))
    if not found:
        closed = "".join(f"; cannot be read: {bad}" for bad in unread[:1]) + (f" and {len(unread) - 1} more" if len(unread) > 1 else "")
        raise UsageError(f"{shown(root)}: no sound file in it; looked for {' '.join(io.EXTENSIONS)}{closed}")
    return sorted(found), unread


def stamp(path: Path) -> tuple[int, int]:
    """(bytes, nanoseconds of the last change) of a file; a content is trusted to be the same while they are.

    OSError where there is none, and for pipes and devices, which may never end.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.ENODEV, "neither file nor folder")
    return status.st_size, status.st_mtime_ns


def content_digest(path: Path) -> str:
    """blake2b digest of the file's bytes, hexadecimal. OSError where it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def reason_of(error: OSError) -> Reason:
    """Why a file that the system refuses is left out."""
    if error.errno == errno.ENODEV:
        return Reason.NOT_A_FILE
    return Reason.MISSING if isinstance(error, FileNotFoundError) else Reason.UNREADABLE
