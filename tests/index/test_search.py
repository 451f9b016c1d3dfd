"""Searching an opened index: files by their best window, where that lies, and the same on one device and on eight."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiojax.index.search import Index
from tests.index.test_store import write_index


def test_a_file_counts_once_with_its_best_window(tmp_path):
    vectors = np.array([[1, 0], [3, 4], [0, 2], [4, 3], [0, 5], [1, 0]], np.float32)
    index = Index.open(write_index(tmp_path / "index", vectors, [1, 2, 3]))
    up, right = index.search(np.array([[0, 7], [1, 0]]), 3)
    assert [(hit.path.name, hit.start, hit.end, hit.row) for hit in up] == [("1.wav", 1, 2, 2), ("2.wav", 1, 2, 4), ("0.wav", 0, 1, 0)]
    assert [hit.score for hit in up] == pytest.approx([1, 1, 0])
    assert [(hit.path.name, hit.start) for hit in right] == [("0.wav", 0), ("2.wav", 2), ("1.wav", 0)]
    assert all(hit.score == hit.cosine for hit in up)
    assert index.search(np.zeros((0, 2)), 3) == []
    with pytest.raises(ValueError, match="k = 0"):
        index.search(np.ones((1, 2)), 0)


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["float32", "float16"]), st.booleans())
def test_it_ranks_files_as_a_sort_of_all_cosines_does(tmp_path_factory, seed, dtype, resident):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 9, 12).tolist()
    vectors, queries = rng.standard_normal((sum(counts), 5)), rng.standard_normal((3, 5)).astype(np.float32)
    index = Index.open(write_index(tmp_path_factory.mktemp("index") / "i", vectors, counts, dtype), resident=resident)
    units = index.vectors(range(len(vectors)))
    cosines = queries @ (units / np.linalg.norm(units, axis=1, keepdims=True)).T / np.linalg.norm(queries, axis=1, keepdims=True)
    best = np.stack([part.max(axis=1) for part in np.split(cosines, np.cumsum(counts)[:-1], axis=1)], axis=1)
    for hits, line in zip(index.search(queries, 4), best, strict=True):
        assert [hit.score for hit in hits] == pytest.approx(np.sort(line)[::-1][:4].tolist(), abs=2e-3)
        assert [hit.cosine for hit in hits] == pytest.approx([line[int(hit.path.stem)] for hit in hits], abs=2e-3)
