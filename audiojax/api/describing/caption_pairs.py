"""Two tables of captions, a system's and people's, brought together clip by clip; whatever does not fit together is named and counted."""

import os
import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audiojax.data.layouts.clips import Fault
from audiojax.data.layouts.published import set_word, split_of
from audiojax.data.layouts.records import Row, row_of
from audiojax.data.layouts.tables import open_table, records
from audiojax.data.layouts.text import clean_text, decode_text
from audiojax.errors import UsageError
from audiojax.files import shown

CANDIDATE = "candidate"
WORDS = {  # what is wrong -> how it is counted
    "bad_list": "lists broken off",
    "bad_row": "rows that cannot be read",
    "duplicate_id": "second captions of a clip, without a column 'candidate'",
    "empty_caption": "empty captions",
    "missing": "clips without a caption",
    "unknown": "captions of clips without references",
}
NAMED = 3  # of each kind in a message


@dataclass(frozen=True)
class Pairs:
    """The clips that both tables have, in the order of the references.

    Attributes:
      ids: of the references.
      candidates: the system's captions of each clip, the one to be scored first; an empty one is "".
      references: people's captions of each clip, none empty.
      names: what the tables call the sound file of each clip, the likeliest first.
      faults: all that was left out, or is empty.
    """

    ids: Sequence[str]
    candidates: Sequence[Sequence[str]]
    references: Sequence[Sequence[str]]
    names: Sequence[Sequence[str]]
    faults: Sequence[Fault]

    def summary(self) -> str:
        """What is wrong, on one line: how often, and the first of each kind; "" where nothing is."""
        parts = []
        for kind, count in Counter(fault.kind for fault in self.faults).items():
            named = [shown(fault.where) for fault in self.faults if fault.kind == kind][:NAMED]
            parts.append(f"{count} {WORDS[kind]} ({', '.join(named)}{', ...' if count > len(named) else ''})")
        return "; ".join(parts)


@dataclass(frozen=True)
class _Table:
    """The rows of a file as (row, number of the candidate, "" without one), and those that are none."""

    rows: Sequence[tuple[Row, str]]
    faults: Sequence[Fault]


def read_pairs(captions: str | os.PathLike, references: str | os.PathLike) -> Pairs:
    """The captions of two CSV or TSV files, clip by clip.

    A column names the clip (file, file_name, audio, id, youtube_id, audiocap_id, ...), others hold captions: one a row, or caption_1 to
    caption_n. Folders and extensions of file names need not agree. Of a clip's candidates the first is to be scored, or candidate 0.

    Raises:
      UsageError: a file cannot be read, has no such columns, or both have no clip in common.
    """
    wanted_path, said_path = Path(references).expanduser(), Path(captions).expanduser()
    wanted_text, said_text = _text(wanted_path), _text(said_path)
    owner = _owner(wanted_path, wanted_text) or _owner(said_path, said_text)
    wanted, said = _read(wanted_path, wanted_text, owner), _read(said_path, said_text, owner)
    faults = [*wanted.faults, *said.faults]
    texts: dict[str, list[str]] = {}
    for row, _ in wanted.rows:
        own = _captions(row)
        if not any(own):
            faults.append(Fault("empty_caption", row.where))
        texts.setdefault(row.id, []).extend(filter(None, own))
    texts = {name: captions for name, captions in texts.items() if captions}
    names = _Names({row.id for row, _ in wanted.rows}, {row.key: row.id for row, _ in wanted.rows if row.key})
    candidates = _candidates(said.rows, names, texts, faults)
    faults += [Fault("missing", name) for name in texts if name not in candidates]
    ids = [name for name in texts if name in candidates]
    if not ids:
        raise UsageError(f"{shown(said_path)} and {shown(wanted_path)} have no clip in common: {_first(said)} here, {_first(wanted)} there")
    called = _called([(row.id, row) for row, _ in wanted.rows] + [(names.find(row.id), row) for row, _ in said.rows])
    parts = ([table[name] for name in ids] for table in (candidates, texts, called))
    return Pairs(tuple(ids), *map(tuple, parts), tuple(faults))


