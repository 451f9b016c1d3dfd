"""Ranks and scores: hand-made examples, an independent library, brute force, and laws that hold for any matrix."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiojax.errors import AudiojaxError
from audiojax.metrics.retrieval import Ranks, audio_to_text, chance_scores, graded, minimal_pairs, retrieval_scores, text_to_audio


def random_case(seed, clips=30, captions=5, levels=None):
    """A similarity matrix with `captions` texts a clip; with `levels`, values are few and tie often."""
    rng = np.random.default_rng(seed)
    clip_index = rng.permutation(np.repeat(np.arange(clips), captions))
    shape = (clips * captions, clips)
    similarity = (
        rng.permutation(np.prod(shape)).reshape(shape).astype(float) if levels is None else rng.integers(0, levels, shape).astype(float)
    )
    return similarity, clip_index


def test_five_captions_by_hand():
    """Two clips, five captions each; columns are clips."""
    clip_index = np.repeat([0, 1], 5)
    similarity = np.array([[9, 1], [8, 2], [3, 7], [1, 6], [5, 5], [2, 9], [7, 8], [4, 3], [6, 4], [0, 0]], float)
    t2a = text_to_audio(similarity, clip_index)
    np.testing.assert_array_equal(t2a.rank, [0, 0, 1, 1, 1, 0, 0, 1, 1, 1])  # the ties in rows 4 and 9 count against
    np.testing.assert_allclose(t2a.average_precision, [1, 1, 0.5, 0.5, 0.5, 1, 1, 0.5, 0.5, 0.5])
    a2t = audio_to_text(similarity, clip_index)
    np.testing.assert_array_equal(a2t.rank, [0, 0])
    # clip 0: texts by similarity are 0 1 | 6 8 | 4 | 7 | 2 | 5 | 3 | 9, own ones at positions 1, 2, 5, 7, 9
    assert a2t.average_precision[0] == pytest.approx((1 / 1 + 2 / 2 + 3 / 5 + 4 / 7 + 5 / 9) / 5)
    assert t2a.summary() == pytest.approx({"R@1": 0.4, "R@5": 1, "R@10": 1, "R_sum": 2.4, "mAP@10": 0.7, "MedR": 2, "MeanR": 1.6})


@pytest.mark.parametrize(("rank", "expected"), [(1, 1.0), (4, 0.25), (10, 0.1), (11, 0.0)])
def test_map_of_one_relevant_item(rank, expected):
    similarity = -np.arange(20.0)[None, :]
    assert text_to_audio(similarity, np.array([rank - 1])).average_precision[0] == pytest.approx(expected)


def test_map_with_hits_at_1_3_12_of_five_relevant():
    order = np.full(40, -1)
    order[[0, 2, 11, 20, 30]] = 0  # places of clip 0's captions in the ranking
    clip_index = np.where(order == 0, 0, 1)
    similarity = np.stack([-np.arange(40.0), np.zeros(40)], axis=1)
    a2t = audio_to_text(similarity, clip_index)
    assert a2t.rank[0] == 0
    assert a2t.average_precision[0] == pytest.approx((1 / 1 + 2 / 3) / 5)


def test_medians_follow_the_notes_rounding():
    ranks = Ranks(np.array([0, 1, 4, 9]), np.zeros(4), np.arange(4))
    assert ranks.summary()["MedR"] == 3  # floor(2.5) + 1
    assert ranks.summary()["MeanR"] == 4.5


@pytest.mark.parametrize("value", [0.0, 1.0, -np.inf])
def test_a_constant_model_finds_nothing(value):
    clip_index = np.repeat(np.arange(50), 5)
    scores = retrieval_scores(np.full((250, 50), value), clip_index)
    for direction in ("t2a", "a2t"):
        assert scores[f"{direction}/R@10"] == scores[f"{direction}/mAP@10"] == 0
    assert scores["t2a/MedR"] == 50
    assert scores["a2t/MedR"] == 246  # all 245 texts of other clips come first


def test_equal_captions_of_the_own_clip_are_no_rivals():
    similarity = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    a2t = audio_to_text(similarity, np.array([0, 0, 1, 1]))
    np.testing.assert_array_equal(a2t.rank, [0, 0])
    np.testing.assert_allclose(a2t.average_precision, 1)


def test_agrees_with_ir_measures():
    import ir_measures
    from ir_measures import AP, RR, Success

    measures = [Success @ 1, Success @ 5, Success @ 10, AP @ 10, RR]
    similarity, clip_index = random_case(3, clips=40)
    run = [(f"t{t}", f"a{a}", similarity[t, a]) for t in range(200) for a in range(40)]
    truth = [ir_measures.Qrel(f"t{t}", f"a{clip_index[t]}", 1) for t in range(200)]
    for ranks, qrels, docs in (
        (text_to_audio(similarity, clip_index), truth, run),
        (
            audio_to_text(similarity, clip_index),
            [ir_measures.Qrel(q.doc_id, q.query_id, 1) for q in truth],
            [(a, t, s) for t, a, s in run],
        ),
    ):
        theirs = ir_measures.calc_aggregate(measures, qrels, [ir_measures.ScoredDoc(*d) for d in docs])
        for depth in (1, 5, 10):
            assert ranks.summary()[f"R@{depth}"] == pytest.approx(theirs[Success @ depth], abs=1e-9)
        assert ranks.summary()["mAP@10"] == pytest.approx(theirs[AP @ 10], abs=1e-6)
        assert np.mean(1 / (ranks.rank + 1)) == pytest.approx(theirs[RR], abs=1e-5)


def adversarial_order(scores, relevant):
    """Items from best to worst, wrong ones first among equals."""
    return sorted(range(len(scores)), key=lambda i: (-scores[i], relevant[i]))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), levels=st.integers(2, 12))
def test_ties_equal_an_explicit_adversarial_sort(seed, levels):
    similarity, clip_index = random_case(seed, clips=6, captions=3, levels=levels)
    t2a, a2t = text_to_audio(similarity, clip_index), audio_to_text(similarity, clip_index)
    for t, clip in enumerate(clip_index):
        relevant = np.arange(6) == clip
        assert t2a.rank[t] == [relevant[i] for i in adversarial_order(similarity[t], relevant)].index(True)
    for a in range(6):
        relevant = clip_index == a
        ranked = [relevant[i] for i in adversarial_order(similarity[:, a], relevant)]
        assert a2t.rank[a] == ranked.index(True)
        expected = sum(sum(ranked[: p + 1]) / (p + 1) for p in range(10) if ranked[p]) / 3
        assert a2t.average_precision[a] == pytest.approx(expected)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_order_alone_matters(seed):
    """Strictly increasing transforms and relabelled clips and texts leave every query's rank alone."""
    similarity, clip_index = random_case(seed, clips=8, captions=3, levels=9)
    rng = np.random.default_rng(seed)
    t2a, a2t = text_to_audio(similarity, clip_index), audio_to_text(similarity, clip_index)
    for moved in (similarity * 3 - 7, np.exp(similarity / 4), np.arctan(similarity)):
        np.testing.assert_array_equal(text_to_audio(moved, clip_index).rank, t2a.rank)
        np.testing.assert_array_equal(audio_to_text(moved, clip_index).average_precision, a2t.average_precision)
    rows, columns = rng.permutation(24), rng.permutation(8)
    place = np.argsort(columns)  # old clip -> new column
    shuffled, index = similarity[rows][:, columns], place[clip_index[rows]]
    np.testing.assert_array_equal(text_to_audio(shuffled, index).rank, t2a.rank[rows])
    np.testing.assert_array_equal(audio_to_text(shuffled, index).rank, a2t.rank[columns])


