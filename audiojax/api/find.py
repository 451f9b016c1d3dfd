"""Opening a finished model, and searching with it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from audiojax.api.data import clip_batches, make_transform
from audiojax.api.opening import model_digest, open_tower_run
from audiojax.api.train import final_folder
from audiojax.config import config_to_json, to_dict
from audiojax.errors import UsageError
from audiojax.folders import cache_home
from audiojax.index.embeddings import FolderEmbeddings, embed_folder
from audiojax.papers import diffatr
from audiojax.text.normalise import clean_query
from audiojax.text.tokenizer import Tokenizer
from audiojax.towers.base import Tower
from audiojax.trainer.evaluate import predict_all
from audiojax.trainer.export import Exported, load_export
from audiojax.trainer.layout import make_layout, wrap_predict

EMBED_BATCH = 32  # windows embedded at a time, at least one a device


@dataclass(frozen=True)
class Hit:
    """One result of a search.

    Attributes:
      path: the sound file.
      start: seconds at which the best window of the file begins.
      score: cosine plus alpha times the diffused probability; higher is better.
      cosine: of query and window, in [-1, 1].
    """

    path: Path
    start: float
    score: float
    cosine: float


def load(path: str | os.PathLike) -> "Finder | Tower":
    """The finished model of a run directory, or an exported folder: a `Finder` that searches, or a tower of audiojax.towers that encodes.

    Raises:
      UsageError: there is no finished model at `path`, or it is of a kind that this audiojax does not know.
      AudiojaxError: its weights cannot be read.
    """
    folder = final_folder(path)
    model = load_export(folder)
    if model.config.paper == "diffatr":
        return Finder(model)
    if model.config.paper == "towers":
        return open_tower_run(folder)
    raise UsageError(f"{folder}: holds a '{model.config.paper}' model, which this audiojax cannot open; update audiojax")


def load_finder(path: str | os.PathLike) -> "Finder":
    """What `load` gives, where that searches.

    Raises:
      UsageError: as `load`, or the model does not search.
    """
    finder = load(path)
    if not isinstance(finder, Finder):
        raise UsageError(f"{path}: holds a {type(finder).__name__}, which does not search; `audiojax towers` trains and evaluates towers")
    return finder


class Finder:
    """A DiffATR model: embeds text and sound, indexes folders, ranks sounds by description.

    Attributes:
      config: the experiment config as plain dicts, fusion included.
      card: what training reported: task, step, validation metrics.
      params, model_state: whole trees, on every device of this process.
      tokenizer: of the text tower.
    """

    def __init__(self, model: Exported):
        self.config, self.card = to_dict(model.config), model.card
        self._layout = make_layout("pmap")
        self.params, self.model_state = jax.device_put((model.params, model.model_state), self._layout.replicated)
        self.tokenizer = Tokenizer.load(model.tokenizer)
        self.settings = diffatr.make_settings(self.config, self.tokenizer.vocab_size)
        self.transform = make_transform(self.config["data"], self.tokenizer)
        self.fusion = {name: diffatr.Fusion(**values) for name, values in self.config["inference"]["fusion"].items()}
        self._indexed: FolderEmbeddings | None = None
        self._config_text = config_to_json(model.config)

    @cached_property
    def model_id(self) -> str:
        """Hash of the dual encoder's weights and of the config: what an embedding depends on."""
        return model_digest(self._config_text, self.params["dual"], self.model_state)

    @property
    def sample_rate(self) -> int:
        """Hz of the waveforms that `embed_audio` takes."""
        return self.config["data"]["sample_rate"]

    @property
    def seconds(self) -> float:
        """Length of a window."""
        return self.transform.lengths[-1] / self.sample_rate

    def embed_text(self, texts: Sequence[str]) -> Float[np.ndarray, "t d"]:
        """Un-normalised joint embeddings of texts. UsageError for an empty text."""
        ids, mask = self.tokenizer.encode([clean_query(text) for text in texts], self.config["data"]["max_tokens"])
        return np.asarray(self._encode_text(self.params, self.model_state, ids, mask))

    def embed_audio(self, waveforms: Float[np.ndarray, "b n"]) -> Float[np.ndarray, "b d"]:
        """Un-normalised joint embeddings of clips in [-1, 1] at `sample_rate`, all of one length; rows go over all devices."""
        devices = self._layout.mesh.size
        padded = np.pad(waveforms, ((0, -len(waveforms) % devices), (0, 0)))
        rows = jax.device_put(padded, self._layout.batch_sharding)
        return np.asarray(self._encode_audio(self.params, self.model_state, rows))[: len(waveforms)]

    def predictions(self, source: Any, batch_size: int = 64) -> dict[str, np.ndarray]:
        """Embeddings of all clips of a data source with all their captions: audio [a, d], text [a, c, d]."""
        task = diffatr.make_task(self.config, self.config["phases"][-1], vocab_size=self.tokenizer.vocab_size)
        predict = wrap_predict(self._layout, task.predict)
        return predict_all(self._layout, predict, self.params, self.model_state, clip_batches(source, self.transform, batch_size))

    def index(self, folder: str | os.PathLike, *, cache_dir: str | os.PathLike | None = None, progress: bool = False) -> FolderEmbeddings:
        """Embeds every sound file below a folder; what was embedded before, by this model, comes from the cache.

        Args:
          cache_dir: of the embeddings; default $AUDIOJAX_CACHE/embeddings, or in the user's cache folder.
          progress: show a bar on stderr.

        Raises:
          UsageError: no such folder, or no sound file in it.
        """
        devices = self._layout.mesh.size
        self._indexed = embed_folder(
            folder,
            self.embed_audio,
            model_id=self.model_id,
            sample_rate=self.sample_rate,
            seconds=self.seconds,
            cache_dir=cache_dir or cache_home() / "embeddings",
            batch_size=-(-EMBED_BATCH // devices) * devices,
            padding=self.config["data"]["padding"],
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
        predictions = {"audio": self._indexed.embeddings, "text": self.embed_text([query])}
        found = diffatr.search_text(
            self.settings, self.params, predictions["text"], predictions["audio"], jax.random.key(self.config["seed"])
        )
        cosine, score = np.asarray(found.similarity)[0], diffatr.fuse(found, self.fusion["t2a"])[0]
        best: dict[Path, Hit] = {}
        for row in np.argsort(-score, kind="stable"):
            path = self._indexed.paths[self._indexed.file_of[row]]
            best.setdefault(path, Hit(path, float(self._indexed.starts[row]), float(score[row]), float(cosine[row])))
            if len(best) == k:
                break
        return list(best.values())

    @cached_property
    def _encode_text(self) -> Any:
        def encode(params, model_state, ids, mask):
            return self.settings.dual.apply({"params": params["dual"], **model_state}, ids, mask, method="encode_text")

        return jax.jit(encode)

    @cached_property
    def _encode_audio(self) -> Any:
        def encode(params, model_state, waveform):
            return self.settings.dual.apply({"params": params["dual"], **model_state}, waveform, method="encode_audio")

        return jax.jit(encode, in_shardings=(None, None, self._layout.batch_sharding), out_shardings=self._layout.replicated)