def read_captions(path: str | os.PathLike) -> list[tuple[str, Sequence[str], str]]:
    """(id, what the table calls the sound file, first caption that is not empty) of each clip of one table that has a caption.

    Raises:
      UsageError: the file cannot be read, or has no such columns.
    """
    path = Path(path).expanduser()
    text = _text(path)
    rows = [row for row, _ in _read(path, text, _owner(path, text)).rows]
    names, captions = _called([(row.id, row) for row in rows]), {}
    for row in rows:
        captions[row.id] = captions.get(row.id) or _captions(row)[0]
    return [(name, names[name], caption) for name, caption in captions.items() if caption]


def _called(rows: Sequence[tuple[str | None, Row]]) -> dict[str | None, tuple[str, ...]]:
    """Clip -> the names that its rows have for its sound file, each once."""
    found: dict[str | None, dict[str, None]] = {}
    for clip, row in rows:
        found.setdefault(clip, {}).update(dict.fromkeys(row.names))
    return {clip: tuple(names) for clip, names in found.items()}


def _candidates(rows: Sequence[tuple[Row, str]], names: "_Names", texts: dict[str, list[str]], faults: list[Fault]) -> dict[str, list[str]]:
    """Clip -> its candidates in order. What does not fit goes to `faults`."""
    numbered: dict[str, dict[tuple[int, int], str]] = {}
    for row, number in rows:
        name = names.find(row.id)
        if name not in texts:
            faults.append(Fault("unknown", row.id))
            continue
        own = numbered.setdefault(name, {})
        place = int(number) if number.isdecimal() else 0
        if any(taken == place for taken, _ in own):
            faults.append(Fault("duplicate_id", row.id))
            continue
        own |= {(place, column): text for column, text in enumerate(_captions(row))}
        if not any(_captions(row)):
            faults.append(Fault("empty_caption", row.where))
    return {name: [text for _, text in sorted(own.items())] for name, own in numbered.items()}


def _captions(row: Row) -> list[str]:
    """The captions of a row without the columns that it leaves empty; [""] where it has none."""
    return [text for text in map(clean_text, row.captions) if text] or [""]


class _Names:
    """The clips of the references, under their ids, under the numbers of their rows, and by the ends of their paths."""

    def __init__(self, ids: set[str], keys: dict[str, str]):
        self._ids, self._keys = ids, keys
        self._by_last: dict[str, list[str]] = {}
        for name in ids:
            self._by_last.setdefault(posixpath.basename(name), []).append(name)

    def find(self, name: str) -> str | None:
        """The reference that a name means: the same, or the only one that is its path from another folder."""
        if name in self._ids:
            return name
        if name in self._keys:
            return self._keys[name]
        alike = [known for known in self._by_last.get(posixpath.basename(name), []) if _same_end(known, name)]
        return alike[0] if len(alike) == 1 else None


def _same_end(a: str, b: str) -> bool:
    return f"/{a}".endswith(f"/{b}") or f"/{b}".endswith(f"/{a}")


def _text(path: Path) -> str:
    try:
        return decode_text(path.read_bytes())[0]
    except OSError as error:
        raise UsageError(f"{shown(path)}: cannot be read ({error.strerror})") from error


def _owner(path: Path, text: str) -> str:
    """The published set that a table is of, whose clips have names of their own; "" where nothing says so."""
    fields = _fields(path, text)[2]
    return fields.set_of(path.name, set_word(path.name))


def _fields(path: Path, text: str) -> tuple:
    """(reader behind the header, header, its fields).

    Raises:
      UsageError: no column of captions, or none that names the clip.
    """
    reader, header, fields = open_table(text, keyed=True)
    if fields is None:
        raise UsageError(f"{shown(path)}: the first line must name columns: 'caption' (or caption_1, ...) and 'file' or 'id'")
    return reader, header, fields


def _read(path: Path, text: str, owner: str) -> _Table:
    reader, header, fields = _fields(path, text)
    numbers = next((name for name in header if name.strip().lower() == CANDIDATE), "")
    rows, faults = [], []
    for found in records(reader, header, path.name):
        row = found if isinstance(found, Fault) else row_of(found[1], fields, found[0], split_of(path.name, owner), owner)
        if isinstance(row, Fault):
            faults.append(row)
        else:
            rows.append((row, found[1].get(numbers, "")))
    return _Table(rows, faults)


def _first(table: _Table) -> str:
    return f"'{shown(table.rows[0][0].id)}'" if table.rows else "none"
