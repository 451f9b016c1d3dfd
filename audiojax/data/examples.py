"""What the pipeline reads: records by number, the examples that clips with their captions make, and what sources keep or leave out.

A source of records has a length, `source[i]` and, where it can tell it without reading the sound, `facts(i)`: the rest of the record.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from audiojax.errors import UsageError


class ExampleSource:
    """Random access to {"record", "clip_index", "caption"}; caption is a number, None = draw one, -1 = all."""

    def __init__(self, source: Any, mode: str, starts: np.ndarray, captions: int | None) -> None:
        self.source, self.mode, self.starts, self.captions = source, mode, starts, captions

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __repr__(self) -> str:  # Grain checkpoints compare this text
        return f"ExampleSource({self.mode}, {len(self)} examples of {self.source!r})"

    def __getitem__(self, index: int) -> dict[str, Any]:
        clip = int(np.searchsorted(self.starts, index, side="right")) - 1
        record = self.source[clip]
        found = len(record["captions"])
        if found == 0 or (self.captions is not None and self.mode != "random" and found != self.captions):
            raise UsageError(f"clip '{record['id']}' has {found} captions, {self.captions or 'at least one'} expected (data.captions)")
        caption = {"pairs": index - int(self.starts[clip]), "random": None, "clips": -1}[self.mode]
        return {"record": record, "clip_index": clip, "caption": caption}


def example_source(source: Any, mode: str, captions: int | None = None) -> ExampleSource:
    """The (clip, caption) examples of a source of records.

    Args:
      mode: "pairs" | "random" | "clips".
      captions: of each clip; None = counted.
    """
    if mode not in ("pairs", "random", "clips"):
        raise UsageError(f"data mode '{mode}': takes pairs, random or clips")
    if len(source) == 0:
        raise UsageError("the data source is empty")
    if mode == "pairs":
        counts = np.full(len(source), captions) if captions else np.array([len(captions_of(source, i)) for i in range(len(source))])
    else:
        counts = np.ones(len(source), np.int64)
    return ExampleSource(source, mode, np.concatenate([[0], np.cumsum(counts)]), captions)


def captions_of_each(source: Any) -> int:
    """How many captions every clip of a source has; reads the source once, unless it has `facts(i)`.

    Raises:
      UsageError: not all have equally many; it names how many have which number, and some of them.
    """
    clips: dict[int, list[int]] = {}
    for clip in range(len(source)):
        clips.setdefault(len(captions_of(source, clip)), []).append(clip)
    if len(clips) > 1:
        found = sorted(clips.items(), key=lambda item: (-len(item[1]), item[0]))
        told = [f"{len(some)} {'have' if len(some) > 1 else 'has'} {count} ({_ids(source, some)})" for count, some in found[:4]]
        told += ["others have other numbers"] if len(found) > 4 else []
        raise UsageError(f"evaluation needs equally many captions for each clip of a split; of these {len(source)} clips {', '.join(told)}")
    return next(iter(clips), 0)


def _ids(source: Any, clips: Sequence[int], most: int = 3) -> str:
    ids = ", ".join(f"'{facts_of(source, clip).get('id', clip)}'" for clip in clips[:most])
    return ids + (", ..." if len(clips) > most else "")


def captions_of(source: Any, index: int) -> Sequence[str]:
    """The captions of one clip, without its sound where the source can tell them so."""
    return facts_of(source, index)["captions"]


def facts_of(source: Any, index: int) -> Mapping[str, Any]:
    """What the record of one clip says: "id", "captions", "scene", as far as the source has them; without its sound where it can."""
    return source.facts(index) if callable(getattr(source, "facts", None)) else source[index]


class MemorySource:
    """A source that keeps the records it has read; for sets whose int16 clips fit in memory."""

    def __init__(self, source: Any) -> None:
        self.source = source
        self.records: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Any:
        record = self.records.get(index)
        if record is None:
            record = self.records[index] = self.source[index]
        return record

    def facts(self, index: int) -> Mapping[str, Any]:
        """What one record says; it is kept only where the source has no other way to tell."""
        return self[index] if index in self.records or not callable(getattr(self.source, "facts", None)) else self.source.facts(index)

    def identity(self) -> str:
        """Of the source."""
        return self.source.identity()

    def __repr__(self) -> str:  # Grain checkpoints compare this text
        return f"MemorySource({self.source!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {"source": self.source, "records": {}}  # a worker process fills its own


class CaptionSource:
    """A source for models of text: its records are {"captions"} alone, and no sound is read where the source can tell captions without."""

    def __init__(self, source: Any) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Any:
        return {"captions": captions_of(self.source, index)}

    def identity(self) -> str:
        """Of the source."""
        return self.source.identity()

    def __repr__(self) -> str:  # Grain checkpoints compare this text
        return f"CaptionSource({self.source!r})"
