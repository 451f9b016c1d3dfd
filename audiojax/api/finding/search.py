"""What every model that finds sounds has in common: a folder is indexed once, and its files are ranked for a description or a sound."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from audiojax.audio.lengths import Short
from audiojax.audio.reasons import AudioFileError
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.folders import cache_home
from audiojax.index.embeddings import embed_files
from audiojax.index.search import Hit, Index
from audiojax.index.store import DTYPES, FORMAT, MANIFEST, Settings, read_index
from audiojax.index.update import update_index

EMBED_BATCH = 32  # windows embedded at a time, at least one a device


@runtime_checkable
class Reranker(Protocol):
    """A model that looks again at the best files for a description.

    Attributes:
      rerank_best: files that it looks at where nobody says how many.
    """

    rerank_best: int

    def rerank(self, query: str, hits: Sequence[Hit], index: Index) -> Float[np.ndarray, " m"]:
        """Scores of the hits, higher is better; of any scale. The vectors of the index may be used where it is of this model."""


class Searcher(ABC):
    """Indexes folders and searches them; a model adds `model_id`, `embed_text`, `embed_audio` and, where it re-ranks by itself, `rerank`.

    Attributes:
      sample_rate: Hz of the waveforms that `embed_audio` takes.
      samples: of a window.
      padding: of shorter sounds, see `audiojax.audio.lengths.fit`.
      devices: that a batch is spread over.
      source: where the model comes from, for those who open the index later.
      rerank_best: files that `rerank` looks at where nobody says how many; 0 for a model that does not re-rank.
    """

    model_id: str
    rerank_best: int = 0

    def __init__(self, sample_rate: int, samples: int, padding: Short, devices: int, source: str = ""):
        self.sample_rate, self.samples, self.padding, self.devices, self.source = sample_rate, samples, padding, devices, source
        self._index: Index | None = None

    @property
    def seconds(self) -> float:
        """Length of a window."""
        return self.samples / self.sample_rate

    @property
    def _batch_size(self) -> int:
        return -(-EMBED_BATCH // self.devices) * self.devices

    @abstractmethod
    def embed_text(self, texts: Sequence[str]) -> Float[np.ndarray, "t d"]:
        """Embeddings of texts. UsageError for an empty text."""

    @abstractmethod
    def embed_audio(self, waveforms: Float[np.ndarray, "b n"]) -> Float[np.ndarray, "b d"]:
        """Embeddings of windows of `samples` samples in [-1, 1] at `sample_rate`."""

    def index(
        self,
        folder: str | os.PathLike,
        out: str | os.PathLike | None = None,
        *,
        cache_dir: str | os.PathLike | None = None,
        hop: float | None = None,
        dtype: str | None = None,
        captions: Mapping[str, Sequence[str]] | None = None,
        progress: bool = False,
    ) -> Index:
        """Makes or updates the index of all sound files below a folder, and searches in it from now on; see `update_index`.

        Args:
          out: folder of the index; None for one in the cache, which belongs to this model, folder and window.
          cache_dir: of indexes without a place of their own; default $AUDIOJAX_CACHE/indexes, or in the user's cache folder.
          hop: seconds between window starts; None for what the index has, for a new one no overlap.
          dtype: of the stored vectors, "float32" or "float16"; None for what the index has, for a new one float32.
          captions: path below `folder` -> what is known of the sound.
          progress: show a bar on stderr.

        Raises:
          UsageError: no such folder, no sound file in it, or `out` is the index of another model, setting or folder.
        """
        if dtype not in (None, *DTYPES):
            raise UsageError(f"dtype = {dtype!r}: vectors are stored as {' or '.join(DTYPES)}")
        if hop is not None and not 0 < hop <= self.seconds:
            raise UsageError(f"hop = {hop:g} s: must lie above 0 and be at most the window of the model, {self.seconds:g} s")
        settings = Settings(self.source, self.model_id, self.sample_rate, self.seconds, hop, self.padding, dtype or Settings.dtype)
        if out is None:
            facts = repr((FORMAT, os.path.realpath(Path(folder).expanduser()), replace(settings, model="")))
            out = Path(cache_dir or cache_home() / "indexes") / hashlib.blake2b(os.fsencode(facts), digest_size=12).hexdigest()
        elif (Path(out).expanduser() / MANIFEST).is_file():
            known = read_index(out).settings
            settings = replace(settings, hop_seconds=hop or known.hop_seconds, dtype=dtype or known.dtype)
        options = {"captions": captions, "batch_size": self._batch_size, "progress": progress}
        computed = update_index(folder, out, self.embed_audio, settings, **options)
        self._index = Index(read_index(out), computed=computed)
        return self._index

    def use(self, index: Index) -> None:
        """Searches in an opened index from now on.

        Raises:
          UsageError: it is of another model.
        """
        if index.settings.model_id != self.model_id:
            raise UsageError(
                f"{shown(index.folder)}: is an index of the model {shown(index.settings.model)} ({index.settings.model_id[:12]}), not of "
                f"{shown(self.source) or 'this one'} ({self.model_id[:12]}); search with that model, or make an index with this one"
            )
        self._index = index

    def search(
        self,
        query: str | None = None,
        k: int = 10,
        *,
        audio: str | os.PathLike | None = None,
        weight: float = 0.5,
        rerank: int | None = None,
        reranker: Reranker | None = None,
    ) -> list[Hit]:
        """The k best files of the index for a description, a sound, or both, best first; a file counts once, with its best window.

        Args:
          query: the description.
          audio: a sound file that others should be like. A long one stands for the mean of its windows.
          weight: of the description where there is a sound too, in [0, 1]: unit vectors, weight * text + (1 - weight) * sound.
          rerank: how many of the best files are looked at again; they come first, by the new score. None for the model's own number, which
            goes for a description alone; 0 for none.
          reranker: the model that does it; None for this one.

        Raises:
          UsageError: nothing to look for, an empty description, k < 1, nothing was indexed, or nobody to re-rank.
          AudioFileError: the sound file cannot be used.
        """
        if k < 1:
            raise UsageError(f"k = {k}: ask for at least one result")
        if self._index is None:
            raise UsageError("nothing to search in: call index(folder) first")
        best = self._reranked(query, audio, rerank, reranker)
        hits = self._index.search(self._query(query, audio, weight)[None], max(k, best))[0]
        if best:
            first = hits[:best]
            scores = np.asarray((reranker or self).rerank(query, first, self._index)).tolist()
            first = [replace(hit, score=score) for hit, score in zip(first, scores, strict=True)]
            hits = sorted(first, key=lambda hit: -hit.score) + hits[best:]
        return hits[:k]

    def _reranked(self, query: str | None, audio, rerank: int | None, reranker: Reranker | None) -> int:
        """How many files are re-ranked."""
        alone, model = query is not None and audio is None, reranker or self
        if rerank is None and reranker is None:
            return self.rerank_best if alone else 0
        count = model.rerank_best if rerank is None else rerank
        if count < 0:
            raise UsageError(f"rerank = {count}: must be 0 or more")
        if count and not alone:
            raise UsageError("re-ranking goes by a description alone: leave the sound out, or the re-ranking")
        if count and not isinstance(model, Reranker):
            raise UsageError(f"a {type(model).__name__} does not re-rank; name a model that does, such as DiffATR")
        if not count and rerank is None:
            raise UsageError(f"the {type(model).__name__} that was named to re-rank does not; name a model that does, such as DiffATR")
        return count

    def _query(self, query: str | None, audio: str | os.PathLike | None, weight: float) -> Float[np.ndarray, " d"]:
        """The unit vector to look for."""
        if query is None and audio is None:
            raise UsageError("nothing to look for: give a description, a sound file, or both")
        if not 0 <= weight <= 1:
            raise UsageError(f"weight = {weight:g}: must lie in [0, 1]")
        text = None if query is None else _unit(self.embed_text([query])[0])
        sound = None if audio is None else self._sound(Path(audio).expanduser())
        if text is None or sound is None:
            return sound if text is None else text
        return _unit(weight * text + (1 - weight) * sound)

    def _sound(self, path: Path) -> Float[np.ndarray, " d"]:
        """The unit vector of a sound file: the mean of its windows."""
        ((_, entry),) = embed_files([path], self.embed_audio, self._index.settings, batch_size=self._batch_size, workers=1)
        if entry.reason is not None:
            raise AudioFileError(path, entry.reason, entry.detail)
        return _unit(np.mean([_unit(row) for row in entry.embeddings], axis=0))


def _unit(vector: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
