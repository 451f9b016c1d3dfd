"""Rows into clips: captions cleaned, sounds found, records of one clip joined, and every fault named."""

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from audiojax.data.layouts.clips import Clip, Fault, Sound
from audiojax.data.layouts.files import SoundIndex
from audiojax.data.layouts.records import Listing, Row
from audiojax.data.layouts.text import clean_text


@dataclass
class _Growing:
    """A clip whose records are still being read; `sound` is None where it was not found."""

    row: Row
    sound: Sound | None
    captions: list[str]


def gather(listings: Iterable[Listing], index: SoundIndex, meaning: Mapping[str, str]) -> tuple[tuple[Clip, ...], tuple[Fault, ...]]:
    """(clips sorted by split and id, faults in the order of the lists).

    Records of one id in one split are one clip when each brings a caption of its own; a record that repeats another is a fault.

    Args:
      index: where sounds are looked for that the rows do not bring.
      meaning: split word -> split, of `settle_splits`; other words are splits themselves.
    """
    growing: dict[tuple[str, str], _Growing] = {}
    keys: set[tuple[str, str]] = set()
    faults: list[Fault] = []
    for made in listings:
        faults += made.faults
        captioned = any(row.captions is not None for row in made.rows)
        for row in made.rows:
            split, clip_id = meaning.get(row.split, row.split), row.id
            if row.key and (split, row.key) in keys:
                faults.append(Fault("duplicate_id", row.where, f"{row.key!r} is an earlier row's"))
                continue
            if row.key:
                keys.add((split, row.key))
            if captioned and row.captions is None:
                faults.append(Fault("no_caption", row.where, f"nothing describes {clip_id!r}"))
                continue
            earlier = growing.get((split, clip_id))
            repeated = _repeats(row, earlier) if earlier else ""
            if repeated:
                faults.append(Fault(repeated, row.where, f"{clip_id!r} is already at {earlier.row.where}"))
                continue
            if earlier is None:
                sound = row.sound or index.find(row.names, split, posixpath.dirname(made.path))
                if isinstance(sound, Fault):
                    faults.append(Fault(sound.kind, row.where, sound.detail))
                earlier = growing[split, clip_id] = _Growing(row, sound if isinstance(sound, Sound) else None, [])
            for number, text in enumerate(row.captions or (), 1):
                cleaned = clean_text(text)
                if cleaned:
                    earlier.captions.append(cleaned)
                else:
                    which = f", caption {number}" if len(row.captions) > 1 else ""
                    faults.append(Fault("empty_caption", row.where, f"{clip_id!r}{which}"))
    return tuple(_clips(growing)), tuple(faults)


def _repeats(row: Row, earlier: _Growing) -> str:
    """The kind of fault that a second record of a clip is; "" where it adds a caption."""
    if row.alone or earlier.row.alone or row.captions is None:
        return "duplicate_id"
    texts = [clean_text(text) for text in row.captions]
    return "duplicate_row" if not row.key and all(text and text in earlier.captions for text in texts) else ""


def _clips(growing: Mapping[tuple[str, str], _Growing]) -> Iterable[Clip]:
    for (split, clip_id), found in sorted(growing.items(), key=lambda item: item[0]):
        if found.sound is not None and (found.captions or found.row.captions is None):
            yield Clip(clip_id, split, tuple(found.captions), found.sound, found.row.start, found.row.seconds)
