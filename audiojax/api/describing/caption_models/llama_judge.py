"""A language model as a judge: it is asked whether a caption fits what people wrote, and how likely it says yes is the score.

    score = P(yes) / (P(yes) + P(no)) of the next word

The question is plain text; the template of a chat model is not applied.
"""

import os
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.special import expit

from audiojax.api.describing.caption_models.base import CaptionModel, Said
from audiojax.api.describing.caption_models.texts import RowsOnDevices
from audiojax.api.opening import DIGEST, open_tower
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.progress import counting_bar
from audiojax.towers.llama import LlamaTower
from audiojax.trainer.layout import make_layout

YES, NO = " yes", " no"


class LlamaJudge(CaptionModel):
    """ "judge", by a LLaMA or a model of its architecture. Its weights are spread over all devices."""

    def __init__(self, model: str | os.PathLike, *, dtype: str = "float32", progress: bool = True):
        """Opens the model.

        Args:
          model: a folder or a name in the hub cache.
          dtype: of weights and computation, as for `load_pretrained`.

        Raises:
          UsageError: no such model, another kind of model, or one without a tokenizer.
        """
        layout = make_layout("mesh", (1, -1, 1))
        tower = open_tower(model, progress, dtype=dtype, sharding=layout.mesh)
        if not isinstance(tower, LlamaTower) or tower.tokenizer is None:
            raise UsageError(f"{shown(model)}: a judge needs a LLaMA with its tokenizer, and this is a {type(tower).__name__}")
        self._name, self._tokenizer, self._limit = shown(model), tower.tokenizer, tower.config.max_positions

        def next_logits(params, ids, mask):
            embeds = tower.module.apply(params, ids, method="embed").astype(jnp.float32)
            return tower.module.apply(params, embeds, mask, 0, method="prefill")[0]

        self._next_logits = RowsOnDevices(next_logits, tower.params, tower.tokenizer.pad_id, self._limit, layout)
        self.card = {"judge": f"{self._name} {tower.digest[:DIGEST]}, P(yes) of P(yes) + P(no)"}

    def measure(self, said: Said, progress: bool = True) -> dict[str, Float[np.ndarray, " clips"]]:
        """How likely the model says yes of each clip.

        Raises:
          UsageError: a question is longer than the model, or its tokens do not tell yes from no.
        """
        written, values = said.written(), np.zeros(len(said.captions))
        asked = [self._question(said.ids[i], said.captions[i], said.references[i]) for i in written]
        with counting_bar("clips", progress) as bar:
            task = bar.add_task("judge", total=len(written))
            for place, logits in self._next_logits([tokens for tokens, _, _ in asked]):
                _, yes, no = asked[place]
                values[written[place]] = expit(float(logits[yes]) - float(logits[no]))
                bar.advance(task)
        return {"judge": values}

    def _question(self, clip: str, caption: str, references: Sequence[str]) -> tuple[list[int], int, int]:
        """(tokens up to the place where the answers part, the next token of yes, that of no)."""
        text = question(caption, references)
        yes, no = (row[: len(row) - self._tokenizer.closing] for row in self._tokenizer.rows([text + YES, text + NO]))
        part = next((i for i, (a, b) in enumerate(zip(yes, no, strict=False)) if a != b), None)
        if not part:  # not at all, or before the question
            raise UsageError(f"{self._name}: its tokens do not tell{YES} from{NO}; choose another model to judge")
        if part > self._limit:
            raise UsageError(f"{self._name}: the question about {shown(clip)} has {part} tokens, and the model takes {self._limit}")
        return yes[:part], yes[part], no[part]


def question(caption: str, references: Sequence[str]) -> str:
    """What the model is asked; the answer follows."""
    heard = "\n".join(f"- {text.strip()}" for text in references)
    return (
        f"People listened to a sound and described it:\n{heard}\n"
        f"Somebody else says: {caption.strip()}\n"
        "Question: does that describe the same sound? Answer yes or no.\nAnswer:"
    )
