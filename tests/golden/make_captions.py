"""Writes captions.npz: captions of SoundWorld, most of them disturbed, and hard cases for a tokeniser, with the words that pycocoevalcap's
Java tokeniser makes of them, its BLEU, ROUGE-L and CIDEr-D, and lexicalrichness's MTLD.

Run from the repository root, with the extras eval and parity, and Java: python -m tests.golden.make_captions
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from audiojax.data.soundworld.source import SceneSource
from tests.golden.hard_captions import HARD
from tests.parity import captions_reference

FILE = Path(__file__).with_name("captions.npz")
CLIPS, REFERENCES = 260, 5

DISTURBANCES: tuple[Callable[[str], str], ...] = (
    str.capitalize,
    str.upper,
    str.title,
    lambda text: f"{text}.",
    lambda text: f"{text.capitalize()}.",
    lambda text: f"“{text}”!",
    lambda text: f'"{text}"',
    lambda text: text.replace(",", " ,"),
    lambda text: text.replace(" ", "  "),
    lambda text: text.replace(" ", " - ", 1),
    lambda text: text.replace("a ", "a (", 1) + ")",
    lambda text: text.replace(", then", "... then"),
    lambda text: text.replace(", ", "; "),
    lambda text: text.replace("s,", "'s,").replace("ing ", "in' "),
    lambda text: text.replace(" ", " 😀 ", 1),
    lambda text: f"{text} {text}",
    lambda text: " ".join(text.split()[:3]),
    lambda text: " ".join(text.split()[::-1]),
    lambda text: f"\u00a0{text}\u200b?!",
    lambda text: f"{text} – {text.split()[-1]}…",
)


def make_captions() -> tuple[list[str], list[list[str]]]:
    """(candidates, references): two thirds disturbed, with hard cases, empty captions and repetitions among them."""
    rng = np.random.default_rng(0)
    source = SceneSource("train", "base", "field")

    def disturbed(text: str) -> str:
        return DISTURBANCES[rng.integers(len(DISTURBANCES))](text) if rng.random() < 2 / 3 else text

    candidates, references = [], []
    hard = iter(HARD)
    for clip in range(CLIPS):
        own = source.facts(clip)["captions"]
        candidates.append(disturbed(source.facts(rng.integers(CLIPS))["captions"][0] if clip % 5 == 4 else own[0]))
        references.append([disturbed(text) for text in own[1:]] + [disturbed(own[0] if clip % 3 else own[1])])
        if clip % 2:
            references[-1][clip % REFERENCES] = next(hard, own[2])
    for clip in range(0, CLIPS, 4):
        candidates[clip] = next(hard, candidates[clip])
    for clip, empty in zip((1, 2, 3, 5), ("", " ", "...", "😀"), strict=True):
        candidates[clip] = empty
    references[9][0] = references[10][1] = ""
    references[12] = [references[12][0]] * REFERENCES
    if next(hard, None) is not None:
        raise ValueError("too many hard captions for so few clips")
    return candidates, references


def main() -> None:
    candidates, references = make_captions()
    texts = [*candidates, *(text for own in references for text in own)]
    words = captions_reference.tokens(texts)
    said, rest = words[:CLIPS], words[CLIPS:]
    wanted = [rest[i : i + REFERENCES] for i in range(0, len(rest), REFERENCES)]
    scores = captions_reference.scores(said, wanted)
    streams = [[word for caption in words[i : i + 40] for word in caption] for i in range(0, len(words), 40)]
    np.savez_compressed(
        FILE,
        texts=np.array(texts),
        tokens=np.array([" ".join(one) for one in words]),
        mtld=np.array([captions_reference.mtld(stream) for stream in streams]),
        **scores,
    )


if __name__ == "__main__":
    main()
