"""FENSE (arXiv 2110.04684): how near a caption is to people's in meaning, times a penalty where it is broken English. NumPy only.

    FENSE = mean_r cos(s(caption), s(reference r)) * (0.1 if P(error) > 0.9 else 1)

s is a Sentence-BERT, P(error) what a detector says that was trained on captions broken on purpose.
"""

import re

import numpy as np
from jaxtyping import Bool, Float

THRESHOLD, PENALTY = 0.9, 0.9
PUNCTUATION = re.compile(r"[^\w\s]")


def similarity(caption: Float[np.ndarray, " d"], references: Float[np.ndarray, "r d"]) -> float:
    """The mean cosine to the references, of unit vectors."""
    return float(np.mean(references.astype(np.float64) @ caption.astype(np.float64)))


def has_error(probabilities: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Whether the detector is sure enough that a caption is broken."""
    return probabilities > THRESHOLD


def penalised(scores: Float[np.ndarray, " n"], errors: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The scores, a tenth of them where there is an error; SPIDEr-FL is that of SPIDEr."""
    return scores * (1 - PENALTY * errors)


def without_punctuation(text: str) -> str:
    """A caption as aac-metrics hands it to the detector, lower case and without punctuation."""
    return PUNCTUATION.sub("", text).lower()
