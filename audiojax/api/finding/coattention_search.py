"""Searching with a co-attention model: its dual encoder ranks all windows, its cascade the best of them anew."""

import sys
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from audiojax.api.finding.retrieval import Retrieval, of_coattention
from audiojax.api.finding.run_finding import RunFinder
from audiojax.errors import UsageError
from audiojax.index.search import Hit, Index
from audiojax.papers import coattention
from audiojax.text.normalise import clean_query
from audiojax.trainer.export import Exported


class CoAttentionFinder(RunFinder):
    """A co-attention model; a window of a sound is one window of its audio tower."""

    def __init__(self, model: Exported, source: str = ""):
        super().__init__(model, source)
        self.settings = coattention.make_settings(self.config, self.tokenizer.vocab_size)
        if "cascade" in self.params:
            self.rerank_best = self.config["inference"]["top_m"] or sys.maxsize

    @property
    def embedding_params(self) -> Any:
        """Towers and dual encoder."""
        return self.params["towers"], self.params["dual"]

    def embed_text(self, texts: Sequence[str]) -> Float[np.ndarray, "t d"]:
        """Unit vectors of the dual encoder. UsageError for an empty text."""
        return np.asarray(self._encode_text(self.params, self.model_state, self._tokens(texts)))

    def embed_audio(self, waveforms: Float[np.ndarray, "b n"]) -> Float[np.ndarray, "b d"]:
        """Unit vectors of the dual encoder for windows in [-1, 1]; rows go over all devices."""
        return np.asarray(self._encode_audio(self.params, self.model_state, self.put_rows(waveforms)))[: len(waveforms)]

    def rerank(self, query: str, hits: Sequence[Hit], index: Index) -> Float[np.ndarray, " m"]:
        """s of the query and the window of each hit, by the cascade; the windows are read from their files.

        Raises:
          UsageError: the model was trained without a cascade.
        """
        if "cascade" not in self.params:
            raise UsageError("this co-attention model has no cascade, which re-ranks: train the phase 'pairs'")
        text = self._text_states(self.params, self.model_state, self._tokens([query]))
        audio = self.read_and(partial(self._audio_states, self.params, self.model_state), hits)
        top = np.arange(len(hits), dtype=np.int32)[None]
        return coattention.rescore(self.settings.cascade, self.params["cascade"], text, audio, top, text_queries=True)[0]

    def _tokens(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        cleaned = [clean_query(text) for text in texts]  # names an empty one
        texts = cleaned if self.config["data"]["clean_captions"] else texts
        ids, mask = self.tokenizer.encode(list(texts), self.config["data"]["max_tokens"])
        return {"text_ids": ids, "text_mask": mask}

    def retrieval(self, predictions: Mapping[str, np.ndarray]) -> Retrieval:
        """Ranks and tables of a split."""
        return of_coattention(self, predictions)

    def matrix(self, predictions: Mapping[str, np.ndarray]) -> Float[np.ndarray, "t a"]:
        """s of every text with every clip."""
        split = coattention.Split.from_predictions(predictions)
        return coattention.search_split(self.settings.cascade, self.params, split, top_m=0, directions=("t2a",))["t2a"].scores

    @cached_property
    def _text_states(self) -> Any:
        return jax.jit(partial(coattention.text_states, self.settings))

    @cached_property
    def _audio_states(self) -> Any:
        def states(params, model_state, waveform):
            batch = {"waveform": waveform[:, None], "windows": np.ones((len(waveform), 1), bool)}
            return coattention.audio_states(self.settings, params, model_state, batch)

        return jax.jit(states, out_shardings=self._layout.replicated)

    @cached_property
    def _encode_text(self) -> Any:
        def encode(params, model_state, tokens):
            states = self._text_states(params, model_state, tokens)
            return self.settings.dual.apply({"params": params["dual"]}, states, train=False, method="encode_text")

        return jax.jit(encode)

    @cached_property
    def _encode_audio(self) -> Any:
        def encode(params, model_state, waveform):
            states = self._audio_states(params, model_state, waveform)
            return self.settings.dual.apply({"params": params["dual"]}, states, train=False, method="encode_audio")

        return jax.jit(encode, out_shardings=self._layout.replicated)
