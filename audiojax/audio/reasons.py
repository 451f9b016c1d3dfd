"""Why a sound file was not used: named reasons, the error that carries one, and a counter for reports. Host only."""

import dataclasses
import enum
from collections.abc import Iterator
from pathlib import Path

from audiojax.errors import AudiojaxError
from audiojax.files import shown


class Reason(enum.StrEnum):
    """What is wrong with a file."""

    MISSING = "missing"
    NOT_A_FILE = "not_a_file"  # a folder, pipe, socket or device
    UNREADABLE = "unreadable"  # the system refuses to read it
    EMPTY = "empty"  # no bytes, or a header without samples
    SILENT = "silent"  # where something must be heard: a captioner has nothing to describe
    TRUNCATED = "truncated"  # fewer samples than its header announces
    DAMAGED = "damaged"  # its own checksums or page numbers do not hold
    NOT_FINITE = "not_finite"  # NaN or infinite samples
    LEVEL_OUT_OF_RANGE = "level_out_of_range"
    NO_CHANNELS = "no_channels"
    TOO_MANY_CHANNELS = "too_many_channels"
    NOT_MONO = "not_mono"  # under the mono policy "error"
    SAMPLE_RATE_OUT_OF_RANGE = "sample_rate_out_of_range"
    TOO_LONG = "too_long"
    UNDECODABLE = "undecodable"
    CHANGED = "changed"  # while it was being read
    OUT_OF_MEMORY = "out_of_memory"
    CRASHED_DECODER = "crashed_decoder"  # the child process died on it
    TIMEOUT = "timeout"  # the child process made no progress


PASSING = frozenset(  # of the moment and not of the sound: another try may find nothing wrong, and what was made of it before stays
    (
        *(Reason.MISSING, Reason.UNREADABLE, Reason.NOT_A_FILE, Reason.CHANGED),
        *(Reason.OUT_OF_MEMORY, Reason.TIMEOUT, Reason.CRASHED_DECODER),
    )
)


@dataclasses.dataclass(frozen=True)
class BadAudio:
    """One file that was left out, and why.

    Attributes:
      path: the file.
      reason: the named reason.
      detail: numbers or the decoder's own words, one line.
    """

    path: str
    reason: Reason
    detail: str = ""

    @property
    def why(self) -> str:
        """The reason with its detail: "truncated (1 of 2)"."""
        return f"{self.reason} ({self.detail})" if self.detail else str(self.reason)

    def __str__(self) -> str:
        return f"{shown(self.path)}: {self.why}"


class AudioFileError(AudiojaxError):
    """A sound file cannot be used; `bad` holds the path, the reason and the detail."""

    def __init__(self, path: str | Path, reason: Reason, detail: str = ""):
        self.bad = BadAudio(str(path), reason, " ".join(detail.split()))
        super().__init__(str(self.bad))

    def __reduce__(self):
        return AudioFileError, (self.bad.path, self.bad.reason, self.bad.detail)


@dataclasses.dataclass
class ReasonCounter:
    """Tally of a run over many files: how many were used, and which were not for which reason."""

    used: int = 0
    bad: dict[Reason, list[BadAudio]] = dataclasses.field(default_factory=dict)

    def add(self, result: object) -> None:
        """Counts a `BadAudio` under its reason, anything else as used."""
        if isinstance(result, BadAudio):
            self.bad.setdefault(result.reason, []).append(result)
        else:
            self.used += 1

    def counts(self) -> dict[str, int]:
        """Reason -> files, the most frequent first."""
        return {str(reason): len(files) for reason, files in sorted(self.bad.items(), key=lambda item: (-len(item[1]), item[0]))}

    def skipped(self) -> dict[str, str]:
        """Path -> "reason (detail)" of every file that was left out."""
        return {bad.path: bad.why for files in self.bad.values() for bad in files}

    def summary(self) -> str:
        """One line: "97 files used, 3 left out: truncated 2, empty 1"."""
        out = sum(self.counts().values())
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.counts().items())
        return f"{self.used} files used, {out} left out" + (f": {reasons}" if reasons else "")

    def lines(self, files_per_reason: int = 5) -> Iterator[str]:
        """The table: one line per reason with its count, then its first files with their details."""
        for reason, count in self.counts().items():
            yield f"{count:6d}  {reason}"
            files = self.bad[Reason(reason)]
            for bad in files[:files_per_reason]:
                yield f"        {shown(bad.path)}" + (f": {bad.detail}" if bad.detail else "")
            if count > files_per_reason:
                yield f"        and {count - files_per_reason} more"