def test_chance_equals_all_orders_of_a_small_gallery():
    """3 clips with 1, 2 and 2 captions: every ranking enumerated, both directions."""
    clip_index = np.array([0, 1, 1, 2, 2])
    t2a = np.array([text_to_audio(np.tile(np.array(order, float), (5, 1)), clip_index).rank for order in itertools.permutations(range(3))])
    a2t = [audio_to_text(np.tile(np.array(order, float)[:, None], (1, 3)), clip_index) for order in itertools.permutations(range(5))]
    rank = np.concatenate([r.rank for r in a2t])
    chance = chance_scores(clip_index, clips=3)
    assert chance["t2a/R@1"] == pytest.approx(np.mean(t2a < 1))
    assert chance["t2a/MeanR"] == pytest.approx(np.mean(t2a) + 1)
    assert chance["t2a/MedR"] == np.floor(np.median(t2a)) + 1
    assert chance["t2a/R@5"] == 1
    assert chance["a2t/R@1"] == pytest.approx(np.mean(rank < 1))
    assert chance["a2t/MeanR"] == pytest.approx(np.mean(rank) + 1)
    assert chance["a2t/MedR"] == np.floor(np.median(rank)) + 1
    assert chance["a2t/mAP@10"] == pytest.approx(np.mean([r.average_precision for r in a2t]))


