"""Exact search against a sort of all scores, for any sizes, blocks, dtypes and devices; sums of whole numbers are exact in any order."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiojax.index import exact
from audiojax.index.exact import ExactSearch


def sorted_rows(scores, groups, k):
    """Per query the best row of each of the k best groups, by sorting everything."""
    found = []
    for line in scores:
        seen = {}
        for row in np.argsort(-line, kind="stable"):
            if groups[row] >= 0:
                seen.setdefault(groups[row], row)
        found.append(list(seen.values())[:k])
    return np.array(found, np.int64).reshape(len(scores), -1)


@st.composite
def problems(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, width = draw(st.integers(0, 40)), 3
    rows = rng.integers(-2, 3, (n, width)).astype(draw(st.sampled_from([np.float32, np.float16])))
    queries = rng.integers(-2, 3, (draw(st.sampled_from([1, 2, 7])), width)).astype(np.float32)
    cuts = np.sort(rng.integers(0, n + 1, draw(st.integers(0, 3))))
    groups = np.repeat(np.arange(n), rng.integers(1, 6, n))[:n] if draw(st.booleans()) else np.arange(n)
    groups = np.where(rng.random(n) < draw(st.sampled_from([0.0, 0.3, 1.0])), -1, groups)
    return rows, np.split(rows, cuts), groups, queries


@settings(max_examples=40)
@given(problems(), st.sampled_from([1, 3, 50]), st.sampled_from([1, 4, 64]), st.sampled_from([1, 8]), st.booleans())
def test_it_finds_what_a_sort_finds(problem, k, block, devices, resident):
    rows, chunks, groups, queries = problem
    search = ExactSearch(lambda: chunks, groups, devices=jax.devices()[:devices], resident=resident, block_rows=block)
    for _ in range(2):
        found = search.search(queries, k)
        scores = queries @ rows.astype(np.float32).T
        expected = sorted_rows(scores, groups, k)
        np.testing.assert_array_equal(found.rows, expected)
        np.testing.assert_array_equal(found.scores, np.take_along_axis(scores, expected, axis=1))


def test_rows_that_do_not_count_leave_a_group_whole():
    rows = np.array([[3.0], [9.0], [2.0], [1.0], [0.0]], np.float32)
    groups = np.array([0, -1, 0, 1, 2])
    found = ExactSearch(lambda: [rows], groups, devices=jax.devices()[:1]).search(np.ones((1, 1)), 3)
    np.testing.assert_array_equal(found.rows, [[0, 3, 4]])


def test_more_queries_than_a_device_scores_at_once(monkeypatch):
    monkeypatch.setattr(exact, "QUERY_ROWS", 4)
    rng = np.random.default_rng(0)
    rows, queries = rng.integers(-9, 9, (50, 3)).astype(np.float32), rng.integers(-9, 9, (10, 3)).astype(np.float32)
    found = ExactSearch(lambda: [rows], np.arange(50), block_rows=2).search(queries, 5)
    np.testing.assert_array_equal(found.rows, sorted_rows(queries @ rows.T, np.arange(50), 5))


def test_half_precision_is_summed_in_single_precision():
    rows = np.full((2, 4096), 1.0, np.float16)
    rows[1, 0] = 2.0  # 4097 is no float16
    found = ExactSearch(lambda: [rows], np.arange(2)).search(np.ones((1, 4096), np.float32), 2)
    assert found.scores.tolist() == [[4097.0, 4096.0]]
    assert found.rows.tolist() == [[1, 0]]


@pytest.mark.parametrize(("resident", "expected"), [(True, 1), (False, 2)])
def test_a_resident_search_reads_the_rows_once(resident, expected):
    rows, reads = np.eye(20, dtype=np.float32), []

    def chunks():
        reads.append("again")
        return [rows[:7], rows[7:]]

    search = ExactSearch(chunks, np.arange(20), devices=jax.devices()[:1], resident=resident, block_rows=8)
    assert search.search(rows, 1).rows[:, 0].tolist() == search.search(rows, 1).rows[:, 0].tolist() == list(range(20))
    assert len(reads) == expected


@pytest.mark.parametrize(
    ("groups", "width", "k", "words"), [(4, 2, 0, "k = 0"), (4, 3, 1, "width 3 for rows of width 2"), (1, 2, 1, "1 groups for 4 rows")]
)
def test_what_cannot_be_searched(groups, width, k, words):
    with pytest.raises(ValueError, match=words):
        ExactSearch(lambda: [np.ones((4, 2), np.float32)], np.arange(groups)).search(np.ones((1, width)), k)
