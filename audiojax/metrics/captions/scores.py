"""The caption metrics of strings: agreement with references, and diversity. The tokens are the Penn Treebank's, see `ptb`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from audiojax.errors import AudiojaxError
from audiojax.metrics.captions import diversity
from audiojax.metrics.captions.ngrams import ORDERS, Tokens, bleu, cider_d, rouge_l
from audiojax.metrics.captions.ptb import tokenize


@dataclass(frozen=True, eq=False)
class CaptionScores:
    """Scores by name.

    Attributes:
      corpus: of the whole set; not always the mean over clips (BLEU pools its counts).
      per_clip: float64 [clips], for intervals.
    """

    corpus: Mapping[str, float]
    per_clip: Mapping[str, np.ndarray]


def score_captions(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> CaptionScores:
    """ "bleu_1" to "bleu_4", "rouge_l" and "cider_d" of one candidate per clip; all in [0, 1] but CIDEr-D, which lies in [0, 10].

    Raises:
      AudiojaxError: no clips, a clip without references, or lists of different lengths.
    """
    return score_tokens([tokenize(text) for text in candidates], [[tokenize(text) for text in own] for own in references])


def score_tokens(candidates: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> CaptionScores:
    """As `score_captions`, of captions that are tokenised already, for instance into token ids."""
    pooled, each = bleu(candidates, references)
    corpus = {f"bleu_{order + 1}": float(pooled[order]) for order in range(ORDERS)}
    per_clip = {f"bleu_{order + 1}": each[order] for order in range(ORDERS)}
    corpus["rouge_l"], per_clip["rouge_l"] = rouge_l(candidates, references)
    corpus["cider_d"], per_clip["cider_d"] = cider_d(candidates, references)
    return CaptionScores(corpus, per_clip)


def diversity_scores(candidates: Sequence[Sequence[str]]) -> dict[str, float]:
    """ "vocabulary", "distinct_1", "distinct_2", "mtld" of all captions; "div_1", "div_2", "mbleu_4" of the clips with several.

    Args:
      candidates: the captions of each clip. MTLD reads them one behind the other, so it alone depends on the order of the clips.

    Raises:
      AudiojaxError: no captions.
    """
    clips = [[tokenize(text) for text in own] for own in candidates]
    captions = list(chain.from_iterable(clips))
    if not captions:
        raise AudiojaxError("there are no captions to measure")
    scores = {
        "vocabulary": float(diversity.vocabulary(captions)),
        "distinct_1": diversity.distinct(captions, 1),
        "distinct_2": diversity.distinct(captions, 2),
        "mtld": diversity.mtld(list(chain.from_iterable(captions))),
    }
    several = [own for own in clips if len(own) > 1]
    if several:
        scores |= {f"div_{order}": float(diversity.div(several, order).mean()) for order in (1, 2)}
        scores["mbleu_4"] = diversity.mbleu(several)
    return scores
