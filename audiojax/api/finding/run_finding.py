"""A finished run that finds: what it embeds becomes an index, and its own scores rank a split."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

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

    def windows_of(self, hits: Sequence[Hit]) -> Float[np.ndarray, "m n"]:
        """The windows of hits, read from their files, as this model hears them."""
        window = {"sample_rate": self.sample_rate, "samples": self.samples, "padding": self.padding}
        return read_windows({hit.path: hit.start for hit in hits}, **window)
