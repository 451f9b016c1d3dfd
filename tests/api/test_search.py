"""How a searcher indexes and ranks, and a public CLAP that searches; DiffATR's search is in test_end_to_end, with a trained model."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
import soundfile
from platformdirs import user_cache_dir

import audiojax
from audiojax.api.finding import search
from audiojax.api.finding.clap_search import ClapFinder
from audiojax.api.opening import is_public
from audiojax.errors import AudiojaxError, UsageError
from audiojax.index.embeddings import read_windows
from audiojax.index.store import Settings
from audiojax.pretrained import store
from audiojax.text.normalise import clean_query
from audiojax.text.tokenizer import Tokenizer
from tests.encoders.test_clap import NARROW
from tests.pretrained.test_clap import hub_folder
from tests.towers.clap_cases import RATE, clips, tower, variables

CAPTIONS = ("a dog barks", "rain falls on a roof", "the bell rings twice")


class Toy(search.Searcher):
    """A model that embeds a window as its mean, first and last sample, and a text as the numbers in it."""

    model_id = "m"

    def __init__(self, samples=1000, devices=3):
        super().__init__(1000, samples, "repeat", devices, "runs/toy")
        self.shapes = []

    def embed_text(self, texts):
        return np.array([[float(word) for word in clean_query(text).split()] for text in texts])

    def embed_audio(self, waveforms):
        self.shapes.append(waveforms.shape)
        return np.stack([waveforms.mean(axis=1), waveforms[:, 0], waveforms[:, -1]], axis=1)


class Backwards:
    """Re-ranks by the file's name, the last one first."""

    rerank_best = 2

    def __init__(self):
        self.seen = []

    def rerank(self, query, hits, index):
        self.seen.append((query, [hit.path.name for hit in hits]))
        return np.array([ord(hit.path.name[0]) for hit in hits], float)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Ramps of a second, a.wav upwards, b.wav downwards, c.wav both: 3.5 s that fall, stay and rise."""
    root, up = tmp_path_factory.mktemp("sounds"), np.linspace(0, 0.9, 1000)
    for name, samples in {"a": up, "b": up[::-1], "c": np.concatenate([up[::-1], np.full(1500, 0.5), up])}.items():
        soundfile.write(root / f"{name}.wav", samples, 1000, subtype="FLOAT")
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the index of `toy` lies."""
    return tmp_path_factory.mktemp("toy") / "index"


@pytest.fixture(scope="module")
def toy(sounds, folder):
    made = Toy()
    made.index(sounds, folder)
    return made


def names(hits):
    return [hit.path.name[0] for hit in hits]


@pytest.mark.parametrize(("variable", "folder"), [("", user_cache_dir("audiojax")), ("~/cache", Path.home() / "cache")])
def test_an_index_without_a_place_lies_where_the_command_line_keeps_it(monkeypatch, tmp_path, variable, folder):
    monkeypatch.setenv("AUDIOJAX_CACHE", variable)
    places = []
    monkeypatch.setattr(search, "update_index", lambda folder, out, *args, **options: places.append(Path(out)))
    monkeypatch.setattr(search, "read_index", lambda out: None)
    monkeypatch.setattr(search, "Index", lambda stored, computed: stored)
    for samples, options in ((1000, {}), (1000, {}), (500, {}), (1000, {"hop": 0.5}), (1000, {"cache_dir": tmp_path})):
        Toy(samples).index("sounds", **options)
    Toy().index("other")
    assert [place.parent for place in places] == [Path(folder, "indexes")] * 4 + [tmp_path, Path(folder, "indexes")]
    assert places[0] == places[1]
    assert len(set(places)) == 5


def test_windows_are_those_of_the_model_and_batches_those_of_the_devices(toy, folder):
    assert toy.shapes[0] == (33, 1000)
    settings = audiojax.Index.open(folder).settings
    assert settings == Settings("runs/toy", "m", 1000, 1.0, None, "repeat", "float32")


def test_an_update_keeps_the_hop_and_dtype_of_the_index(sounds, tmp_path):
    Toy().index(sounds, tmp_path / "index", hop=0.5, dtype="float16")
    index = Toy().index(sounds, tmp_path / "index")
    assert (index.settings.hop_seconds, index.settings.dtype, index.computed) == (0.5, "float16", 0)
    for wrong, words in (({"dtype": "int8"}, "float32 or float16"), ({"hop": 2.0}, "at most the window of the model, 1 s")):
        with pytest.raises(UsageError, match=words):
            Toy().index(sounds, tmp_path / "index", **wrong)


