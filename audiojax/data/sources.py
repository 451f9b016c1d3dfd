"""Stored records: random access to any dataset in the builder's schema (SoundWorld or packed recordings), memory-mapped, without jax.

A record is {"audio": int16 [n] mono, "sample_rate": Hz, "id": str, "captions": list of str, "scene": JSON truth or ""}.
"""

import hashlib
import operator
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_data_source import ArrayRecordDataSource

from audiojax.data.examples import facts_of
from audiojax.errors import AudiojaxError, UsageError

FIELDS = ("audio", "sample_rate", "id", "captions", "scene")
TOLD = ("id", "captions", "scene")  # of these, what is told without the sound
DERIVED = {"datastore": "train+unseen"}  # used where the split itself is not stored


def schema() -> tfds.features.FeaturesDict:
    """Features of every stored dataset that audiojax reads."""
    return tfds.features.FeaturesDict(
        {
            "audio": tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding=tfds.features.Encoding.BYTES),
            "sample_rate": tfds.features.Scalar(np.int32),
            "id": tfds.features.Text(),
            "captions": tfds.features.Sequence(tfds.features.Text()),
            "scene": tfds.features.Text(),
        }
    )


class StoredRecords:
    """One split (or several joined by "+") of a built dataset; holds paths and an index, reads each record when asked. Picklable."""

    fields = FIELDS

    def __init__(self, folder: str | Path, split: str):
        self.folder, self.split = Path(folder), split
        self._open()

    def _open(self) -> None:
        builder = tfds.builder_from_directory(str(self.folder))
        stored = sorted(builder.info.splits)
        self._features = builder.info.features
        missing = [field for field in self.fields if field not in self._features]
        if missing:
            raise UsageError(
                f"{self.folder}: no field {missing[0]!r}; records need {', '.join(self.fields)} (see the README's data schema)"
            )
        self._told_features = tfds.features.FeaturesDict({name: self._features[name] for name in self.fields if name in TOLD})
        asked = self.split if self.split in stored else DERIVED.get(self.split, self.split)
        parts = asked.split("+")
        for part in parts:
            if part not in stored:
                raise UsageError(f"{self.folder}: no split {part!r}; it holds {', '.join(stored)}")
        paths = [str(path) for part in parts for path in builder.info.splits[part].filepaths]
        gone = [path for path in paths if not Path(path).is_file()]
        if gone:
            raise AudiojaxError(f"{gone[0]}: file of split {self.split!r} is missing; build the dataset again")
        self._records = ArrayRecordDataSource(paths)

    def __getstate__(self) -> dict:
        return {"folder": self.folder, "split": self.split}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._open()

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:  # Grain checkpoints compare this text
        return f"{type(self).__name__}({self.folder}, {self.split}, {len(self)} clips)"

    def identity(self) -> str:
        """Hash of what is stored: of the data set's description, with its shards, their sizes and what it was made from; and the split."""
        files = [self.folder / name for name in ("dataset_info.json", "metadata.json")]
        return hashlib.sha256(b"".join(file.read_bytes() for file in files if file.is_file()) + self.split.encode()).hexdigest()

    def facts(self, index: int) -> dict:
        """What one record says: "id", "captions" and, of sounds, "scene"; its audio is not decoded."""
        return _told(self._told_features.deserialize_example_np(self._stored(index)))

    def __getitem__(self, index: int) -> dict:
        raw = self._features.deserialize_example_np(self._stored(index))
        return {"audio": np.asarray(raw["audio"], np.int16), "sample_rate": int(raw["sample_rate"]), **_told(raw)}

    def _stored(self, index: int) -> bytes:
        index = operator.index(index)
        if not 0 <= index < len(self):
            raise IndexError(f"{self!r} has no record {index}")
        return self._records[index]


class StoredStates(StoredRecords):
    """What towers made of a split: {"id", "captions", "audio_...": of the clip, "text_...": [captions, ...]}."""

    fields = ("id", "captions")

    def __getitem__(self, index: int) -> dict:
        raw = self._features.deserialize_example_np(self._stored(index))
        return {**raw, **_told(raw)}


