"""Lists in JSON and JSONL files: WavCaps' {"data": [...]}, bare arrays of objects, manifests with one object a line."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from audiojax.data.layouts.clips import Fault
from audiojax.data.layouts.files import Files
from audiojax.data.layouts.published import split_of
from audiojax.data.layouts.records import Fields, Listing, listing, row_of
from audiojax.data.layouts.text import decode_text

ITEMS = ("data", "annotations", "samples", "items")


def read_json_lists(files: Files, set_name: str) -> Iterator[Listing]:
    """A listing of every .json file with an array of captioned objects, and of every .jsonl file; other JSON is passed over.

    Args:
      set_name: of lists that do not say themselves whose they are.
    """
    for path in files.of("json"):
        yield from _read(files, path, set_name, "JSON list", _items)
    for path in files.of("jsonl"):
        yield from _read(files, path, set_name, "JSONL manifest", _lines)


def parse_json(text: str) -> Any:
    """The value of a JSON text. ValueError where it is none, or nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _read(files: Files, path: str, set_name: str, layout: str, parse: Callable[[str], Iterator[tuple[str, Any]]]) -> Iterator[Listing]:
    try:
        text, remark = decode_text(files.read(path))
        records = list(parse(text))
    except (OSError, ValueError) as error:
        yield Listing(path, layout, "", (), (Fault("bad_list", path, str(error)),))
        return
    fields = Fields.among(dict.fromkeys(key for _, record in records if isinstance(record, dict) for key in record))
    if fields is None:
        return
    owner = fields.set_of(path, set_name)
    split = split_of(path, owner)
    found = (
        row_of(record, fields, path + where, split, owner)
        if isinstance(record, dict)
        else Fault("bad_row", path + where, str(record) if isinstance(record, ValueError) else "not an object")
        for where, record in records
    )
    yield listing(path, layout, owner, found, remark)


def _items(text: str) -> Iterator[tuple[str, Any]]:
    """(" [number]", item) of the array that a JSON text is or holds; nothing where it holds none."""
    value = parse_json(text)
    if isinstance(value, dict):
        value = next((value[key] for key in ITEMS if isinstance(value.get(key), list)), None)
    for number, item in enumerate(value if isinstance(value, list) else ()):
        yield f" [{number}]", item


def _lines(text: str) -> Iterator[tuple[str, Any]]:
    """(":number", value or why it is none) of the lines that are not empty."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield f":{number}", parse_json(line)
            except ValueError as error:
                yield f":{number}", error
