"""The index bench at toy size: both sides run and find the same."""

from types import SimpleNamespace

import pytest

from audiojax.bench import index, index_jax
from audiojax.errors import AudiojaxError

TOY = {"rows": 1000, "width": 8, "queries": 5, "k": 3}


def test_our_side_finds_the_best():
    call, facts = index_jax.prepare(TOY)
    vectors = [row for piece in index.draw_vectors(1000, 8) for row in piece]
    scores = sorted((float(index.draw_queries(5, 8)[0] @ row) for row in vectors), reverse=True)[:3]
    assert facts["scores"][0] == pytest.approx(scores, abs=1e-6)
    assert call().scores.tolist() == facts["scores"]
    assert (facts["items"], facts["platform"]) == (5, "cpu")
    assert facts["copies"] >= 0


def test_compiling_is_told_from_searching_the_same_piece_twice(monkeypatch):
    wanted, searched = [1.0, 4.0, 10.0, 11.0], []  # the first search took 3 s, the second one 1 s

    class Search(index_jax.ExactSearch):
        def search(self, queries, k):
            searched.append(len(self._groups))
            return super().search(queries, k)

    monkeypatch.setattr(index_jax, "ExactSearch", Search)
    monkeypatch.setattr(index_jax, "PIECE", 600)
    monkeypatch.setattr(index_jax, "time", SimpleNamespace(perf_counter=lambda: wanted.pop(0)))
    _, facts = index_jax.prepare(TOY)
    assert (facts["first_seconds"], facts["compile_seconds"]) == (3.0, 2.0)
    assert searched == [600, 600, 1000]


def test_a_side_that_finds_something_else_is_not_timed(monkeypatch):
    def compare(case, sides, *, check, **options):
        check(sides[1], {"scores": [[0.5]], "copies": 1.0}, {"scores": [[0.6]]})

    monkeypatch.setattr(index, "compare", compare)
    with pytest.raises(AudiojaxError, match="faiss flat differs from audiojax by 0.1 in a score"):
        index.run(**TOY)


@pytest.mark.parity
def test_both_sides_find_the_same():
    pytest.importorskip("faiss")
    rows = index.run(**TOY, samples=1, attempts=1, allow_noise=True)
    assert [row.side for row in rows] == ["audiojax", "faiss flat"]
    assert rows[1].ratio > 0
    assert all("copies of the vectors" in row.note for row in rows)
