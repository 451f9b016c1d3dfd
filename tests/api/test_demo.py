"""The README's first command from end to end, on a world of a few dozen clips."""

import sys

import numpy as np
import pytest

import audiojax
from tests.api.test_end_to_end import config, small_towers  # noqa: F401


@pytest.mark.slow
def test_demo_trains_evaluates_searches_and_shows_again_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.modules["audiojax.api.demo"], "load_config", lambda name: config())
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    found = audiojax.demo("~/runs/demo", all=True, progress=False)
    out = tmp_path / "runs" / "demo"
    assert found.report == out / "evaluation" / "test" / "report.html"
    assert (out / "evaluation" / "test-field" / "report.html").is_file()
    sounds = sorted(path.name for path in (out / "sounds").iterdir())
    assert sounds
    assert all(name.endswith(".flac") for name in sounds)
    shown = capsys.readouterr().out
    assert f"Search in {out / 'sounds'}" in shown
    assert sum(name in shown for name in sounds) >= 3
    assert f"Report: {found.report}" in shown

    stamps = {path: path.stat().st_mtime_ns for path in (out / "final").rglob("*") if path.is_file()}
    again = audiojax.demo(out, progress=False)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps  # nothing is trained twice
    assert again.scores == found.scores
    np.testing.assert_array_equal(again.ranks["t2a"].rank, found.ranks["t2a"].rank)
