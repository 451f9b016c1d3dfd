"""Describing sounds with a finished DAC run, or with its autoregressive rival."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt32

from audiojax.api.describing.captioning import Described
from audiojax.api.describing.run_captioning import RunCaptioner, by_key
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.models.decoding import Decoding
from audiojax.papers import dac
from audiojax.trainer.export import Exported


class DacCaptioner(RunCaptioner):
    """A DAC model."""

    def __init__(self, model: Exported, source: str = ""):
        super().__init__(model, source)
        if not {"diffuser", "autoregressive"} & self.params.keys():
            raise UsageError(f"{shown(source)}: holds a DAC that cannot write yet: train its phase 'diffusion'")
        self.settings = dac.make_settings(self.config, self.tokenizer.vocab_size)
        self._way = "autoregressive" if isinstance(self.settings.options, Decoding) else "diffusion"
        self.offer(self.settings.options, self.config["inference"][self._way])

    def options(self, **chosen: Any) -> dict[str, Any]:
        """As for every run. UsageError also for a value that has no meaning."""
        options = super().options(**chosen)
        dac.PAPER.check({**self.config, "inference": {**self.config["inference"], self._way: by_key(options)}})
        return options

    def draws(self, options: Mapping[str, Any]) -> bool:
        """Diffusion always, the rival above temperature 0."""
        return self._way == "diffusion" or options["temperature"] > 0

    def caption_batch(
        self, batch: Mapping[str, np.ndarray], seeds: UInt32[np.ndarray, " b"], options: Mapping[str, Any]
    ) -> list[Described]:
        """Captions of stacked examples; rows go over all devices."""
        rows = {name: self.put_rows(x) for name, x in batch.items()}
        keys = jax.vmap(jax.random.key)(self.put_rows(seeds))
        written = dac.write(self.settings, self.params, self.model_state, rows, keys, self.planned(options))
        tokens, words, confidence = (np.asarray(x)[: len(seeds)] for x in written)
        texts = dac.sentences(self.tokenizer, tokens, words, self.config["inference"]["ending"])
        return [Described(text, float(sure), int(kept.sum())) for text, sure, kept in zip(texts, confidence, words, strict=True)]