def test_text_sound_and_both(toy, sounds):
    rising, falling = "5 0 9", "5 9 0"
    assert names(toy.search(rising)) == ["a", "c", "b"]
    assert [(hit.start, hit.end) for hit in toy.search(rising)][:2] == [(0.0, 1.0), (2.5, 3.5)]
    assert [(hit.path.name[0], hit.start) for hit in toy.search(falling, k=2)] == [("b", 0.0), ("c", 0.0)]
    like = toy.search(audio=sounds / "b.wav", k=1)
    assert names(like) == ["b"]
    assert like[0].cosine == pytest.approx(1)
    assert names(toy.search(rising, audio=sounds / "b.wav", weight=0.1, k=1)) == ["b"]
    assert names(toy.search(rising, audio=sounds / "b.wav", weight=0.9, k=1)) == ["a"]
    for weight, alone in ((1.0, {"query": rising}), (0.0, {"audio": sounds / "b.wav"})):
        both = toy.search(rising, audio=sounds / "b.wav", weight=weight)
        assert [hit.score for hit in both] == pytest.approx([hit.score for hit in toy.search(**alone)])


def test_a_long_sound_stands_for_the_mean_of_its_windows(toy, sounds):
    windows = toy.embed_audio(np.stack([soundfile.read(sounds / "c.wav")[0][start : start + 1000] for start in (0, 1000, 2000, 2500)]))
    mean = (windows / np.linalg.norm(windows, axis=1, keepdims=True)).mean(axis=0)
    (hit,) = toy.search(audio=sounds / "a.wav", k=1)
    assert hit.path.name == "a.wav"
    found = {hit.path.name[0]: hit.cosine for hit in toy.search(audio=sounds / "c.wav")}
    a = toy.embed_audio(soundfile.read(sounds / "a.wav")[0][None])[0]
    assert found["a"] == pytest.approx(mean @ a / np.linalg.norm(mean) / np.linalg.norm(a), abs=1e-5)


def test_the_best_are_ranked_again_and_come_first(toy):
    model = Backwards()
    hits = toy.search("5 0 9", reranker=model)
    assert names(hits) == ["c", "a", "b"]
    assert hits[0].score == ord("c") > 1 > hits[0].cosine
    assert names(toy.search("5 0 9", reranker=model, rerank=3, k=1)) == ["c"]
    assert names(toy.search("5 0 9", reranker=model, rerank=0)) == ["a", "c", "b"]
    assert model.seen == [("5 0 9", ["a.wav", "c.wav"]), ("5 0 9", ["a.wav", "c.wav", "b.wav"])]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "nothing to look for"),
        ({"query": "1 2 3", "reranker": Toy()}, "the Toy that was named to re-rank does not"),
        ({"query": "?"}, "is empty"),
        ({"query": "1 2 3", "k": 0}, "k = 0"),
        ({"query": "1 2 3", "weight": 1.5}, "weight = 1.5"),
        ({"query": "1 2 3", "rerank": -1}, "rerank = -1"),
        ({"query": "1 2 3", "rerank": 2}, "a Toy does not re-rank"),
        ({"query": "1 2 3", "audio": "a.wav", "rerank": 2}, "goes by a description alone"),
        ({"audio": "nowhere.wav"}, "nowhere.wav: missing"),
    ],
)
def test_what_cannot_be_asked(toy, options, words):
    with pytest.raises(AudiojaxError, match=words):
        toy.search(**options)


def test_an_index_of_another_model_is_refused(toy, folder):
    other = Toy()
    other.model_id = "n"
    with pytest.raises(UsageError, match=r"index: is an index of the model runs/toy \(m\), not of runs/toy \(n\); search with that model"):
        other.use(audiojax.Index.open(folder))
    with pytest.raises(UsageError, match="call index"):
        other.search("1 2 3")
    again = Toy()
    again.use(audiojax.Index.open(folder, resident=True))
    assert again.search("5 0 9") == toy.search("5 0 9")


def test_windows_are_read_from_where_they_begin(sounds):
    read = read_windows({sounds / "c.wav": 2.5, sounds / "a.wav": 0.0}, sample_rate=1000, samples=1000, padding="zero")
    np.testing.assert_allclose(read, [soundfile.read(sounds / "a.wav")[0]] * 2, atol=1e-6)
    with pytest.raises(AudiojaxError, match="gone.wav: missing"):
        read_windows({sounds / "gone.wav": 0.0}, sample_rate=1000, samples=1000, padding="zero")


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


@pytest.mark.parametrize("form", ["public", pytest.param("converted", marks=pytest.mark.slow)])
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
    vectors = index.vectors(range(index.windows))
    for hit in hits[:2]:
        assert hit.cosine == pytest.approx(
            float(vectors[[index.paths[number] == hit.path for number in index.file_of]].dot(text).max()), abs=1e-6
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
    (tmp_path / "pytorch_model.bin").touch()  # whose name no config need explain
    assert is_public(tmp_path)
    with pytest.raises(UsageError, match="the query '.' is empty"):
        audiojax.load_finder(clap[0]).embed_text(["?"])
