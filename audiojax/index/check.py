"""Every byte of an index beside the checksums that it was stored with: what a disk or a copy has changed is found and named."""

import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from audiojax.index.store import Part, Stored, damaged, read_index
from audiojax.progress import counting_bar

CHUNK = 2**20  # bytes read at a time


def check_index(folder: str | os.PathLike, *, progress: bool = False) -> Stored:
    """The index in a folder, after all of it was read; files without a checksum, of an older audiojax, are taken as they are.

    Args:
      progress: show a bar on stderr.

    Raises:
      UsageError: there is no index.
      AudiojaxError: a file of it is missing or damaged; says which.
    """
    while True:
        stored = read_index(folder)
        try:
            check_parts(stored.folder, stored.parts, progress=progress)
            return stored
        except FileNotFoundError:  # a running update has replaced the file
            continue


def check_parts(folder: Path, parts: Sequence[Part], *, progress: bool = False) -> None:
    """AudiojaxError where a file of an index holds other bytes than were stored; FileNotFoundError where it is gone."""
    summed = [part for part in parts if part.crc32 is not None]
    with counting_bar("MiB", progress) as bar:
        line = bar.add_task("checking", total=sum(part.bytes for part in summed) / 2**20)
        for part in summed:
            path = folder / part.name
            try:
                found = _crc32(path, lambda read: bar.advance(line, read / 2**20))
            except FileNotFoundError:
                raise
            except OSError as error:
                damaged(path, f"cannot be read ({error.strerror})")
            if found != part.crc32:
                damaged(path, f"its CRC-32 is {found:08x} and was {part.crc32:08x}")


def _crc32(path: Path, advance: Callable[[int], None]) -> int:
    found = 0
    with open(path, "rb") as file:
        while data := file.read(CHUNK):
            found = zlib.crc32(data, found)
            advance(len(data))
    return found
