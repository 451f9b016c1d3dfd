"""What a searcher hands to the index, and a public CLAP that searches; DiffATR's search is in test_end_to_end, with a trained model."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile
from platformdirs import user_cache_dir

import audiojax
from audiojax.api import search
from audiojax.api.clap_search import ClapFinder, is_public
from audiojax.errors import UsageError
from audiojax.pretrained import store
from audiojax.text.tokenizer import Tokenizer
from tests.encoders.test_clap import NARROW
from tests.pretrained.test_clap import hub_folder
from tests.towers.clap_cases import RATE, clips, tower, variables

CAPTIONS = ("a dog barks", "rain falls on a roof", "the bell rings twice")


class Deaf(search.Searcher):
    """A searcher without a model: enough of one to index."""

    model_id = "m"

    def embed_text(self, texts):
        raise AssertionError("nothing is embedded here")

    embed_audio = embed_text


@pytest.fixture
def searcher():
    return Deaf(100, 200, "repeat", 3)


@pytest.fixture
def indexed(monkeypatch):
    """The arguments of each `embed_folder`."""
    calls = []
    monkeypatch.setattr(search, "embed_folder", lambda folder, embed, **options: calls.append(options))
    return calls


@pytest.mark.parametrize(("variable", "folder"), [("", user_cache_dir("audiojax")), ("~/cache", Path.home() / "cache")])
def test_embeddings_are_kept_where_the_command_line_keeps_them(searcher, indexed, monkeypatch, tmp_path, variable, folder):
    monkeypatch.setenv("AUDIOJAX_CACHE", variable)
    searcher.index("sounds")
    searcher.index("sounds", cache_dir=tmp_path)
    assert [options["cache_dir"] for options in indexed] == [Path(folder, "embeddings"), tmp_path]


def test_windows_are_those_of_the_model_and_batches_those_of_the_devices(searcher, indexed):
    searcher.index("sounds")
    assert {name: indexed[0][name] for name in ("sample_rate", "seconds", "batch_size", "padding", "model_id")} == {
        "sample_rate": 100,
        "seconds": 2.0,
        "batch_size": 33,
        "padding": "repeat",
        "model_id": "m",
    }


@pytest.fixture(scope="module")
def clap(tmp_path_factory):
    """(a folder of transformers with a narrow CLAP and its tokenizer, a folder with four sounds)"""
    root = tmp_path_factory.mktemp("clap")
    folder = hub_folder(root / "clap", NARROW["plain"], variables("plain"))
    Tokenizer.train(CAPTIONS, 50).save(folder)
    (root / "sounds").mkdir()
    for i, clip in enumerate(clips((4_000, 8_000, 11_000, 20_011))):
        soundfile.write(root / "sounds" / f"{i}.wav", clip, RATE)
    return folder, root / "sounds"


@pytest.mark.parametrize("form", ["public", "converted"])
def test_a_clap_folder_searches(clap, tmp_path, form):
    folder, sounds = clap
    path = folder if form == "public" else store.convert(folder, tmp_path / "converted")
    finder = audiojax.load_finder(path)
    assert isinstance(finder, ClapFinder)
    index = finder.index(sounds, cache_dir=tmp_path / "cache")
    assert np.bincount(index.file_of).tolist() == [1, 1, 2, 3]
    hits = finder.search("Rain falls on a roof!", k=4)
    assert sorted(hit.path.name for hit in hits) == ["0.wav", "1.wav", "2.wav", "3.wav"]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    text = finder.tower.embed_text(["Rain falls on a roof!"])[0]
    for hit in hits[:2]:
        assert hit.cosine == pytest.approx(
            float(index.embeddings[[p == hit.path for p in map(index.paths.__getitem__, index.file_of)]].dot(text).max()), abs=1e-6
        )
    again = audiojax.load_finder(path).index(sounds, cache_dir=tmp_path / "cache")
    assert again.computed == 0


def test_windows_of_a_searcher_are_those_of_the_tower():
    made = tower("plain", tokenizer="any")
    finder, rows = ClapFinder(made), np.stack(clips((8_000,) * 9))
    np.testing.assert_allclose(finder.embed_audio(rows), made.embed_audio(rows, RATE), atol=1e-6)
    assert finder.embed_audio(rows).shape == (9, NARROW["plain"].projection)
    assert len(jax.devices()) == finder.devices == 8
    other = ClapFinder(replace(made, front_end=replace(made.front_end, samples=4_000)))
    assert other.model_id != finder.model_id


def test_what_does_not_search_is_named(clap, tmp_path):
    with pytest.raises(UsageError, match="came without a tokenizer"):
        ClapFinder(tower("plain"))
    assert not is_public(tmp_path)
    assert not is_public(tmp_path / "nothing")
    (tmp_path / "config.json").write_text('{"paper": "diffatr"}')
    assert not is_public(tmp_path)
    with pytest.raises(UsageError, match="the query '.' is empty"):
        audiojax.load_finder(clap[0]).embed_text(["?"])
