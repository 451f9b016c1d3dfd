"""Searching with a co-attention model: its dual encoder ranks all windows, its cascade the best of them anew."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from audiojax.api.retrieval import Retrieval, of_coattention
from audiojax.api.runs import RunFinder
from audiojax.papers import coattention
from audiojax.text.normalise import clean_query
from audiojax.trainer.export import Exported


class CoAttentionFinder(RunFinder):
    """A co-attention model; a window of a sound is one window of its audio tower."""

    def __init__(self, model: Exported):
        super().__init__(model)
        self.settings = coattention.make_settings(self.config, self.tokenizer.vocab_size)

    @property
    def embedding_params(self) -> Any:
        """Towers and dual encoder."""
        return self.params["towers"], self.params["dual"]

    def embed_text(self, texts: Sequence[str]) -> Float[np.ndarray, "t d"]:
        """Unit vectors of the dual encoder. UsageError for an empty text."""
        clean = clean_query if self.config["data"]["clean_captions"] else str
        for text in texts:
            clean_query(text)
        ids, mask = self.tokenizer.encode([clean(text) for text in texts], self.config["data"]["max_tokens"])
        return np.asarray(self._encode_text(self.params, self.model_state, ids, mask))

    def embed_audio(self, waveforms: Float[np.ndarray, "b n"]) -> Float[np.ndarray, "b d"]:
        """Unit vectors of the dual encoder for windows in [-1, 1]; rows go over all devices."""
        return np.asarray(self._encode_audio(self.params, self.model_state, self.put_rows(waveforms)))[: len(waveforms)]

    def retrieval(self, predictions: Mapping[str, np.ndarray], *, every_pair: bool = False) -> Retrieval:
        """Ranks and tables of a split."""
        return of_coattention(self, predictions, top_m=0 if every_pair else None)

    @cached_property
    def _encode_text(self) -> Any:
        def encode(params, model_state, ids, mask):
            states = coattention.text_states(self.settings, params, model_state, {"text_ids": ids, "text_mask": mask})
            return self.settings.dual.apply({"params": params["dual"]}, states, train=False, method="encode_text")

        return jax.jit(encode)

    @cached_property
    def _encode_audio(self) -> Any:
        def encode(params, model_state, waveform):
            batch = {"waveform": waveform[:, None], "windows": np.ones((len(waveform), 1), bool)}
            states = coattention.audio_states(self.settings, params, model_state, batch)
            return self.settings.dual.apply({"params": params["dual"]}, states, train=False, method="encode_audio")

        return jax.jit(encode, out_shardings=self._layout.replicated)
