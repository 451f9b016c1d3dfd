"""What a finder hands to the index; the search itself is in test_end_to_end, with a trained model."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from platformdirs import user_cache_dir

from audiojax.api import find


@pytest.fixture
def finder():
    """A finder without a model: enough of one to index."""
    made = object.__new__(find.Finder)
    made.config = {"data": {"sample_rate": 100, "padding": "repeat"}}
    made.transform = SimpleNamespace(lengths=(200,))
    made.model_id = "m"
    made._layout = SimpleNamespace(mesh=SimpleNamespace(size=3))
    return made


@pytest.fixture
def indexed(monkeypatch):
    """The arguments of each `embed_folder`."""
    calls = []
    monkeypatch.setattr(find, "embed_folder", lambda folder, embed, **options: calls.append(options))
    return calls


@pytest.mark.parametrize(("variable", "folder"), [("", user_cache_dir("audiojax")), ("~/cache", Path.home() / "cache")])
def test_embeddings_are_kept_where_the_command_line_keeps_them(finder, indexed, monkeypatch, tmp_path, variable, folder):
    monkeypatch.setenv("AUDIOJAX_CACHE", variable)
    finder.index("sounds")
    finder.index("sounds", cache_dir=tmp_path)
    assert [options["cache_dir"] for options in indexed] == [Path(folder, "embeddings"), tmp_path]


def test_windows_are_those_of_the_model_and_batches_those_of_the_devices(finder, indexed):
    finder.index("sounds")
    assert {name: indexed[0][name] for name in ("sample_rate", "seconds", "batch_size", "padding", "model_id")} == {
        "sample_rate": 100,
        "seconds": 2.0,
        "batch_size": 33,
        "padding": "repeat",
        "model_id": "m",
    }
