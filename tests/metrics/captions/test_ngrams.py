"""BLEU, ROUGE-L and CIDEr-D: hand-made examples, extremes, laws that hold for any captions. Equality with pycocoevalcap: test_golden."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiojax.errors import AudiojaxError
from audiojax.metrics.captions.ngrams import bleu, cider_d, count_ngrams, rouge_l

CAPTION = st.lists(st.integers(0, 6), max_size=8)
CLIPS = st.lists(st.tuples(CAPTION, st.lists(CAPTION, min_size=1, max_size=3)), min_size=1, max_size=5)
MEASURES = (bleu, rouge_l, cider_d)


def split(clips):
    return [candidate for candidate, _ in clips], [references for _, references in clips]


def test_bleu_by_hand():
    corpus, each = bleu([["the", "the", "the", "cat"]], [[["the", "cat", "sat", "down", "here"]]])
    shorter = np.exp(1 - 5 / 4)
    assert corpus[0] == pytest.approx(2 / 4 * shorter)  # "the" counts once
    assert corpus[1] == pytest.approx(np.sqrt(2 / 4 * 1 / 3) * shorter)
    assert corpus[2] < 1e-4
    np.testing.assert_allclose(each[:, 0], corpus)


def test_bleu_takes_the_closest_reference_and_pools_the_clips():
    assert bleu([list("abcd")], [[list("abcdefgh"), list("abc"), list("abcde")]])[0][0] == pytest.approx(1.0)  # 3, and not 5
    corpus, each = bleu([list("ab"), list("abcdef")], [[list("abcd")], [list("abcdef")]])
    assert corpus[0] == pytest.approx(np.exp(1 - 10 / 8))
    np.testing.assert_allclose(each[0], [np.exp(1 - 4 / 2), 1], rtol=1e-6)


def test_rouge_l_by_hand():
    value, each = rouge_l([list("axbyc"), list("ab")], [[list("abcd"), list("zz")], [list("cd")]])
    precision, recall = 3 / 5, 3 / 4
    assert each[0] == pytest.approx(2.44 * precision * recall / (recall + 1.44 * precision))
    assert each[1] == 0
    assert value == pytest.approx(each.mean())


def test_rouge_l_takes_the_best_precision_and_the_best_recall():
    both = rouge_l([list("abcd")], [[list("abc"), list("ad")]])[0]
    precision, recall = 3 / 4, 1.0
    assert both == pytest.approx(2.44 * precision * recall / (recall + 1.44 * precision))


def test_cider_d_by_hand():
    """Two clips; words of one clip alone weigh log 2, those of both nothing."""
    _, each = cider_d([["a", "x"], ["b"]], [[["a", "x"]], [["b", "x"]]])
    assert each[0] == pytest.approx(10 * (1 + 1) / 4)  # "a" and "a x"
    assert each[1] == pytest.approx(10 * np.exp(-1 / 72) / 4)  # "b", and one bigram too few


def test_cider_d_of_one_clip_is_zero():
    assert cider_d([["a", "b"]], [[["a", "b"]]])[0] == 0


def test_ngrams_are_counted_within_captions():
    counts = list(count_ngrams([list("abab"), [], list("ab")]))
    assert [one.size for one in counts] == [2, 2, 2, 1]
    assert counts[1].caption.tolist() == [0, 0, 2]
    assert sorted(counts[1].count.tolist()) == [1, 1, 2]


@given(CLIPS)
def test_values_lie_in_their_ranges(clips):
    for measure, highest in ((bleu, 1), (rouge_l, 1), (cider_d, 10)):
        corpus, each = measure(*split(clips))
        assert np.isfinite(each).all()
        assert (np.asarray(each) >= 0).all()
        assert np.max(each) <= highest + 1e-9
        assert np.max(corpus) <= highest + 1e-9


@given(CLIPS, st.randoms())
def test_the_order_of_clips_references_and_token_names_does_not_matter(clips, random):
    mixed = list(enumerate(clips))
    random.shuffle(mixed)
    renamed = [([f"w{t}" for t in c], [[f"w{t}" for t in r] for r in refs[::-1]]) for _, (c, refs) in mixed]
    for measure in MEASURES:
        (corpus, each), (other, others) = measure(*split(clips)), measure(*split(renamed))
        np.testing.assert_allclose(other, corpus, atol=1e-12)
        np.testing.assert_allclose(others, np.asarray(each)[..., [i for i, _ in mixed]], atol=1e-12)


@given(st.lists(st.lists(st.integers(0, 6), min_size=4, max_size=8), min_size=1, max_size=5))
def test_a_candidate_equal_to_its_reference_has_the_highest_score(captions):
    references = [[caption] for caption in captions]
    np.testing.assert_allclose(bleu(captions, references)[0], 1, rtol=1e-6)
    assert rouge_l(captions, references)[0] == pytest.approx(1)
    best = cider_d(captions, references)[1]
    for i in range(len(captions)):
        other = captions[:i] + [captions[i][::-1]] + captions[i + 1 :]
        assert cider_d(other, references)[1][i] <= best[i] + 1e-9


@pytest.mark.parametrize("references", [[[["a"]], [["b", "c"]]], [[[]], [[], ["a"]]]])
def test_empty_captions_score_nothing(references):
    for measure in MEASURES:
        corpus, each = measure([[], []], references)
        np.testing.assert_array_equal(corpus, 0)
        np.testing.assert_array_equal(each, 0)


@pytest.mark.parametrize("measure", MEASURES)
def test_lists_that_do_not_fit(measure):
    with pytest.raises(AudiojaxError, match="1 candidates and 2 lists of references"):
        measure([["a"]], [[["a"]], [["b"]]])
    with pytest.raises(AudiojaxError, match="0 candidates"):
        measure([], [])
    with pytest.raises(AudiojaxError, match="clip 1 of 2 has no reference"):
        measure([["a"], ["b"]], [[["a"]], []])
