"""The caption that says what most captions say: what a model gets that never listens."""

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from math import log, sqrt

from audiojax.errors import AudiojaxError
from audiojax.metrics.captions.ptb import tokenize

ORDERS = 4


def most_typical(captions: Sequence[str]) -> str:
    """The caption with the highest mean cosine to all of them, of tf-idf vectors of its n-grams up to four words; the first of several.

    Raises:
      AudiojaxError: there are no captions.
    """
    if not captions:
        raise AudiojaxError("there are no captions to choose from")
    counts = [_ngrams(tokenize(text)) for text in captions]
    held = Counter(chain.from_iterable(counts))
    units = [_unit({ngram: n * log(len(captions) / held[ngram]) for ngram, n in one.items()}) for one in counts]
    total: Counter = Counter()
    for unit in units:
        for ngram, weight in unit.items():
            total[ngram] += weight
    return max(zip(captions, units, strict=True), key=lambda pair: sum(w * total[ngram] for ngram, w in pair[1].items()))[0]


def _ngrams(tokens: Sequence[str]) -> Counter:
    return Counter(tuple(tokens[i : i + order]) for order in range(1, ORDERS + 1) for i in range(len(tokens) - order + 1))


def _unit(vector: dict) -> dict:
    length = sqrt(sum(weight * weight for weight in vector.values()))
    return {ngram: weight / length for ngram, weight in vector.items()} if length else {}
