"""CLAP score, retrieval precision and copying on vectors and classes that can be counted by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiojax.errors import AudiojaxError
from audiojax.metrics.generation.likeness import NONE, clap_scores, copy_scores, mismatched_clap_scores, retrieval_precision

ROWS = np.eye(4)


def test_clap_scores_are_cosines():
    rng = np.random.default_rng(0)
    audio, text = rng.normal(size=(2, 6, 5))
    cosine = (audio @ text.T) / np.outer(np.linalg.norm(audio, axis=1), np.linalg.norm(text, axis=1))
    np.testing.assert_allclose(clap_scores(audio, text), np.diag(cosine))
    np.testing.assert_allclose(mismatched_clap_scores(audio, text), (cosine.sum(1) - np.diag(cosine)) / 5)
    np.testing.assert_allclose(clap_scores(3 * audio, text / 2), np.diag(cosine))
    with pytest.raises(AudiojaxError, match="1 of 4 vectors are 0"):
        clap_scores(ROWS * [[1], [1], [0], [1]], ROWS)
    with pytest.raises(AudiojaxError, match="is needed"):
        clap_scores(ROWS, ROWS[:3])


def test_retrieval_precision_counts_what_shares_a_class():
    store = ROWS.astype(bool)
    wanted = np.array([[1, 1, 0, 0], [0, 0, 1, 0]], bool)
    found = retrieval_precision(wanted, store, np.array([[0, 1, 2, 3], [2, NONE, NONE, NONE]]))
    np.testing.assert_allclose(found, [0.5, 1])
    with pytest.raises(AudiojaxError, match="nothing was retrieved for 1 of 1"):
        retrieval_precision(wanted[:1], store, np.array([[NONE]]))
    with pytest.raises(AudiojaxError, match="row 4 is none"):
        retrieval_precision(wanted[:1], store, np.array([[4]]))


def test_copies_are_found_and_others_are_not():
    rng = np.random.default_rng(1)
    store = rng.normal(size=(400, 16))
    retrieved, alike = np.stack([np.arange(200), np.arange(200) + 200], axis=1), np.ones((200, 400), bool)
    assert copy_scores(store[:200], store, retrieved[:, :1], alike).tolist() == [1.0] * 200
    assert np.mean(copy_scores(store[:200] + store[200:], store, retrieved, alike)) > 0.97
    assert copy_scores(-store[:200], store, retrieved[:, :1], alike).tolist() == [0.0] * 200
    assert np.mean(copy_scores(rng.normal(size=(200, 16)), store, retrieved, alike)) == pytest.approx(0.5, abs=0.06)


@settings(max_examples=30)
@given(st.integers(0, 2**20))
def test_only_clips_of_the_class_count(seed):
    rng = np.random.default_rng(seed)
    store, own = rng.normal(size=(8, 3)), rng.normal(size=(1, 3))
    alike = np.array([[True] * 5 + [False] * 3])
    found = copy_scores(own, store, np.array([[1, 6, NONE]]), alike)
    cosine = (store @ own[0]) / np.linalg.norm(store, axis=1)
    expected = np.mean([[cosine[i] > cosine[j] for j in (0, 2, 3, 4)] for i in (1, 6)])
    np.testing.assert_allclose(found, expected)
    other = np.concatenate([store[:7], rng.normal(size=(1, 3))])
    assert copy_scores(own, other, np.array([[1, 6, NONE]]), alike) == found


def test_copies_that_cannot_be_judged():
    alike = np.array([[True, False, False, False]])
    with pytest.raises(AudiojaxError, match="sound 0: the datastore has no clip of its class but"):
        copy_scores(ROWS[:1], ROWS, np.array([[0]]), alike)
    with pytest.raises(AudiojaxError, match="do not go with 1 sounds and 4 clips"):
        copy_scores(ROWS[:1], ROWS, np.array([[0]]), alike[:, :2])
