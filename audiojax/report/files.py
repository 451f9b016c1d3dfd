"""Files that appear whole or not at all."""

import os
from pathlib import Path

from audiojax.errors import UsageError


def write_whole(path: str | Path, text: str) -> Path:
    """Writes UTF-8 text through a partial file beside it and returns the path; its folder is made.

    Raises:
      UsageError: the place cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_text(text, encoding="utf-8")
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
    return path
