"""FENSE with a Sentence-BERT and a detector of broken captions; see `audiojax.metrics.captions.fense`."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.special import expit

from audiojax.api.describing.caption_models.base import CaptionModel, Said
from audiojax.api.describing.caption_models.texts import RowsOnDevices, open_bert
from audiojax.api.opening import DIGEST, open_tower
from audiojax.api.weights import cached
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.metrics.captions import fense
from audiojax.pretrained.fluency import ERROR
from audiojax.progress import counting_bar
from audiojax.towers.text import TextClassifierTower

DETECTOR_TOKENS = 64
SETTINGS, POOLING, DENSE = "sentence_bert_config.json", "1_Pooling/config.json", "2_Dense/config.json"  # of sentence-transformers
MEAN = "pooling_mode_mean_tokens"


class Fense(CaptionModel):
    """ "sbert", the mean cosine of sentence vectors; with a detector also "fluency_errors" and "fense"."""

    def __init__(self, model: str | os.PathLike, *, detector: str | os.PathLike | None = None, progress: bool = True):
        """Opens the models.

        Args:
          model: a Sentence-BERT on BERT or RoBERTa with mean pooling (the paper: paraphrase-TinyBERT-L6-v2), a folder or a name in the hub
            cache. A BERT without settings of sentence-transformers is pooled the same way.
          detector: the checkpoint of the fluency detector, echecker_clotho_audiocaps_base.ckpt. It reads the tokens of the Sentence-BERT,
            since both have the vocabulary of bert-base-uncased.

        Raises:
          UsageError: no such model, one that pools otherwise, no detector in the file, or one of another vocabulary.
        """
        most = _most_tokens(model)
        tower, self._tokenizer = open_bert(model, progress)
        self._limit = min(most or tower.config.max_length, tower.config.max_length)

        def sentence(params, ids, mask):
            states = tower.module.apply(params, ids, mask, train=False).tokens.astype(jnp.float32)
            return jnp.einsum("bld,bl->bd", states, mask.astype(jnp.float32)) / jnp.sum(mask, axis=1, keepdims=True)

        self._sentence = RowsOnDevices(sentence, tower.params, self._tokenizer.pad_id, self._limit)
        self._logit: RowsOnDevices | None = None
        self.card = {"Sentence-BERT": f"{shown(model)} {tower.digest[:DIGEST]}, mean over tokens, mean cosine to the references"}
        if detector is None:
            self.card["fluency detector"] = "none: the similarity alone, which is not FENSE"
            return
        checker = open_tower(detector, progress)
        if not isinstance(checker, TextClassifierTower):
            raise UsageError(f"{shown(detector)}: holds a {type(checker.module).__name__}, and FENSE's fluency detector is needed")
        if checker.config.vocab_size != tower.config.vocab_size:
            raise UsageError(
                f"{shown(detector)}: has a vocabulary of {checker.config.vocab_size:,}, and {shown(model)} one of "
                f"{tower.config.vocab_size:,}: the two must share theirs, as the published ones do"
            )

        def logit(params, ids, mask):
            return checker.module.apply(params, ids, mask, train=False)[:, checker.labels.index(ERROR)]

        self._logit = RowsOnDevices(logit, checker.params, self._tokenizer.pad_id, DETECTOR_TOKENS)
        penalty = f"reads without punctuation, error above {fense.THRESHOLD} costs {fense.PENALTY:.0%}"
        self.card |= {"fluency detector": f"{shown(detector)} {checker.digest[:DIGEST]}, {penalty}"}

    def measure(self, said: Said, progress: bool = True) -> dict[str, Float[np.ndarray, " clips"]]:
        """The similarity of each clip; with a detector also whether its caption has an error, as 0 or 1, and FENSE."""
        written = said.written()
        texts = list(dict.fromkeys(text.strip() for i in written for text in (said.captions[i], *said.references[i])))
        with counting_bar("texts", progress) as bar:
            task = bar.add_task("FENSE", total=len(texts) + (len(said.captions) if self._logit else 0))
            vectors = {}
            for i, vector in self._sentence(self._tokenizer.rows(texts, self._limit)):
                vectors[texts[i]] = vector / max(float(np.linalg.norm(vector)), 1e-12)
                bar.advance(task)
            similar = np.zeros(len(said.captions))
            for i in written:
                own = np.stack([vectors[text.strip()] for text in said.references[i]])
                similar[i] = fense.similarity(vectors[said.captions[i].strip()], own)
            if self._logit is None:
                return {"sbert": similar}
            errors = fense.has_error(self._probabilities(said.captions))
            bar.advance(task, len(said.captions))
        return {"fense": fense.penalised(similar, errors), "sbert": similar, "fluency_errors": errors.astype(np.float64)}

    def _probabilities(self, captions: Sequence[str]) -> Float[np.ndarray, " clips"]:
        """That each caption is broken."""
        rows = self._tokenizer.rows([fense.without_punctuation(text) for text in captions], DETECTOR_TOKENS, allow_empty=True)
        found = np.zeros(len(captions))
        for i, logit in self._logit(rows):
            found[i] = expit(float(logit))
        return found


def _most_tokens(model: str | os.PathLike) -> int | None:
    """The length at which a Sentence-BERT cuts its texts, None where it does not say.

    Raises:
      UsageError: its settings cannot be read, or it does not pool by the mean over tokens.
    """
    folder = Path(model).expanduser()
    if not folder.exists():
        folder = cached(os.fspath(model)) or folder
    pooling = _settings(folder / POOLING)
    modes = [name for name, value in pooling.items() if name.startswith("pooling_mode_") and value]
    if pooling.get("pooling_mode", "mean") != "mean" or modes not in ([], [MEAN]):
        raise UsageError(f"{shown(folder / POOLING)}: pools by {', '.join(modes) or pooling['pooling_mode']}; FENSE takes the mean alone")
    if (folder / DENSE).exists():
        raise UsageError(f"{shown(folder / DENSE)}: a layer behind the pooling, and FENSE takes the mean alone")
    most = _settings(folder / SETTINGS).get("max_seq_length")
    if most is not None and (type(most) is not int or most < 3):
        raise UsageError(f"{shown(folder / SETTINGS)}: max_seq_length is {most!a:.80}, and a number of tokens is needed")
    return most


def _settings(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{shown(file)}: cannot be read ({error})") from error
    if not isinstance(facts, dict):
        raise UsageError(f"{shown(file)}: holds no settings")
    return facts
