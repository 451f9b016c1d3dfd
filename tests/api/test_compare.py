"""Settings of a sweep beside each other: every measure of every direction, and minimal pairs where they were asked for."""

import numpy as np
import pytest

from audiojax.api.compare import compare_gaps, compare_ranks
from audiojax.metrics.retrieval import Ranks, audio_to_text, text_to_audio

CLIPS = np.repeat(np.arange(12), 2)


def found(seed: int, right: float) -> dict[str, Ranks]:
    similarity = np.random.default_rng(seed).normal(size=(24, 12))
    text, audio = text_to_audio(similarity, CLIPS), audio_to_text(similarity, CLIPS)
    pairs = np.arange(8) < 8 * right
    probe = Ranks(np.where(pairs, 0, 1), np.where(pairs, 1.0, 0.5), np.arange(8) // 2)
    return {"t2a": text, "t2a_cosine": text, "a2t": audio, "a2t_cosine": audio, "probe/order": probe}


def test_every_measure_of_each_setting_is_compared_with_the_first():
    ranks = {("a", "studio"): [found(0, 0.5), found(1, 0.5)], ("b", "studio"): [found(2, 0.75), found(3, 0.75)]}
    tables, rows = compare_ranks(["a", "b"], ["studio"], ranks)
    assert [table.title for table in tables][-1] == "Minimal pairs, tested on studio"
    by = {(row["direction"], row["setting"], row["scores"], row["measure"]): row for row in rows}
    assert len(by) == len(rows) == 2 * 2 * 2 * 4 + 2
    both = ranks["b", "studio"]
    for measure, depth in (("R@1", 1), ("R@5", 5), ("R@10", 10)):
        expected = np.mean([one["t2a"].hits(depth).mean() for one in both])
        assert by["t2a", "b", "re-ranked", measure]["value estimate"] == pytest.approx(expected)
    probe = by["probe", "b", "re-ranked", "order"]
    assert (probe["value estimate"], probe["against first estimate"]) == (0.75, 0.25)
    assert by["probe", "a", "re-ranked", "order"]["against first estimate"] == ""


def test_minimal_pairs_that_some_were_not_asked_for_are_not_compared():
    without = {name: one for name, one in found(1, 0.5).items() if name != "probe/order"}
    tables, _ = compare_ranks(["a", "b"], ["studio"], {("a", "studio"): [found(0, 0.5)], ("b", "studio"): [without]})
    assert len(tables) == 2


def test_no_table_of_minimal_pairs_where_none_were_asked_for():
    ranks = {("a", "studio"): [{name: one for name, one in found(0, 0.5).items() if name != "probe/order"}]}
    tables, rows = compare_ranks(["a"], ["studio"], ranks)
    assert len(tables) == 2
    assert {row["direction"] for row in rows} == {"t2a", "a2t"}


def test_clips_without_a_value_in_a_setting_are_in_no_difference():
    nan = np.nan
    gaps = {
        ("one", "studio"): [{"copy_score": np.array([0.0, 1.0, nan, 0.5])}, {"copy_score": np.array([1.0, 1.0, nan, 0.5])}],
        ("two", "studio"): [{"copy_score": np.array([nan, 0.5, 1.0, 0.5])}, {"copy_score": np.array([1.0, 0.5, 1.0, 0.5])}],
        ("none", "studio"): [{"copy_score": np.array([nan] * 4)}] * 2,
    }
    (table,), rows = compare_gaps(["one", "two", "none"], ["studio"], gaps, titles=None)
    found = {row["setting"]: row for row in rows}
    assert found["one"]["value estimate"] == pytest.approx((0.5 + 1.0 + 0.5) / 3)
    assert found["two"]["value estimate"] == pytest.approx((0.5 + 1.0 + 0.5) / 3)
    assert found["two"]["against first estimate"] == pytest.approx((-0.5 + 0.0) / 2)  # of the second and the last clip
    assert found["none"]["value estimate"] == found["none"]["against first estimate"] == ""
    assert len(table.rows) == 3
