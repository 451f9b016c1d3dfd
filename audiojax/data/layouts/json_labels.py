"""Lists in JSON and JSONL files: WavCaps' {"data": [...]}, bare arrays of objects, manifests with one object a line."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from audiojax.data.layouts.clips import Fault
from audiojax.data.layouts.files import Files
from audiojax.data.layouts.published import set_word, wavcaps_part
from audiojax.data.layouts.records import Fields, Listing, listing
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


def _read(files: Files, path: str, set_name: str, layout: str, parse: Any) -> Iterator[Listing]:
    try:
        text, remark = decode_text(files.read(path))
        records, faults = parse(path, text)
    except (OSError, ValueError) as error:
        yield Listing(path, layout, "", (), (Fault("bad_list", path, str(error)),))
        return
    fields = Fields.among(dict.fromkeys(key for _, record in records for key in record))
    if fields is None:
        return
    set_name = set_word(path) or ("audiocaps" if fields.youtube or fields.key else set_name)
    split = wavcaps_part(path) if set_name == "wavcaps" else ""
    made = listing(path, layout, set_name, records, fields, split=split)
    notes = (Fault("encoding", path, remark),) if remark else ()
    yield replace(made, faults=(*made.faults, *faults), notes=notes)


def _items(path: str, text: str) -> tuple[list[tuple[str, dict]], list[Fault]]:
    value = parse_json(text)
    if isinstance(value, dict):
        value = next((value[key] for key in ITEMS if isinstance(value.get(key), list)), None)
    if not isinstance(value, list) or not any(isinstance(item, dict) for item in value):
        return [], []
    numbered = [(f"{path} [{number}]", item) for number, item in enumerate(value)]
    faults = [Fault("bad_row", where, "not an object") for where, item in numbered if not isinstance(item, dict)]
    return [(where, item) for where, item in numbered if isinstance(item, dict)], faults


def _lines(path: str, text: str) -> tuple[list[tuple[str, dict]], list[Fault]]:
    records, faults = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            value = parse_json(line)
        except ValueError as error:
            faults.append(Fault("bad_row", where, str(error)))
            continue
        if isinstance(value, dict):
            records.append((where, value))
        else:
            faults.append(Fault("bad_row", where, "not an object"))
    return records, faults