class JoinedRecords:
    """The records of several sources, one source after the other."""

    def __init__(self, sources: Sequence[Any]):
        self.sources = tuple(sources)
        self._ends = np.cumsum([len(source) for source in self.sources])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __repr__(self) -> str:  # Grain checkpoints compare this text
        return f"JoinedRecords({', '.join(map(repr, self.sources))})"

    def identity(self) -> str:
        """Of all sources, in order."""
        return " ".join(source.identity() for source in self.sources)

    def facts(self, index: int) -> Mapping[str, Any]:
        """What one record says, without its sound where the source can tell."""
        source, inner = self._place(index)
        return facts_of(source, inner)

    def __getitem__(self, index: int) -> dict:
        source, inner = self._place(index)
        return source[inner]

    def _place(self, index: int) -> tuple[Any, int]:
        index = operator.index(index)
        if not 0 <= index < len(self):
            raise IndexError(f"{self!r} has no record {index}")
        number = int(np.searchsorted(self._ends, index, side="right"))
        return self.sources[number], index - (int(self._ends[number - 1]) if number else 0)


class ExtraCaptions:
    """The records of a source with further captions after their own: sentences that a language model made of them, say."""

    def __init__(self, source: Any, extra: Mapping[str, Sequence[str]]):
        """`extra` maps ids to captions; ids that the source does not have are left out, and `matched` says how many it has."""
        self.source = source
        ids = [facts_of(source, i)["id"] for i in range(len(source))]
        self._extra = [tuple(extra.get(name, ())) for name in ids]
        self.matched = sum(map(bool, self._extra))

    def __len__(self) -> int:
        return len(self.source)

    def __repr__(self) -> str:  # Grain checkpoints compare this text
        return f"ExtraCaptions({self.source!r}, {sum(map(len, self._extra))} more)"

    def identity(self) -> str:
        """Of the source and of every caption."""
        return hashlib.sha256(repr((self.source.identity(), self._extra)).encode()).hexdigest()

    def facts(self, index: int) -> dict:
        """What one record says; its own captions come first."""
        return self._with_more(facts_of(self.source, index), index)

    def __getitem__(self, index: int) -> dict:
        return self._with_more(self.source[index], index)

    def _with_more(self, record: Mapping[str, Any], index: int) -> dict:
        return {**record, "captions": [*record["captions"], *self._extra[operator.index(index)]]}


def open_records(data_dir: str | Path, split: str) -> StoredRecords:
    """Random-access records of a split.

    Args:
      data_dir: folder of one built dataset, or a folder above it that holds no other.
      split: a stored split, several joined by "+", or `datastore` (= train + unseen).
    Raises: UsageError when the folder holds no dataset or several, or lacks the split; AudiojaxError when its files are gone.
    """
    return StoredRecords(find_dataset(data_dir), split)


def find_dataset(data_dir: str | Path) -> Path:
    """The folder at or up to three levels below `data_dir` that holds the one built dataset."""
    root = Path(data_dir).expanduser()
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder; make one with `audiojax data pack` or `audiojax data soundworld`")
    paths = [path for depth in range(4) for path in root.glob("*/" * depth + "dataset_info.json")]
    found = sorted({path.parent for path in paths if "incomplete" not in path.parent.name})
    if not found:
        raise UsageError(f"{root}: holds no built dataset; make one with `audiojax data pack` or `audiojax data soundworld`")
    if len(found) > 1:
        raise UsageError(f"{root}: holds {len(found)} datasets; name one: {', '.join(str(path.relative_to(root)) for path in found[:6])}")
    return found[0]


def _told(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a stored record that are text, those that it has."""
    return {name: _texts(raw[name]) if name == "captions" else _text(raw[name]) for name in TOLD if name in raw}


def _texts(values: Iterable[object]) -> list[str]:
    return [_text(value) for value in values]


def _text(value: object) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
