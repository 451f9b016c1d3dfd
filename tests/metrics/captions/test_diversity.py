"""Diversity by hand, at its limits, and the front door of strings. Equality of MTLD with lexicalrichness: test_golden."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiojax.errors import AudiojaxError
from audiojax.metrics.captions import diversity
from audiojax.metrics.captions.ngrams import bleu
from audiojax.metrics.captions.scores import diversity_scores, score_captions

TOKENS = st.lists(st.integers(0, 20), min_size=1, max_size=60)


@pytest.mark.parametrize("clips", [1, 2, 7])
def test_the_same_word_for_every_clip(clips):
    scores = diversity_scores([["bang"]] * clips)
    assert scores["vocabulary"] == 1
    assert scores["distinct_1"] == pytest.approx(1 / clips)
    assert scores["distinct_2"] == 0  # there is no pair of words
    assert "div_1" not in scores


def test_distinct_counts_over_all_captions():
    captions = [["a", "dog", "barks"], ["a", "dog", "howls"]]
    assert diversity.distinct(captions, 1) == pytest.approx(4 / 6)
    assert diversity.distinct(captions, 2) == pytest.approx(3 / 4)
    assert diversity.vocabulary(captions) == 4


def test_mtld_of_ten_distinct_words_is_ten():
    assert diversity.mtld(list("abcdefghij")) == 10


def test_mtld_by_hand():
    """a b a a: 1, 1, 2/3 closes a run; the last word is a rest that counts nothing. Backwards: 1, 1/2 closes one; then b a, a rest."""
    assert diversity.mtld(list("abaa")) == pytest.approx((4 / 1 + 4 / 1) / 2)
    assert diversity.mtld([]) == 0


@given(TOKENS)
def test_mtld_is_finite_and_the_same_backwards(tokens):
    value = diversity.mtld(tokens)
    assert math.isfinite(value)
    assert value > 0
    assert diversity.mtld(tokens[::-1]) == pytest.approx(value)


@given(st.lists(TOKENS, min_size=1, max_size=5), st.randoms())
def test_shares_lie_between_nothing_and_one_in_any_order(captions, random):
    mixed = random.sample(captions, len(captions))
    for order in (1, 2):
        assert 0 <= diversity.distinct(captions, order) <= 1
        assert diversity.distinct(mixed, order) == diversity.distinct(captions, order)
        assert diversity.div([mixed], order)[0] == diversity.div([captions], order)[0] <= 1


def test_candidates_of_a_clip():
    clips = [[["a", "dog"], ["a", "cat"]], [["rain"], ["rain"]]]
    assert diversity.div(clips, 1).tolist() == [3 / 4, 1 / 2]
    assert diversity.div(clips, 2).tolist() == [2 / 4, 0]
    words = ["a", "dog", "barks", "at", "night"]
    assert diversity.mbleu([[words, words]]) == pytest.approx(1)
    assert diversity.mbleu([[words, list("vwxyz")]]) < 0.01
    first, second, third = words, words[::-1], words[:4]
    expected = sum(bleu([a], [[b, c]])[0][3] for a, b, c in ((first, second, third), (second, first, third), (third, first, second))) / 3
    assert diversity.mbleu([[first, second, third]]) == pytest.approx(expected)
    with pytest.raises(AudiojaxError, match="at least two"):
        diversity.mbleu([[words, words], [words]])


def test_clips_with_one_candidate_have_no_part_in_what_compares_candidates():
    scores = diversity_scores([["a dog barks", "a cat meows"], ["rain"]])
    assert scores["div_1"] == pytest.approx(5 / 6)
    assert scores["vocabulary"] == 6


def test_the_front_door_takes_strings():
    scores = score_captions(["A dog's bark.", ""], [["the dog 's BARK", "x"], ["rain"]])
    assert scores.per_clip["bleu_1"].tolist() == pytest.approx([3 / 4, 0], abs=1e-6)
    assert set(scores.corpus) == set(scores.per_clip) == {"bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider_d"}
    assert all(type(value) is float for value in scores.corpus.values())


def test_captions_without_words():
    assert set(score_captions(["", "..."], [["rain"], ["wind"]]).corpus.values()) == {0.0}
    assert set(diversity_scores([["", "."], ["!", ""]]).values()) == {0.0}
    with pytest.raises(AudiojaxError, match="no captions"):
        diversity_scores([])
