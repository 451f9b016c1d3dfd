"""Describing sounds with a finished Diffusion-Link run that has a decoder."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt32

from audiojax.api.describing.captioning import Described
from audiojax.api.describing.run_captioning import RunCaptioner
from audiojax.api.writing import make_sentences
from audiojax.papers import diffusion_link
from audiojax.trainer.export import Exported


class LinkCaptioner(RunCaptioner):
    """CLAP, a bridge and a LLaMA that goes on from a soft prefix."""

    def __init__(self, model: Exported, source: str = ""):
        super().__init__(model, source)
        self.writer = diffusion_link.make_writer(self.config, self.tokenizer.vocab_size)
        self.sentences = make_sentences(self.config, self.tokenizer, stored=model.tokenizer)
        self.offer(self.writer.decoding, self.config["inference"])

    def draws(self, options: Mapping[str, Any]) -> bool:
        """Where the bridge begins with noise, or tokens are drawn."""
        return self.writer.settings.noisy or options["temperature"] > 0

    def caption_batch(
        self, batch: Mapping[str, np.ndarray], seeds: UInt32[np.ndarray, " b"], options: Mapping[str, Any]
    ) -> list[Described]:
        """Captions of stacked examples; rows go over all devices."""
        rows = {name: self.put_rows(x) for name, x in batch.items()}
        keys = jax.vmap(jax.random.key)(self.put_rows(seeds))
        prompts = map(self.put_rows, self.sentences.prompts(len(seeds)))
        written = diffusion_link.write(self.writer, self.params, self.model_state, rows, *prompts, keys, self.planned(options))
        tokens, words, confidence = (np.asarray(x)[: len(seeds)] for x in written)
        texts = self.sentences.tokenizer.decode([row[kept] for row, kept in zip(tokens, words, strict=True)])
        return [Described(text, float(sure), int(kept.sum())) for text, sure, kept in zip(texts, confidence, words, strict=True)]
