"""Describing sounds with a finished DAC run, or with its autoregressive rival."""

from collections.abc import Mapping
from dataclasses import replace
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
from audiojax.models.decoding import Decoding
from audiojax.papers import dac
from audiojax.trainer.export import Exported

SHORT = {"num_beams": "beams"}  # what people type for a key of the config


class DacCaptioner(RunModel, Captioner):
    """A DAC model; what it hears at once is as many windows of its audio tower as in training."""

    def __init__(self, model: Exported, source: str = ""):
        RunModel.__init__(self, model)
        if not {"diffuser", "autoregressive"} & self.params.keys():
            raise UsageError(f"{shown(source)}: holds a DAC that cannot write yet: train its phase 'diffusion'")
        window = self.window
        Captioner.__init__(self, **window | {"samples": window["samples"] * self.config["data"]["windows"]}, source=source)
        self.settings = dac.make_settings(self.config, self.tokenizer.vocab_size)
        self._way = "autoregressive" if isinstance(self.settings.options, Decoding) else "diffusion"
        self.defaults = {SHORT.get(name, name): value for name, value in self.config["inference"][self._way].items()}

    @cached_property
    def model_id(self) -> str:
        """Hash of the weights and the config."""
        return model_digest(self._config_text, self.params, self.model_state)

    def options(self, **chosen: Any) -> dict[str, Any]:
        """As for every captioner; a top_p alone draws at temperature 1 without beams. UsageError also for a value that has no meaning."""
        if self._way == "autoregressive" and chosen.get("top_p") is not None and chosen.get("temperature") is None:
            chosen = {**chosen, "beams": chosen.get("beams") or 1, "temperature": self.defaults["temperature"] or 1.0}
        options = super().options(**chosen)
        dac.PAPER.check({**self.config, "inference": {**self.config["inference"], self._way: _by_key(options)}})
        replace(self.settings.options, **_by_key(options))  # names what does not go together
        return options

    def draws(self, options: Mapping[str, Any]) -> bool:
        """Diffusion always, the rival above temperature 0."""
        return self._way == "diffusion" or options["temperature"] > 0

    def example(self, sound: Float[np.ndarray, " n"]) -> dict[str, np.ndarray]:
        """Windows side by side, as in training."""
        return self.transform.sound(sound)

    def caption_batch(
        self, batch: Mapping[str, np.ndarray], seeds: UInt32[np.ndarray, " b"], options: Mapping[str, Any]
    ) -> list[Described]:
        """Captions of stacked examples; rows go over all devices."""
        rows = {name: self.put_rows(x) for name, x in batch.items()}
        keys = jax.vmap(jax.random.key)(self.put_rows(seeds))
        how = replace(self.settings.options, **_by_key(options))
        written = dac.write(self.settings, self.params, self.model_state, rows, keys, how)
        tokens, words, confidence = (np.asarray(x)[: len(seeds)] for x in written)
        texts = dac.sentences(self.tokenizer, tokens, words, self.config["inference"]["ending"])
        return [Described(text, float(sure), int(kept.sum())) for text, sure, kept in zip(texts, confidence, words, strict=True)]


def _by_key(options: Mapping[str, Any]) -> dict[str, Any]:
    keys = {short: key for key, short in SHORT.items()}
    return {keys.get(name, name): value for name, value in options.items()}
