"""The parts a report is made of: plain frozen data, no markup and no drawing.

`html.write_report` turns them into a page and `tables` into console tables, so a caller states each number once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Metric:
    """One score beside what guessing and a perfect system would get.

    Attributes:
      name: as people of the field write it, "R@10".
      value: the score, in the unit that `percent` names.
      low, high: ends of the 95 % interval, same unit; None when none was computed.
      chance: the score of a random ranking; None where it has no meaning.
      ceiling: the score of the oracle; None where there is none.
      percent: True shows a fraction of 1 as per cent, False shows the number as it is.
      lower_is_better: True for ranks and distances.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    ceiling: float | None = None
    percent: bool = True
    lower_is_better: bool = False

    @property
    def progress(self) -> float | None:
        """(value - chance) / (ceiling - chance): the share of the way from chance to the ceiling; None when it is not defined."""
        if self.chance is None or self.ceiling is None or self.ceiling == self.chance:
            return None
        return (self.value - self.chance) / (self.ceiling - self.chance)


@dataclass(frozen=True)
class MetricTable:
    """Scores of one direction or one split, with a bar from chance to ceiling for each."""

    title: str
    metrics: Sequence[Metric]
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Any other table: `rows` are as long as `columns`; numbers are right-aligned."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""


@dataclass(frozen=True)
class Curves:
    """Lines over training steps that share one y axis. `series`: name -> (steps [n], values [n])."""

    title: str
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    y_label: str = ""
    x_label: str = "step"
    log_y: bool = False
    note: str = ""


@dataclass(frozen=True, eq=False)
class Scatter:
    """Clouds of points in panels side by side that share their axes. `panels`: name -> cloud -> points [n, 2]."""

    title: str
    panels: Mapping[str, Mapping[str, np.ndarray]]
    note: str = ""


@dataclass(frozen=True, eq=False)
class Sound:
    """A clip to listen to.

    Attributes:
      waveform: float [n] in [-1, 1] or int16 [n], mono.
      sample_rate: Hz.
      name: file name or clip id.
      caption: what is heard, shown below the player; may be "".
    """

    waveform: np.ndarray
    sample_rate: int
    name: str
    caption: str = ""


@dataclass(frozen=True, eq=False)
class Hit:
    """One place of a ranked list: a sound, its score, and whether it is what the query asked for (None = not known)."""

    sound: Sound
    score: float
    correct: bool | None = None


@dataclass(frozen=True, eq=False)
class TopList:
    """A query and its best hits.

    Attributes:
      query: as it is shown, a description in quotes.
      true_rank: counts from 1; None = not known.
      truth: is drawn apart when it is not among the hits.
    """

    query: str
    hits: Sequence[Hit]
    true_rank: int | None = None
    truth: Sound | None = None


@dataclass(frozen=True, eq=False)
class TopLists:
    """Ranked lists with players and spectrograms."""

    title: str
    lists: Sequence[TopList]
    note: str = ""


@dataclass(frozen=True, eq=False)
class Sounds:
    """Clips side by side: validation samples, a listening sheet."""

    title: str
    sounds: Sequence[Sound]
    note: str = ""


@dataclass(frozen=True, eq=False)
class Wording:
    """A sound and what is said of it: who says it ("model", "people") -> the texts."""

    sound: Sound
    texts: Mapping[str, Sequence[str]]


@dataclass(frozen=True, eq=False)
class Wordings:
    """Sounds with players and spectrograms, the texts of different authors side by side."""

    title: str
    clips: Sequence[Wording]
    note: str = ""


@dataclass(frozen=True)
class Card:
    """The metric card: how the numbers came about (protocol, sample rate, file count, list hash, seed, ...), in this order."""

    title: str
    items: Mapping[str, object]
    note: str = ""


@dataclass(frozen=True)
class Note:
    """Words. Each string of `paragraphs` is one paragraph, shown as plain text."""

    title: str
    paragraphs: Sequence[str] = field(default_factory=tuple)


Section = MetricTable | Table | Curves | Scatter | TopLists | Sounds | Wordings | Card | Note
