"""Lists in CSV and TSV files: AudioCaps' own, one caption a row, Clotho's with five captions a row, a folder's metadata.csv."""

import contextlib
import csv
import io
from collections.abc import Iterator
from typing import Any

from audiojax.data.layouts.clips import Fault
from audiojax.data.layouts.files import Files
from audiojax.data.layouts.published import split_of
from audiojax.data.layouts.records import Fields, Listing, Row, listing, row_of
from audiojax.data.layouts.text import decode_text

DELIMITERS = (",", "\t", ";", "|")


def read_tables(files: Files, set_name: str) -> Iterator[Listing]:
    """A listing of every CSV and TSV file whose header names captions and sounds; other tables are passed over.

    Args:
      set_name: of lists that do not say themselves whose they are.
    """
    for path in files.of("table"):
        try:
            text, remark = decode_text(files.read(path))
        except (OSError, ValueError) as error:
            yield Listing(path, "CSV", "", (), (Fault("bad_list", path, str(error)),))
            continue
        reader, header, fields = open_table(text)
        if fields is None:
            continue
        owner = fields.set_of(path, set_name)
        layout = f"CSV, {len(fields.captions)} captions a row" if len(fields.captions) > 1 else "CSV, one caption a row"
        yield listing(path, layout, owner, _rows(reader, header, fields, path, split_of(path, owner), owner), remark)


def open_table(text: str, *, keyed: bool = False) -> tuple[Any, list[str], Fields | None]:
    """(reader behind the header, header, its fields) with the delimiter that gives a header with known names; fields None without one.

    Args:
      keyed: whether a column with the number of a caption may name the clip, where none names its sound.
    """
    for delimiter in DELIMITERS:
        reader = csv.reader(io.StringIO(text.replace("\0", ""), newline=""), delimiter=delimiter)
        with contextlib.suppress(csv.Error):
            header = next(reader, [])
            if (fields := Fields.among(header, keyed=keyed)) is not None:
                return reader, header, fields
    return None, [], None


def records(reader: Any, header: list[str], path: str) -> Iterator[tuple[str, dict[str, str]] | Fault]:
    """("path:line", the cells of a row by column) for every row behind the header; a fault for one with other cells than the header."""
    line = reader.line_num + 1
    try:
        for cells in reader:
            where, line = f"{path}:{line}", reader.line_num + 1
            if len(cells) == len(header):
                yield where, dict(zip(header, cells, strict=True))
            elif cells:
                yield Fault("bad_row", where, f"{len(cells)} cells; the header has {len(header)}")
    except csv.Error as error:
        yield Fault("bad_list", f"{path}:{reader.line_num}", f"{error}; the rows from here on are lost")


def _rows(reader: Any, header: list[str], fields: Fields, path: str, split: str, set_name: str) -> Iterator[Row | Fault]:
    for found in records(reader, header, path):
        yield found if isinstance(found, Fault) else row_of(found[1], fields, found[0], split, set_name)
