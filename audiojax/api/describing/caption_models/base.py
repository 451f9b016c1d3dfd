"""What every measure that needs a model has in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from audiojax.errors import UsageError

Sounds = Callable[[], Iterator[tuple[Float[np.ndarray, " n"], int]]]


@dataclass(frozen=True, eq=False)
class Said:
    """What is measured.

    Attributes:
      ids: of the clips.
      captions: one a clip; "" is allowed, and scores 0.
      references: people's captions of each clip, none empty.
      sounds: begins anew with (samples in [-1, 1], Hz) of each clip; None where there are none.
    """

    ids: Sequence[str]
    captions: Sequence[str]
    references: Sequence[Sequence[str]]
    sounds: Sounds | None = None

    def written(self) -> list[int]:
        """The clips whose caption is not empty."""
        return [i for i, text in enumerate(self.captions) if text.strip()]


class CaptionModel(ABC):
    """A measure with its weights.

    Attributes:
      card: what it is made of, for the metric card: name -> backbone, digest and settings.
    """

    card: Mapping[str, Any]

    @abstractmethod
    def measure(self, said: Said, progress: bool = True) -> dict[str, Float[np.ndarray, " clips"]]:
        """Values of each clip, under names of `caption_measures.MODELLED`. The value of a clip depends on that clip alone, but for idf."""


def measure_all(models: Sequence[CaptionModel], said: Said, progress: bool = True) -> dict[str, Float[np.ndarray, " clips"]]:
    """The values of all models.

    Raises:
      UsageError: two of them measure the same, whose values could not be told apart.
    """
    found: dict[str, np.ndarray] = {}
    for model in models:
        values = model.measure(said, progress)
        if twice := found.keys() & values.keys():
            raise UsageError(f"two models measure '{min(twice)}': give one of them at a time")
        found |= values
    return found
