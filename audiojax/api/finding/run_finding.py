"""A finished run that finds: what it embeds becomes an index, and its own scores rank a split."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from audiojax.api.finding.retrieval import Retrieval
from audiojax.api.finding.search import Searcher
from audiojax.api.opening import model_digest
from audiojax.api.runs import RunModel
from audiojax.index.embeddings import read_windows
from audiojax.index.search import Hit
from audiojax.trainer.export import Exported


class RunFinder(RunModel, Searcher):
    """A trained model that embeds text and sound; a system adds `embed_text`, `embed_audio`, `retrieval` and how it ranks."""

    def __init__(self, model: Exported, source: str = ""):
        RunModel.__init__(self, model)
        Searcher.__init__(self, **self.window, source=source)

    @cached_property
    def model_id(self) -> str:
        """Hash of the weights that an embedding depends on, and of the config."""
        return model_digest(self._config_text, self.embedding_params, self.model_state)

    @property
    @abstractmethod
    def embedding_params(self) -> Any:
        """The parameters that an embedding depends on."""

    @abstractmethod
    def retrieval(self, predictions: Mapping[str, np.ndarray]) -> Retrieval:
        """Ranks and tables of a split, from `predictions`."""

    @abstractmethod
    def matrix(self, predictions: Mapping[str, np.ndarray]) -> Float[np.ndarray, "t a"]:
        """Scores of every text of a small split with every clip; no shortlist decides."""

    def read_and(self, encode: Callable[[Any], Any], hits: Sequence[Hit]) -> Any:
        """What `encode` makes of the windows of hits, [m, ...]: they are read from their files and encoded in batches of one shape, so that
        memory holds no more of them.

        Args:
          encode: rows of waveforms on the devices -> a tree of arrays with a row for each.
        """
        window, size = {"sample_rate": self.sample_rate, "samples": self.samples, "padding": self.padding}, self._batch_size
        found = []
        for first in range(0, len(hits), size):
            part = hits[first : first + size]
            windows = read_windows({hit.path: hit.start for hit in part}, **window)
            encoded = encode(self.put_rows(np.pad(windows, ((0, size - len(part)), (0, 0)))))
            found.append(jax.tree.map(partial(_first, count=len(part)), encoded))
        return jax.tree.map(lambda *parts: np.concatenate(parts), *found)


def _first(rows: Any, count: int) -> np.ndarray:
    return np.asarray(rows)[:count]
