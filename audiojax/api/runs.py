"""A finished run, opened: what all systems have in common."""

from typing import Any

import jax
import numpy as np

from audiojax.api.data import clip_batches, make_transform
from audiojax.api.outside import layout_for
from audiojax.config import config_to_json, to_dict
from audiojax.papers import PAPERS
from audiojax.text.tokenizer import Tokenizer
from audiojax.trainer.evaluate import predict_all
from audiojax.trainer.export import Exported
from audiojax.trainer.layout import wrap_predict


class RunModel:
    """A trained model on the devices of this process.

    Attributes:
      config: the experiment config as plain dicts, with what validation chose.
      card: what training reported: task, step, validation metrics.
      params, model_state: whole trees.
      tokenizer: of the text tower.
      transform: record -> example, as in training.
    """

    def __init__(self, model: Exported):
        self.config, self.card = to_dict(model.config), model.card
        self._layout = layout_for(model.card.get("outside", {}).keys() & model.params.keys())
        self.params, self.model_state = self._layout.put_whole((model.params, model.model_state))
        self.tokenizer = Tokenizer.load(model.tokenizer)
        self.transform = make_transform(self.config["data"], self.tokenizer)
        self._config_text = config_to_json(model.config)

    @property
    def window(self) -> dict[str, Any]:
        """What the model hears at a time, and over how many devices a batch goes: arguments of `Searcher` and `Captioner`."""
        data = self.config["data"]
        facts = {"sample_rate": data["sample_rate"], "samples": self.transform.lengths[-1], "padding": data["padding"]}
        return facts | {"devices": self._layout.mesh.size}

    @property
    def parameters(self) -> int:
        """How many numbers the model has learned."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.params))

    @property
    def phase(self) -> str:
        """The phase whose task `predictions` asks."""
        return self.config["phases"][-1]

    def put_rows(self, rows: np.ndarray) -> jax.Array:
        """Rows spread over all devices, filled up with zeros to a multiple of their number."""
        padding = ((0, -len(rows) % self._layout.mesh.size), *((0, 0),) * (rows.ndim - 1))
        return jax.device_put(np.pad(rows, padding), self._layout.batch_sharding)

    def predictions(self, source: Any, batch_size: int = 64) -> dict[str, np.ndarray]:
        """What the task predicts for all clips of a data source with all their captions."""
        task = PAPERS[self.config["paper"]].make_task(self.config, self.phase, vocab_size=self.tokenizer.vocab_size)
        predict = wrap_predict(self._layout, task.predict)
        return predict_all(self._layout, predict, self.params, self.model_state, clip_batches(source, self.transform, batch_size))
