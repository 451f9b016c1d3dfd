"""The pair denoiser bench at toy sizes: its workers run, and torch's literal loop gives what our sampler gives."""

import pytest

from audiojax.bench import pair_denoiser
from audiojax.errors import UsageError

TOY = {
    "queries": 20,
    "gallery": 12,
    "top_m": 6,
    "steps": 10,
    "width": 16,
    "query_block": 8,
    "torch_queries": 7,
    "samples": 1,
    "attempts": 1,
}


def test_our_side_alone():
    (row,) = pair_denoiser.run(**TOY, torch_dtypes=())
    assert row.side == "audiojax"
    assert row.items == 20
    assert row.samples == 1
    assert row.per_second == pytest.approx(20 / row.median)
    assert row.compile_seconds > 0
    assert row.memory_mib > 50


@pytest.mark.parity
def test_both_sides_do_the_same_maths():
    pytest.importorskip("torch")
    rows = pair_denoiser.run(**TOY, torch_dtypes=("float32", "bfloat16"), allow_noise=True)
    assert [row.side for row in rows] == ["audiojax", "torch eager float32", "torch eager bfloat16"]
    assert [row.items for row in rows] == [20, 7, 7]
    assert all(row.ratio > 0 for row in rows[1:])


def test_without_torch_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr(pair_denoiser.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"audiojax\[parity\]"):
        pair_denoiser.run(**TOY)
