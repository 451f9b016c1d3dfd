"""Runs the command line inside the test process, without leaving traces in its environment."""

import os

import pytest

from audiojax.cli import main


@pytest.fixture
def audiojax(capsys, monkeypatch, tmp_path):
    """audiojax(*words) -> (exit code, standard output, standard error)."""
    before = dict(os.environ)
    monkeypatch.setenv("AUDIOJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "160")

    def run(*words: str) -> tuple[int, str, str]:
        code = main(words)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    yield run
    for name in set(os.environ) - set(before):
        monkeypatch.delenv(name, raising=False)