def test_chance_equals_the_mean_over_random_matrices():
    runs = [random_case(seed, clips=40) for seed in range(60)]
    chance = chance_scores(runs[0][1], clips=40)
    for key in ("t2a/R@5", "t2a/mAP@10", "a2t/R@1", "a2t/R@10", "a2t/mAP@10", "a2t/MeanR"):
        scores = [retrieval_scores(*run)[key] for run in runs]
        assert abs(np.mean(scores) - chance[key]) < 4 * np.std(scores) / np.sqrt(len(runs)), key
    assert chance["t2a/R@10"] == pytest.approx(10 / 40)


def test_clips_without_captions_are_distractors():
    similarity = np.array([[0.5, 0.9, 0.1], [0.2, 0.3, 0.4]])
    t2a, a2t = text_to_audio(similarity, np.array([0, 2])), audio_to_text(similarity, np.array([0, 2]))
    np.testing.assert_array_equal(t2a.rank, [1, 0])
    np.testing.assert_array_equal(a2t.clip, [0, 2])


def test_bad_matrices_are_named():
    similarity, clip_index = random_case(0, clips=4, captions=2)
    similarity[5, 2] = np.nan
    with pytest.raises(AudiojaxError, match="1 of 32 similarities are NaN, the first at row 5, column 2"):
        text_to_audio(similarity, clip_index)
    with pytest.raises(AudiojaxError, match="NaN"):
        audio_to_text(similarity, clip_index)
    with pytest.raises(AudiojaxError, match="do not fit 4 clips"):
        text_to_audio(np.zeros((8, 4)), clip_index + 1)
    with pytest.raises(AudiojaxError, match="one clip index per text"):
        text_to_audio(np.zeros((8, 4)), clip_index[:5])


def test_several_right_answers_by_hand():
    similarity = -np.arange(20.0)[None, :]  # the items stand in their order
    relevance = np.zeros((1, 20))
    relevance[0, [1, 3, 17]] = 2, 1, 3
    found = graded(similarity, relevance)
    assert found.rank[0] == 1
    assert found.average_precision[0] == pytest.approx((1 / 2 + 2 / 4) / 3)  # the third lies beyond 16
    ideal = 3 / np.log2(2) + 2 / np.log2(3) + 1 / np.log2(4)
    assert found.gain[0] == pytest.approx((2 / np.log2(3) + 1 / np.log2(5)) / ideal)
    assert found.summary().keys() == {"R@1", "R@5", "R@10", "R_sum", "mAP@16", "MedR", "MeanR", "nDCG@10"}
    assert graded(similarity, relevance, depth=20).average_precision[0] == pytest.approx((1 / 2 + 2 / 4 + 3 / 18) / 3)


