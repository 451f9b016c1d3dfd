"""The README's first command from end to end, on a world of a few dozen clips."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

import audiojax
from audiojax.report.sections import Note
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


def test_paths_are_shown_as_they_are(tmp_path, monkeypatch, capsys):
    """Brackets are no markup. Training and measuring are left out."""
    demo, out = sys.modules["audiojax.api.demo"], tmp_path / "a[v2]" / "b[/b]"

    def evaluated(run, split, *, domain="own", progress):
        return SimpleNamespace(sections=(Note("Scores", ("high",)),), report=run / domain / "report.html")

    for name in ("train", "folder_queries"):
        monkeypatch.setattr(demo, name, lambda *_, **__: [])
    monkeypatch.setattr(demo, "write_sounds", lambda folder, progress: folder)
    monkeypatch.setattr(demo, "load_finder", lambda folder: SimpleNamespace(index=lambda *_, **__: None))
    monkeypatch.setattr(demo, "evaluate", evaluated)
    monkeypatch.setenv("COLUMNS", "40")
    audiojax.demo(out, all=True, progress=False)
    shown = capsys.readouterr().out
    assert f"\nReport: {out}/own/report.html   (" in shown
    assert f"\nOn the other domain: {out}/field/report.html\n" in shown
    assert f"--audio {out}/sounds --model {out}\n" in shown
