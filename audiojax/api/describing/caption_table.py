"""A table of captions that is gone on with: what the same model and options have written stays, a file that changed is described anew.

Beside captions.csv, a row a caption, lies captions.csv.json: the model, options and seed that wrote it, and the files that were left out.
"""

import csv
import glob
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audiojax.api.describing.captioning import Caption, Captioner, caption_files
from audiojax.audio.reasons import PASSING, BadAudio, ReasonCounter
from audiojax.errors import AudiojaxError, UsageError
from audiojax.files import shown, write_whole
from audiojax.index.listing import list_sounds
from audiojax.progress import counting_bar
from audiojax.report.tables import write_file

ENDINGS = (".csv", ".json")
COLUMNS = ("file", "start", "end", "candidate", "caption", "confidence", "digest")
FLUSH_SECONDS = 30.0  # between two writes of the table


@dataclass(frozen=True, eq=False)
class Captioned:
    """What `write_captions` found.

    Attributes:
      captions: of the files asked for, by file, time and candidate.
      written: how many of them are new.
      tally: the files that were used, and those that were left out with their reasons.
    """

    captions: Sequence[Caption]
    written: int
    tally: ReasonCounter


def write_captions(
    captioner: Captioner,
    sounds: Sequence[str | os.PathLike],
    out: str | os.PathLike | None = None,
    *,
    candidates: int = 1,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = True,
    **options: Any,
) -> Captioned:
    """Describes sounds and keeps the captions in a table; a second call with the same table goes on where the first one stopped.

    Args:
      sounds: files, folders (searched with their subfolders) and patterns such as "sounds/*.wav".
      out: a .csv or .json file, written whole every half minute; None keeps no table. Rows of other files stay in it.
      candidates, seed, batch_size, options: as for `Captioner.caption`.

    Raises:
      UsageError: no such folder, a pattern that fits no file, an option that the model does not take, or a table that another model, other
        options or another program has written.
    """
    chosen = captioner.options(**options)
    paths, unread = find_sounds(sounds)
    facts = {"model": captioner.model_id, "seed": seed, **chosen}
    table, tally = CaptionTable(out, facts, shown(captioner.source)), ReasonCounter()
    for bad in unread:
        tally.add(bad)
    try:
        with counting_bar("files", progress) as bar:
            task, said = bar.add_task("describing", total=len(paths)), 0
            for path, value in caption_files(
                captioner, paths, candidates=candidates, seed=seed, options=chosen, batch_size=batch_size, known=table.by_window()
            ):
                table.add(path, value)
                if isinstance(value, Caption):
                    said += 1
                    bar.update(task, description=f"{said} captions")  # a long file is not done for a while
                else:
                    tally.add(value)
                    bar.advance(task)
    finally:
        table.write(tally.skipped())
    captions = [caption for path in paths for caption in table.captions(path)]
    return Captioned(captions, table.written, tally)


def find_sounds(words: Sequence[str | os.PathLike]) -> tuple[list[Path], list[BadAudio]]:
    """The files that files, folders and patterns name, each once, and the folders that cannot be read. A missing file is for the decoder.

    Raises:
      UsageError: a folder without sounds, or a pattern that fits no file.
    """
    paths: dict[str, Path] = {}
    unread: list[BadAudio] = []
    for word in map(os.fspath, words):
        path = Path(word).expanduser()
        if path.is_dir():
            found, closed = list_sounds(path)
            unread += closed
        elif not path.exists() and glob.has_magic(word):
            found = [Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if os.path.isfile(name)]
            if not found:
                raise UsageError(f"{shown(word)}: no file has such a name")
        else:
            found = [path]
        paths |= {os.path.abspath(one): one for one in found if os.path.abspath(one) not in paths}
    return list(paths.values()), unread


Captions = dict[tuple[float, int], Caption]  # of one file, by second and candidate


@dataclass(eq=False)
class _File:
    """The captions of one file.

    Attributes:
      stored: what the table on disk held at first.
      fresh: what belongs to the sound as it is, while it is being described.
      shown: what the table is to hold.
    """

    stored: Captions = field(default_factory=dict)
    fresh: Captions = field(default_factory=dict)
    shown: Captions = field(default_factory=dict)


