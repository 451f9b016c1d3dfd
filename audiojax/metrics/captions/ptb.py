"""Words of a caption as the Penn Treebank splits them, lower case, without punctuation."""

import re

WORD = re.compile(r"n't\b|'(?:s|m|d|re|ve|ll)\b|\w+(?:-\w+)*?(?=n't\b)|\w+(?:[-/.,]\w+)*")


def tokenize(caption: str) -> list[str]:
    """The tokens of a caption; [] where it holds punctuation alone."""
    return WORD.findall(caption.lower())
