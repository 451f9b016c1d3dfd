"""BERTScore with a BERT or RoBERTa; see `audiojax.metrics.captions.bertscore`."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from audiojax.api.describing.caption_models.base import CaptionModel, Said
from audiojax.api.describing.caption_models.texts import RowsOnDevices, open_bert
from audiojax.api.opening import DIGEST
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.metrics.captions import bertscore
from audiojax.progress import counting_bar

CLIPS = 256  # whose token states are held at a time
PARTS = ("bertscore_p", "bertscore_r", "bertscore_f1")


class BertScore(CaptionModel):
    """ "bertscore_p", "bertscore_r" and "bertscore_f1" of a layer of a BERT or RoBERTa."""

    def __init__(
        self,
        model: str | os.PathLike,
        *,
        layer: int | None = None,
        idf: bool = False,
        baseline: str | os.PathLike | None = None,
        progress: bool = True,
    ):
        """Opens the model.

        Args:
          model: a folder, a name in the hub cache, or a text tower that `audiojax towers` trained.
          layer: whose states are compared, 0 for the embeddings; None for the one that the public tool reads of a model of this name.
          idf: weigh tokens by how rare they are in the references that are measured.
          baseline: a table of the public tool ("rescale_baseline/en/roberta-large.tsv") by which scores are rescaled.

        Raises:
          UsageError: no such model, a name whose layer is not known, a layer that it lacks, or a baseline that cannot be read.
        """
        layer = bertscore.layer_of(os.fspath(model)) if layer is None else layer
        if layer is None:
            raise UsageError(f"{shown(model)}: no usual layer is known for a model of this name; choose one with --bertscore-layer")
        tower, self._tokenizer = open_bert(model, progress)
        if not 0 <= layer <= tower.config.layers:
            raise UsageError(f"{shown(model)}: there is no layer {layer} of BERTScore; it has 0 to {tower.config.layers}")
        self._baseline = None if baseline is None else bertscore.read_baseline(Path(baseline).expanduser(), layer)
        self._idf, self._limit, self._special = idf, tower.config.max_length, self._tokenizer.frame_ids
        self._lead = " " if tower.config.padding_id is not None else ""  # RoBERTa's first word is spelled as the others, behind a space

        def states(params, ids, mask):
            return tower.module.apply(params, ids, mask, layers=layer, train=False, method="lower").astype(jnp.float32)

        self._states = RowsOnDevices(states, tower.params, self._tokenizer.pad_id, self._limit)
        how = (
            f"layer {layer}",
            "idf of the references" if idf else "no idf",
            f"rescaled by {shown(baseline)}" if baseline else "not rescaled",
        )
        self.card = {"BERTScore": f"{shown(model)} {tower.digest[:DIGEST]}, {', '.join(how)}; the best of the references"}

    def measure(self, said: Said, progress: bool = True) -> dict[str, Float[np.ndarray, " clips"]]:
        """P, R and F1 of each clip."""
        texts = list(dict.fromkeys(text for own, text in zip(said.references, said.captions, strict=True) for text in (text, *own)))
        texts = [text for text in texts if text.strip()]
        rows = dict(zip(texts, self._tokenizer.rows([self._lead + text.strip() for text in texts], self._limit), strict=True))
        idf = bertscore.inverse_frequencies([rows[text] for own in said.references for text in own]) if self._idf else None
        scores, written = np.zeros((len(said.captions), len(PARTS))), said.written()
        pieces = [written[start : start + CLIPS] for start in range(0, len(written), CLIPS)]
        needed = [{text for i in clips for text in (said.captions[i], *said.references[i])} for clips in pieces]
        with counting_bar("texts", progress) as bar:
            task = bar.add_task("BERTScore", total=sum(map(len, needed)))
            for clips, own in zip(pieces, needed, strict=True):
                found = self._encode(own, rows, idf, lambda: bar.advance(task))
                for i in clips:
                    scores[i] = bertscore.best_match(found[said.captions[i]], [found[text] for text in said.references[i]])
        if self._baseline is not None:
            scores[written] = bertscore.rescaled(scores[written], self._baseline)
        return dict(zip(PARTS, scores.T, strict=True))

    def _encode(
        self, texts: set[str], rows: Mapping[str, Sequence[int]], idf: Mapping[int, float] | None, advance: Callable[[], None]
    ) -> dict[str, bertscore.Text]:
        """Each text with the states and weights of its tokens; calls `advance` after each."""
        order, found = sorted(texts), {}
        for i, states in self._states([rows[text] for text in order]):
            row = rows[order[i]]
            weights = bertscore.token_weights(row, self._special, idf)
            found[order[i]] = bertscore.Text(bertscore.unit_states(states[: len(row)]), weights)
            advance()
        return found
