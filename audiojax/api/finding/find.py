"""Searching with a DiffATR model: its dual encoder ranks all windows, its diffusion the best of them anew."""

import sys
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from audiojax.api.finding.retrieval import Retrieval, fused_matrix, of_diffatr
from audiojax.api.finding.run_finding import RunFinder
from audiojax.index.search import Hit, Index
from audiojax.papers import diffatr
from audiojax.text.normalise import clean_query
from audiojax.trainer.export import Exported
from audiojax.trainer.layout import over_rows


class Finder(RunFinder):
    """A DiffATR model: embeds text and sound, indexes folders, ranks sounds by description."""

    def __init__(self, model: Exported, source: str = ""):
        super().__init__(model, source)
        self.settings = diffatr.make_settings(self.config, self.tokenizer.vocab_size)
        self.fusion = {name: diffatr.Fusion(**values) for name, values in self.config["inference"]["fusion"].items()}
        self.rerank_best = self.settings.inference["top_m"] or sys.maxsize

    @property
    def embedding_params(self) -> Any:
        """The dual encoder."""
        return self.params["dual"]

    def embed_text(self, texts: Sequence[str]) -> Float[np.ndarray, "t d"]:
        """Un-normalised joint embeddings of texts. UsageError for an empty text."""
        ids, mask = self.tokenizer.encode([clean_query(text) for text in texts], self.config["data"]["max_tokens"])
        return np.asarray(self._encode_text(self.params, self.model_state, ids, mask))

    def embed_audio(self, waveforms: Float[np.ndarray, "b n"]) -> Float[np.ndarray, "b d"]:
        """Un-normalised joint embeddings of clips in [-1, 1] at `sample_rate`, all of one length; rows go over all devices."""
        return np.asarray(self._encode_audio(self.params, self.model_state, self.put_rows(waveforms)))[: len(waveforms)]

    def retrieval(self, predictions: Mapping[str, np.ndarray]) -> Retrieval:
        """Ranks and tables of a split."""
        return of_diffatr(self, predictions)

    def matrix(self, predictions: Mapping[str, np.ndarray]) -> Float[np.ndarray, "t a"]:
        """The cosine of every text with every clip, fused with their joint distribution."""
        key = jax.random.fold_in(jax.random.key(self.config["seed"]), 1)
        return fused_matrix(self, diffatr.search_all(self.settings, self.params, predictions, key))

    def rerank(self, query: str, hits: Sequence[Hit], index: Index) -> Float[np.ndarray, " m"]:
        """Cosine of query and windows, fused with their joint distribution; those that another model indexed are read from their files."""
        if index.settings.model_id == self.model_id:
            audio = index.vectors([hit.row for hit in hits])
        else:
            audio = self.read_and(partial(self._encode_audio, self.params, self.model_state), hits)
        key = jax.random.key(self.config["seed"])
        found = diffatr.search_text(self.settings, self.params, self.embed_text([query]), audio, key, top_m=len(hits))
        return diffatr.fuse(found, self.fusion["t2a"])[0]

    @cached_property
    def _encode_text(self) -> Any:
        def encode(params, model_state, ids, mask):
            return self.settings.dual.apply({"params": params["dual"], **model_state}, ids, mask, method="encode_text")

        return jax.jit(encode)

    @cached_property
    def _encode_audio(self) -> Any:
        def encode(params, model_state, waveform):
            return self.settings.dual.apply({"params": params["dual"], **model_state}, waveform, method="encode_audio")

        return over_rows(self._layout, encode)
