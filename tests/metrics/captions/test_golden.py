"""Equal to pycocoevalcap and lexicalrichness: on a stored set of 1,560 captions always, and live where they and Java are at hand."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from audiojax.metrics.captions import diversity
from audiojax.metrics.captions.java import meteor
from audiojax.metrics.captions.ptb import tokenize
from audiojax.metrics.captions.scores import score_captions
from tests.golden.hard_captions import HARD
from tests.parity import captions_reference

FILE = Path(__file__).parents[2] / "golden" / "captions.npz"
CLIPS = 260


@pytest.fixture(scope="module")
def golden():
    with np.load(FILE, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def by_clip(values: list) -> tuple[list, list]:
    """(candidates, references) out of all in their order."""
    rest = values[CLIPS:]
    return values[:CLIPS], [rest[i : i + 5] for i in range(0, len(rest), 5)]


def test_the_words_are_those_of_the_java_tokeniser(golden):
    texts = golden["texts"].tolist()
    assert len(texts) == 1_560
    assert set(HARD) <= set(texts)
    wrong = {text: tokenize(text) for text, words in zip(texts, golden["tokens"].tolist(), strict=True) if tokenize(text) != words.split()}
    assert wrong == {}


@pytest.mark.parametrize("name", ["bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider_d"])
def test_scores_of_the_set_and_of_every_clip(golden, name):
    scores = score_captions(*by_clip(golden["texts"].tolist()))
    assert scores.corpus[name] == pytest.approx(golden[name][0], abs=1e-9)
    np.testing.assert_allclose(scores.per_clip[name], golden[name][1:], atol=1e-9)


def test_mtld(golden):
    words = [caption.split() for caption in golden["tokens"].tolist()]
    streams = [[word for caption in words[i : i + 40] for word in caption] for i in range(0, len(words), 40)]
    np.testing.assert_allclose([diversity.mtld(stream) for stream in streams], golden["mtld"], rtol=1e-12)


@pytest.mark.slow
def test_live():
    """The Java tokeniser on other captions than the stored ones, and METEOR, which ours runs without pycocoevalcap's wrapper."""
    meteor_wrapper = pytest.importorskip("pycocoevalcap.meteor.meteor", reason="needs the extra eval")
    if shutil.which("java") is None:
        pytest.skip("needs Java")
    rng = np.random.default_rng(1)
    pieces = [piece for text in HARD for piece in text.split() if piece.isascii()]
    texts = [" ".join(rng.choice(pieces, rng.integers(1, 12))) + " x" for _ in range(1_200)]
    words = captions_reference.tokens(texts)
    wrong = [text for text, one in zip(texts, words, strict=True) if tokenize(text) != one]
    assert len(wrong) <= 0.005 * len(texts), wrong
    said, wanted = words[:40], [words[i : i + 5] for i in range(40, 240, 5)]
    said[3] = []
    value, values = meteor(said, wanted)
    theirs = meteor_wrapper.Meteor().compute_score(
        {i: [" ".join(one) for one in own] for i, own in enumerate(wanted)}, {i: [" ".join(one)] for i, one in enumerate(said)}
    )
    assert value == pytest.approx(theirs[0], abs=1e-9)
    np.testing.assert_allclose(values, theirs[1], atol=1e-9)
    assert values[3] == 0 < values.max()


@pytest.mark.slow
def test_mtld_live():
    pytest.importorskip("lexicalrichness", reason="needs the extra parity")
    rng = np.random.default_rng(2)
    for size in (1, 2, 5, 10, 40, 300):
        words = [f"w{i}" for i in rng.integers(0, 30, size)]
        assert diversity.mtld(words) == pytest.approx(captions_reference.mtld(words), rel=1e-12)
    assert diversity.mtld(words[::-1]) == pytest.approx(diversity.mtld(words))
