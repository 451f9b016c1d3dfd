"""How varied captions are, whatever they describe: vocabulary, distinct-n, MTLD, and how the captions of one clip differ. NumPy only.

A caption is a list of tokens of any hashable kind. Measures of no token at all are 0.
"""

from collections.abc import Sequence
from itertools import chain

import numpy as np
from jaxtyping import Float

from audiojax.errors import AudiojaxError
from audiojax.metrics.captions.ngrams import Tokens, bleu

THRESHOLD = 0.72  # of the type/token ratio, where MTLD closes a factor


def ngrams(tokens: Tokens, order: int) -> list[tuple]:
    """The n-grams of a caption, in order."""
    return [tuple(tokens[i : i + order]) for i in range(len(tokens) - order + 1)]


def vocabulary(captions: Sequence[Tokens]) -> int:
    """Different tokens of all captions."""
    return len(set(chain.from_iterable(captions)))


def distinct(captions: Sequence[Tokens], order: int) -> float:
    """Different n-grams over all n-grams of the captions together, in [0, 1]: the same word n times has 1 / n."""
    found = [ngram for tokens in captions for ngram in ngrams(tokens, order)]
    return len(set(found)) / max(1, len(found))


def mtld(tokens: Tokens, threshold: float = THRESHOLD) -> float:
    """Measure of textual lexical diversity (McCarthy and Jarvis, 2010): mean length of runs whose type/token ratio stays above a threshold.

    The mean of a pass forwards and one backwards. A rest that stays above counts as the part (1 - ratio) / (1 - threshold) of a run; a text
    whose tokens all differ is one run. It depends on the order of the tokens; several captions are measured one behind the other.
    """
    return (_mtld(tokens, threshold) + _mtld(tokens[::-1], threshold)) / 2 if len(tokens) else 0.0


def _mtld(tokens: Tokens, threshold: float) -> float:
    runs, types, length = 0.0, set(), 0
    for token in tokens:
        types.add(token)
        length += 1
        if len(types) / length <= threshold:
            runs, types, length = runs + 1, set(), 0
    if length:
        runs += (1 - len(types) / length) / (1 - threshold)
    return len(tokens) / (runs or 1.0)


def div(candidates: Sequence[Sequence[Tokens]], order: int) -> Float[np.ndarray, " clips"]:
    """Div-n of every clip: different n-grams of its candidates over their words."""
    return np.array([_div(own, order) for own in candidates])


def _div(captions: Sequence[Tokens], order: int) -> float:
    different = {ngram for tokens in captions for ngram in ngrams(tokens, order)}
    return len(different) / max(1, sum(map(len, captions)))


def mbleu(candidates: Sequence[Sequence[Tokens]]) -> float:
    """mBLEU-4 in [0, 1]: BLEU-4 of the k-th candidates with each clip's others as references, mean over k; lower is more varied.

    Raises:
      AudiojaxError: a clip with fewer than two candidates, or no clips.
    """
    fewest = min(map(len, candidates), default=0)
    if fewest < 2:
        raise AudiojaxError("mBLEU compares the candidates of a clip with each other: each clip needs at least two")
    most = max(map(len, candidates))
    values = []
    for k in range(most):
        having = [own for own in candidates if len(own) > k]
        values.append(bleu([own[k] for own in having], [[*own[:k], *own[k + 1 :]] for own in having])[0][3])
    return float(np.mean(values))