class CaptionTable:
    """The captions of a file on disk and those that come; without a place it keeps them for this process.

    Attributes:
      written: captions that were added and not there before.
    """

    def __init__(self, path: str | os.PathLike | None, facts: Mapping[str, Any], model: str = ""):
        """Reads what is there.

        Args:
          facts: what decides the captions; those on disk must have been written with the same.
          model: its place, for people.

        Raises:
          UsageError: another ending, or the table was written with other facts or by another program.
          AudiojaxError: it is damaged.
        """
        self.path = None if path is None else Path(path).expanduser()
        self.written = 0
        self._facts, self._model = json.loads(json.dumps(facts)), model  # as they come back from disk
        self._files: dict[str, _File] = {}
        self._next = time.monotonic() + FLUSH_SECONDS
        if self.path is None:
            return
        if self.path.suffix not in ENDINGS:
            raise UsageError(f"{shown(self.path)}: the name of the table must end in {' or '.join(ENDINGS)}")
        if self.path.exists():
            self._require_same()
            for caption in read_captions(self.path):
                self._file(caption.path).stored[caption.start, caption.candidate] = caption
            for one in self._files.values():
                one.shown = dict(one.stored)
        self.write()  # a place that cannot be written shows before the work

    def by_window(self) -> dict[tuple[str, float], list[Caption]]:
        """(file as `shown`, second) -> captions that were on disk."""
        found: dict[tuple[str, float], list[Caption]] = {}
        for name, one in self._files.items():
            for (start, _), caption in sorted(one.stored.items()):
                found.setdefault((name, start), []).append(caption)
        return found

    def add(self, path: Path, value: Caption | BadAudio | None) -> None:
        """Takes what `caption_files` says about a file, and writes the table where it is time."""
        one = self._file(path)
        if isinstance(value, Caption):
            key = value.start, value.candidate
            self.written += key not in one.stored or one.stored[key].digest != value.digest
            one.fresh[key] = one.shown[key] = value
        elif value is None:
            one.shown, one.fresh = one.fresh, {}
        else:
            one.shown, one.fresh = (one.stored if value.reason in PASSING else {}), {}
        if time.monotonic() > self._next:
            self.write()

    def captions(self, path: Path) -> list[Caption]:
        """Those of one file, by time and candidate."""
        return [caption for _, caption in sorted(self._file(path).shown.items())]

    def write(self, left_out: Mapping[str, str] | None = None) -> None:
        """Writes the table whole, and beside it what decides it and what was left out: file -> reason."""
        if self.path is None:
            return
        rows = [_row(name, caption) for name, one in self._files.items() for _, caption in sorted(one.shown.items())]
        facts = {"model": self._model, "facts": self._facts, "left_out": {shown(name): why for name, why in (left_out or {}).items()}}
        write_whole(self._facts_path, json.dumps(facts, indent=2) + "\n")
        write_file(self.path, rows, columns=COLUMNS)
        self._next = time.monotonic() + FLUSH_SECONDS

    @property
    def _facts_path(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    def _file(self, path: Path) -> _File:
        return self._files.setdefault(shown(path), _File())

    def _require_same(self) -> None:
        try:
            stored = json.loads(self._facts_path.read_text(encoding="utf-8"))["facts"]
            changed = [f"{name} {stored.get(name)}, not {value}" for name, value in self._facts.items() if stored.get(name) != value]
        except FileNotFoundError:
            raise UsageError(
                f"{shown(self.path)}: `audiojax caption` did not write it: {shown(self._facts_path.name)} is missing; name another table"
            ) from None
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise AudiojaxError(f"{shown(self._facts_path)}: is damaged ({error}); name another table") from error
        if changed:
            raise UsageError(
                f"{shown(self.path)}: holds captions written with {'; '.join(changed)}\n"
                "Captions of different models and options do not mix: name another table, or delete this one."
            )


def read_captions(path: Path) -> list[Caption]:
    """The rows of a table that `CaptionTable` has written.

    Raises:
      AudiojaxError: they are not what it writes.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = json.load(file) if path.suffix == ".json" else list(csv.DictReader(file, strict=True))
        return [_caption(row) for row in rows]
    except (ValueError, LookupError, TypeError, csv.Error) as error:
        raise AudiojaxError(f"{shown(path)}: is damaged ({type(error).__name__}: {error}); name another table") from error


def _caption(row: Mapping[str, Any]) -> Caption:
    file, start, end, candidate, text, confidence, digest = (row[name] for name in COLUMNS)
    if not (isinstance(text, str) and isinstance(digest, str)):
        raise ValueError(f"a row of {shown(file)} is not whole")
    return Caption(Path(file), float(start), float(end), int(candidate), text, float(confidence), digest)


def _row(name: str, caption: Caption) -> dict[str, Any]:
    values = (name, caption.start, caption.end, caption.candidate, caption.text, round(caption.confidence, 4), caption.digest)
    return dict(zip(COLUMNS, values, strict=True))
