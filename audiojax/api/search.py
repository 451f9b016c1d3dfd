"""What every model that finds sounds has in common: a folder is embedded once, and its windows are ranked for a description."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from audiojax.audio.lengths import Short
from audiojax.errors import UsageError
from audiojax.folders import cache_home
from audiojax.index.embeddings import FolderEmbeddings, embed_folder

EMBED_BATCH = 32  # windows embedded at a time, at least one a device


@dataclass(frozen=True)
class Hit:
    """One result of a search.

    Attributes:
      path: the sound file.
      start: seconds of it at which the best window begins.
      score: that the ranking goes by; higher is better.
      cosine: of query and window, in [-1, 1].
    """

    path: Path
    start: float
    score: float
    cosine: float


class Searcher(ABC):
    """Indexes folders and searches them; a model adds `model_id`, `embed_text`, `embed_audio` and, where it re-ranks, `scores`.

    Attributes:
      sample_rate: Hz of the waveforms that `embed_audio` takes.
      samples: of a window.
      padding: of shorter sounds, see `audiojax.audio.lengths.fit`.
      devices: that a batch is spread over.
    """

    model_id: str

    def __init__(self, sample_rate: int, samples: int, padding: Short, devices: int):
        self.sample_rate, self.samples, self.padding, self.devices = sample_rate, samples, padding, devices
        self._indexed: FolderEmbeddings | None = None

    @property
    def seconds(self) -> float:
        """Length of a window."""
        return self.samples / self.sample_rate

    @abstractmethod
    def embed_text(self, texts: Sequence[str]) -> Float[np.ndarray, "t d"]:
        """Embeddings of texts. UsageError for an empty text."""

    @abstractmethod
    def embed_audio(self, waveforms: Float[np.ndarray, "b n"]) -> Float[np.ndarray, "b d"]:
        """Embeddings of windows of `samples` samples in [-1, 1] at `sample_rate`."""

    def scores(self, text: Float[np.ndarray, "1 d"], audio: Float[np.ndarray, "a d"]) -> tuple[np.ndarray, np.ndarray]:
        """(cosine, score) of every window for one query; both the same here."""
        unit = audio / np.maximum(np.linalg.norm(audio, axis=1, keepdims=True), 1e-12)
        cosine = unit @ (text[0] / max(np.linalg.norm(text[0]), 1e-12))
        return cosine, cosine

    def index(self, folder: str | os.PathLike, *, cache_dir: str | os.PathLike | None = None, progress: bool = False) -> FolderEmbeddings:
        """Embeds every sound file below a folder; what was embedded before, by this model, comes from the cache.

        Args:
          cache_dir: of the embeddings; default $AUDIOJAX_CACHE/embeddings, or in the user's cache folder.
          progress: show a bar on stderr.

        Raises:
          UsageError: no such folder, or no sound file in it.
        """
        self._indexed = embed_folder(
            folder,
            self.embed_audio,
            model_id=self.model_id,
            sample_rate=self.sample_rate,
            seconds=self.seconds,
            cache_dir=cache_dir or cache_home() / "embeddings",
            batch_size=-(-EMBED_BATCH // self.devices) * self.devices,
            padding=self.padding,
            progress=progress,
        )
        return self._indexed

    def search(self, query: str, k: int = 10) -> list[Hit]:
        """The k best files of the indexed folder for a description, best first; a file counts once, with its best window.

        Raises:
          UsageError: the query is empty, k < 1, or no folder was indexed.
        """
        if k < 1:
            raise UsageError(f"k = {k}: ask for at least one result")
        if self._indexed is None:
            raise UsageError("nothing to search in: call index(folder) first")
        cosine, score = self.scores(self.embed_text([query]), self._indexed.embeddings)
        best: dict[Path, Hit] = {}
        for row in np.argsort(-score, kind="stable"):
            path = self._indexed.paths[self._indexed.file_of[row]]
            best.setdefault(path, Hit(path, float(self._indexed.starts[row]), float(score[row]), float(cosine[row])))
            if len(best) == k:
                break
        return list(best.values())