def test_grades_agree_with_ir_measures():
    import ir_measures
    from ir_measures import AP, RR, nDCG

    rng = np.random.default_rng(0)
    similarity = rng.permutation(40 * 30).reshape(40, 30).astype(float)
    relevance = rng.integers(0, 4, (40, 30)) * (rng.random((40, 30)) < 0.3)
    relevance[:, 0] = 1
    found = graded(similarity, relevance)
    run = [ir_measures.ScoredDoc(f"q{q}", f"d{d}", similarity[q, d]) for q, d in np.ndindex(40, 30)]
    qrels = [ir_measures.Qrel(f"q{q}", f"d{d}", int(relevance[q, d])) for q, d in np.ndindex(40, 30)]
    theirs = ir_measures.calc_aggregate([AP @ 16, nDCG @ 10, RR], qrels, run)
    assert found.summary()["mAP@16"] == pytest.approx(theirs[AP @ 16], abs=1e-5)
    assert found.summary()["nDCG@10"] == pytest.approx(theirs[nDCG @ 10], abs=1e-5)
    assert np.mean(1 / (found.rank + 1)) == pytest.approx(theirs[RR], abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), levels=st.integers(2, 9))
def test_one_right_answer_of_grade_one_is_text_to_audio(seed, levels):
    similarity, clip_index = random_case(seed, clips=12, captions=2, levels=levels)
    relevance = np.arange(12)[None, :] == clip_index[:, None]
    found, want = graded(similarity, relevance, depth=10), text_to_audio(similarity, clip_index)
    np.testing.assert_array_equal(found.rank, want.rank)
    np.testing.assert_allclose(found.average_precision, want.average_precision)
    np.testing.assert_allclose(found.gain, np.where(want.rank < 10, 1 / np.log2(want.rank + 2), 0))


def test_a_constant_model_gets_the_worst_order_of_grades():
    found = graded(np.zeros((1, 30)), np.arange(30.0)[None, :] >= 25)
    assert found.rank[0] == 25
    assert found.average_precision[0] == found.gain[0] == 0
    some = graded(np.zeros((1, 4)), np.array([[3.0, 0, 1, 2]]))
    assert some.gain[0] == pytest.approx(graded(-np.arange(4.0)[None], np.array([[0.0, 1, 2, 3]])).gain[0])


@pytest.mark.parametrize(
    ("similarity", "relevance", "words"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), r"both are \[queries, items\]"),
        (np.array([[np.nan, 1.0]]), np.ones((1, 2)), "1 of 2 similarities are NaN"),
        (np.zeros((1, 2)), np.array([[1.0, -1.0]]), "negative grades"),
        (np.zeros((1, 2)), np.array([[1.0, np.nan]]), "negative grades or NaN"),
        (np.zeros((2, 2)), np.array([[1.0, 0], [0, 0]]), "query 1 has no right answer"),
    ],
)
def test_grades_that_cannot_be_scored(similarity, relevance, words):
    with pytest.raises(AudiojaxError, match=words):
        graded(similarity, relevance)


def test_minimal_pairs_by_hand():
    similarity = np.array([[0.9, 0.1, 0, 0], [0.5, 0.4, 9, 9], [0, 0, 0.3, 0.3], [9, 9, 0.1, 0.2]])
    np.testing.assert_array_equal(minimal_pairs(similarity), [1, 0, 0, 1])  # other pairs' clips do not matter, and a tie is wrong
    assert minimal_pairs(np.zeros((6, 6))).mean() == 0.0


@pytest.mark.parametrize("wrong", [np.zeros((3, 3)), np.zeros((2, 4)), np.full((2, 2), np.nan)])
def test_minimal_pairs_refuse(wrong):
    with pytest.raises(AudiojaxError):
        minimal_pairs(wrong)
