"""What is measured in captions: numbers counted clip by clip, so that any of them has an interval and a paired difference."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float

from audiojax.data.soundworld import grammar, oracle
from audiojax.data.soundworld.scenes import Scene
from audiojax.metrics.bootstrap import Interval, Statistic, statistic_interval
from audiojax.metrics.captions.ngrams import ORDERS, bleu_counts, bleu_of, cider_d, rouge_l
from audiojax.metrics.captions.ptb import tokenize

Counts = Mapping[str, Float[np.ndarray, "k clips"]]


def mean(means: Float[np.ndarray, "1 draws"]) -> Float[np.ndarray, " draws"]:
    """The mean over clips of one value."""
    return means[0]


def share(means: Float[np.ndarray, "2 draws"]) -> Float[np.ndarray, " draws"]:
    """The first value over the second, each summed over clips; NaN where nothing was counted."""
    return np.divide(means[0], means[1], out=np.full_like(means[0], np.nan), where=means[1] > 0)


def _bleu(order: int, means: Float[np.ndarray, "counts draws"]) -> Float[np.ndarray, " draws"]:
    return bleu_of(means)[order]


@dataclass(frozen=True)
class Measure:
    """One number that captions are judged by.

    Attributes:
      title: as people of the field write it.
      statistic: makes it of the means of what was counted.
      percent: it is a fraction of 1.
    """

    title: str
    statistic: Statistic = mean
    percent: bool = True

    def value(self, counts: Float[np.ndarray, "k *s clips"]) -> float:
        """The number; of several seeds, [k, seeds, clips], that of all together."""
        return float(self.statistic(counts.reshape(len(counts), -1).mean(axis=1, keepdims=True))[0])

    def interval(self, counts: Float[np.ndarray, "k *s clips"]) -> Interval:
        """The number with its interval over clips."""
        return statistic_interval(counts, self.statistic)

    def difference(self, a: Float[np.ndarray, "k *s clips"], b: Float[np.ndarray, "k *s clips"]) -> Interval:
        """That of a minus that of b, on the same drawn clips."""
        return statistic_interval([*a, *b], lambda means: self.statistic(means[: len(a)]) - self.statistic(means[len(a) :]))


AGREEMENT = {
    "cider_d": Measure("CIDEr-D", percent=False),
    **{f"bleu_{order + 1}": Measure(f"BLEU-{order + 1}", partial(_bleu, order)) for order in range(ORDERS)},
    "rouge_l": Measure("ROUGE-L"),
}
TRUTH = {
    "event_f1": Measure("event F1", share),
    "attributes": Measure("true attributes", share),
    "order": Measure("true order", share),
    "parses": Measure("parses"),
}
MODELLED = {  # by `caption_models`
    "bertscore_p": Measure("BERTScore P"),
    "bertscore_r": Measure("BERTScore R"),
    "bertscore_f1": Measure("BERTScore F1"),
    "fense": Measure("FENSE"),
    "sbert": Measure("Sentence-BERT similarity"),
    "fluency_errors": Measure("fluency errors (lower is better)"),
    "clap": Measure("CLAP score (with the sound)", percent=False),
    "judge": Measure("judge"),
}
MEASURES = AGREEMENT | TRUTH | MODELLED
DIVERSITY = {  # titles
    "vocabulary": "words",
    "distinct_1": "Distinct-1",
    "distinct_2": "Distinct-2",
    "mtld": "MTLD",
    "div_1": "Div-1",
    "div_2": "Div-2",
    "mbleu_4": "mBLEU-4 (lower is more varied)",
}


def count(texts: Sequence[str], references: Sequence[Sequence[str]], scenes: Sequence[Scene] | None = None) -> dict[str, np.ndarray]:
    """What AGREEMENT is made of, measure -> [k, clips], of one caption a clip; where there are scenes also TRUTH.

    A measure that nothing was counted for is left out.
    """
    said, own = [tokenize(text) for text in texts], [[tokenize(text) for text in captions] for captions in references]
    found = dict.fromkeys([f"bleu_{order + 1}" for order in range(ORDERS)], bleu_counts(said, own))
    found |= {"cider_d": cider_d(said, own)[1][None], "rouge_l": rouge_l(said, own)[1][None]}
    if scenes is not None:
        found["event_f1"] = np.array([_events(text, scene) for text, scene in zip(texts, scenes, strict=True)], float).T
        claims = {"attributes": oracle.attribute_claims(texts, scenes), "order": oracle.order_claims(texts, scenes)}
        found |= {name: np.stack([one.true, one.stated]).astype(float) for name, one in claims.items()}
        found["parses"] = np.array([[grammar.parse(text) is not None for text in texts]], float)
    return {name: found[name] for name, measure in MEASURES.items() if name in found and not np.isnan(measure.value(found[name]))}


def values(counts: Counts) -> dict[str, float]:
    """The number of each measure."""
    return {name: MEASURES[name].value(one) for name, one in counts.items()}


def _events(text: str, scene: Scene) -> tuple[int, int]:
    """Both halves of F1: twice the events that are named rightly, and the events named and present."""
    said, true = oracle.named_classes(text), Counter(event.name for event in scene.events)
    return 2 * (said & true).total(), said.total() + true.total()
