"""What pycocoevalcap says of captions: its Java tokeniser, BLEU, ROUGE-L and CIDEr-D. Needs the extra `eval`, and Java."""

import os
from collections.abc import Sequence
from unittest import mock

import numpy as np


def tokens(captions: Sequence[str]) -> list[list[str]]:
    """The words of every caption; all are read by one Java process, in UTF-8."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    with mock.patch.dict(os.environ, JAVA_TOOL_OPTIONS="-Dfile.encoding=UTF-8"):
        found = PTBTokenizer().tokenize({i: [{"caption": text}] for i, text in enumerate(captions)})
    return [found[i][0].split() for i in range(len(captions))]


def scores(candidates: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> dict[str, np.ndarray]:
    """Metric -> the value of the corpus, then one per clip, [1 + clips]."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    said = {i: [" ".join(words)] for i, words in enumerate(candidates)}
    wanted = {i: [" ".join(words) for words in own] for i, own in enumerate(references)}
    pooled, each = Bleu(4).compute_score(wanted, said, verbose=0)
    found = {f"bleu_{order + 1}": np.array([pooled[order], *each[order]]) for order in range(4)}
    for name, measure in (("rouge_l", Rouge()), ("cider_d", Cider())):
        mean, values = measure.compute_score(wanted, said)
        found[name] = np.array([mean, *values])
    return found


def mtld(words: Sequence[str]) -> float:
    """By lexicalrichness."""
    from lexicalrichness import LexicalRichness

    return LexicalRichness(" ".join(words), preprocessor=None, tokenizer=str.split).mtld(threshold=0.72)
