"""Lists in CSV and TSV files: AudioCaps' own, one caption a row, Clotho's with five captions a row, a folder's metadata.csv."""

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from audiojax.data.layouts.clips import Fault
from audiojax.data.layouts.files import Files
from audiojax.data.layouts.published import set_word
from audiojax.data.layouts.records import Fields, Listing, listing
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
        table = _read_table(path, text, set_name)
        if table is not None:
            yield table if not remark else replace(table, notes=(Fault("encoding", path, remark),))


def _read_table(path: str, text: str, set_name: str) -> Listing | None:
    for delimiter in DELIMITERS:
        reader = csv.reader(io.StringIO(text.replace("\0", ""), newline=""), delimiter=delimiter)
        header = next(islice(reader, 1), [])
        fields = Fields.among(header)
        if fields is not None:
            break
    else:
        return None
    if fields.youtube or fields.key:
        set_name = "audiocaps"
    faults: list[Fault] = []
    records = []
    line = reader.line_num + 1
    try:
        for cells in reader:
            where, line = f"{path}:{line}", reader.line_num + 1
            if len(cells) == len(header):
                records.append((where, dict(zip(header, cells, strict=True))))
            elif cells:
                faults.append(Fault("bad_row", where, f"{len(cells)} cells; the header has {len(header)}"))
    except csv.Error as error:
        faults.append(Fault("bad_list", f"{path}:{reader.line_num}", f"{error}; the rows from here on are lost"))
    layout = f"CSV, {len(fields.captions)} captions a row" if len(fields.captions) > 1 else "CSV, one caption a row"
    made = listing(path, layout, set_word(path) or set_name, records, fields)
    return replace(made, faults=(*made.faults, *faults))
