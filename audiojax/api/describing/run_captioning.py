"""What finished runs that describe have in common: how they hear a file, and what of their writing people may choose."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from audiojax.api.describing.captioning import Captioner
from audiojax.api.opening import model_digest
from audiojax.api.runs import RunModel
from audiojax.models.decoding import Decoding
from audiojax.trainer.export import Exported

SHORT = {"num_beams": "beams"}  # what people type for a key of the config


class RunCaptioner(RunModel, Captioner):
    """A trained model that describes, by as many windows of its audio tower at once as in training.

    A system calls `offer`, and adds `caption_batch`.

    Attributes:
      plan: how captions are written unless something else is chosen: a `Decoding`, or a dataclass of the paper's own.
    """

    plan: Any

    def __init__(self, model: Exported, source: str = ""):
        RunModel.__init__(self, model)
        window = self.window
        Captioner.__init__(self, **window | {"samples": window["samples"] * self.config["data"]["windows"]}, source=source)

    def offer(self, plan: Any, values: Mapping[str, Any]) -> None:
        """Sets the options that people may choose: `values` are those of the config, by the names of the plan's fields."""
        self.plan, self.defaults = plan, {SHORT.get(name, name): value for name, value in values.items()}

    @cached_property
    def model_id(self) -> str:
        """Hash of the weights and the config."""
        return model_digest(self._config_text, self.params, self.model_state)

    def options(self, **chosen: Any) -> dict[str, Any]:
        """As for every captioner; a top_p alone draws at temperature 1 without beams. UsageError also for what does not go together."""
        if isinstance(self.plan, Decoding) and chosen.get("top_p") is not None and chosen.get("temperature") is None:
            chosen = {**chosen, "beams": chosen.get("beams") or 1, "temperature": self.defaults["temperature"] or 1.0}
        options = super().options(**chosen)
        self.planned(options)
        return options

    def planned(self, options: Mapping[str, Any]) -> Any:
        """The plan with these options."""
        return replace(self.plan, **by_key(options))

    def example(self, sound: Float[np.ndarray, " n"]) -> dict[str, np.ndarray]:
        """Windows side by side, as in training."""
        return self.transform.sound(sound)


def by_key(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options by the names that the config has for them."""
    keys = {short: key for key, short in SHORT.items()}
    return {keys.get(name, name): value for name, value in options.items()}
