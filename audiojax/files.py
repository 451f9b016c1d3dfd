"""Files that appear whole or not at all, and file names as text. Host only, standard library alone."""

import os
import tempfile
from pathlib import Path

from audiojax.errors import UsageError


def write_whole(path: str | os.PathLike, content: str | bytes) -> Path:
    """Writes bytes, or text as UTF-8, through a partial file beside it and returns the path, "~" expanded; its folder is made.

    Raises:
      UsageError: the place cannot be written.
    """
    path = Path(path).expanduser()
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(content.encode() if isinstance(content, str) else content)
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(f"{shown(path)}: cannot be written ({error.strerror}); choose another place") from error
    return path


def make_folder(folder: Path) -> None:
    """Makes a folder where it is missing, and in it a file that is gone at once. OSError where nothing can be written there."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        return


def shown(path: str | os.PathLike) -> str:
    r"""The path as text that can be printed and stored: a file name is bytes, and those that are not UTF-8 become "\xfc"."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
