"""The sounds of an index, with their captions, as the records {"audio", "sample_rate", "id", "captions", "scene"} of a datastore."""

import hashlib
import operator
import os
from pathlib import Path
from typing import Any

from audiojax.audio import io
from audiojax.data.transforms import to_int16
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.index.store import read_index


class IndexRecords:
    """Random access to the files of an index that can be found, in the order of their names. Ids are paths below the folder of the sounds.

    Files are decoded in this process: making the index has read each of them in another one before. Picklable.
    """

    def __init__(self, folder: str | os.PathLike, sample_rate: int):
        """Reads the table of files alone.

        Args:
          sample_rate: of the records, Hz.

        Raises:
          UsageError: there is no index, it holds no sound, or a sound has no captions.
          AudiojaxError: a file of the index is missing or damaged.
        """
        stored = read_index(folder)
        table = stored.files.to_pydict()
        used = [i for i, windows in enumerate(table["windows"]) if windows > 0]
        self.folder, self.sample_rate, self._root, self.settings = Path(folder), sample_rate, stored.root, stored.settings
        self._paths = [os.fsdecode(table["path"][i]) for i in used]
        self._digests = [table["digest"][i] for i in used]
        self._captions = [list(table["captions"][i] or ()) for i in used]
        if not used:
            raise UsageError(f"{shown(folder)}: this index holds no sound that could be retrieved")
        silent = [path for path, captions in zip(self._paths, self._captions, strict=True) if not captions]
        if silent:
            raise UsageError(
                f"{shown(folder)}: {len(silent)} of {len(used)} sounds have no captions, such as {shown(silent[0])}; a pair is a sound"
                " and a text: make the index with captions"
            )

    def __len__(self) -> int:
        return len(self._paths)

    def __repr__(self) -> str:  # Grain checkpoints compare this text
        return f"IndexRecords({shown(self.folder)}, {len(self)} sounds)"

    def identity(self) -> str:
        """Of every sound's content and captions, and the rate."""
        facts = (self.sample_rate, self._paths, self._digests, self._captions)
        return hashlib.sha256(repr(facts).encode("utf-8", "backslashreplace")).hexdigest()

    def facts(self, index: int) -> dict[str, Any]:
        """What one record says, without its sound."""
        if not 0 <= operator.index(index) < len(self):
            raise IndexError(f"{self!r} has no record {index}")
        return {"id": shown(self._paths[index]), "captions": self._captions[index], "scene": ""}

    def __getitem__(self, index: int) -> dict[str, Any]:
        told = self.facts(index)
        clip = io.decode(self._root / self._paths[index], io.DecodeOptions(sample_rate=self.sample_rate))
        return {"audio": to_int16(clip.samples), "sample_rate": self.sample_rate, **told}
