"""Describing sounds with a finished DAC run: captions denoised from chance while the model hears the sound."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt32

from audiojax.api.captioning import Captioner, Described
from audiojax.api.opening import model_digest
from audiojax.api.runs import RunModel
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.papers import dac
from audiojax.trainer.export import Exported


class DacCaptioner(RunModel, Captioner):
    """A DAC model; what it hears at once is as many windows of its audio tower as in training."""

    def __init__(self, model: Exported, source: str = ""):
        RunModel.__init__(self, model)
        if "diffuser" not in self.params:
            raise UsageError(f"{shown(source)}: holds a DAC that cannot write yet: train its phase 'diffusion'")
        window = self.window
        Captioner.__init__(self, **window | {"samples": window["samples"] * self.config["data"]["windows"]}, source=source)
        self.settings = dac.make_settings(self.config, self.tokenizer.vocab_size)
        self.defaults = asdict(self.settings.sampling)

    @cached_property
    def model_id(self) -> str:
        """Hash of the weights and the config."""
        return model_digest(self._config_text, self.params, self.model_state)

    def options(self, **chosen: Any) -> dict[str, Any]:
        """As for every captioner; UsageError also where the config does not take a value."""
        options = super().options(**chosen)
        dac.PAPER.check({**self.config, "inference": {**self.config["inference"], "diffusion": options}})
        return options

    def example(self, sound: Float[np.ndarray, " n"]) -> dict[str, np.ndarray]:
        """Windows side by side, as in training."""
        return self.transform.sound(sound)

    def caption_batch(
        self, batch: Mapping[str, np.ndarray], seeds: UInt32[np.ndarray, " b"], options: Mapping[str, Any]
    ) -> list[Described]:
        """Captions of stacked examples; rows go over all devices."""
        rows = {name: self.put_rows(x) for name, x in batch.items()}
        keys = jax.vmap(jax.random.key)(self.put_rows(seeds))
        written = dac.write(self.settings, self.params, self.model_state, rows, keys, replace(self.settings.sampling, **options))
        tokens, words, confidence = (np.asarray(x)[: len(seeds)] for x in written)
        texts = dac.sentences(self.tokenizer, tokens, words, self.config["inference"]["ending"])
        return [Described(text, float(sure), int(kept.sum())) for text, sure, kept in zip(texts, confidence, words, strict=True)]
