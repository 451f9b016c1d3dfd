"""The datastore of a generator: neighbours are stored once, parts survive a stop, controls ask for the truth, an index has captions."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from audiojax.api.making import datastore
from audiojax.api.making.datastore import Datastore, classes_of, with_neighbours
from audiojax.data.soundworld.source import SceneSource
from audiojax.errors import UsageError
from audiojax.index.records import IndexRecords
from audiojax.index.store import Settings
from audiojax.index.update import update_index
from audiojax.papers.re_audioldm.retrieval import NONE, RetrievalOptions
from tests.index.sounds import RATE, Model, write

WIDTH = 6


class States:
    """Stored states of clips with two captions each."""

    def __init__(self, count=12, name="fake"):
        self.name = name
        self.vectors = np.random.default_rng(0).normal(size=(count, 2, WIDTH)).astype(np.float32)

    def __len__(self):
        return len(self.vectors)

    def identity(self):
        return self.name

    def __getitem__(self, index):
        return {"captions": ["a", "b"], "text_embedding": self.vectors[index]}


class Records:
    """Records of the same clips."""

    def __init__(self, count=12):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return {"id": f"clip {index:02d}", "scene": ""}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AUDIOJAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "neighbours"


def store_of(**options):
    return Datastore(RetrievalOptions(**{"depth": 5, "count": 2, **options}), Records(), States(), "fake")


def found(**options):
    return with_neighbours(store_of(**options), Records(), States(), progress=False)


def test_neighbours_are_found_once_and_kept(cache, monkeypatch):
    source = found()
    pairs = source[3]["text_neighbours"]
    assert pairs.shape == (2, 5, 2)
    scores = np.einsum(
        "d,ncd->nc", source[3]["text_embedding"][1], States().vectors / np.linalg.norm(States().vectors, axis=2, keepdims=True)
    )
    order = [clip for clip in np.argsort(-scores.max(1)).tolist() if clip != 3][:5]
    assert pairs[1, :, 0].tolist() == order
    assert pairs[1, :, 1].tolist() == scores[order].argmax(1).tolist()
    monkeypatch.setattr(datastore, "find_neighbours", None)  # would fail if it were asked again
    np.testing.assert_array_equal(found().rows, source.rows)
    for change in ({"depth": 4}, {"mode": "random"}):
        with pytest.raises(TypeError):
            found(**change)
    assert len(list(cache.iterdir())) == 1


def test_a_stopped_call_goes_on_with_the_missing_part(cache, monkeypatch):
    whole = found().rows
    monkeypatch.setattr(datastore, "PART", 7)
    np.testing.assert_array_equal(found().rows, whole)  # parts end in the middle of a clip
    folder = max(cache.iterdir(), key=lambda path: len(list(path.iterdir())))
    parts = sorted(folder.iterdir())
    assert len(parts) == 4
    kept = parts[0].stat().st_mtime_ns
    parts[2].unlink()
    np.testing.assert_array_equal(found().rows, whole)
    assert parts[0].stat().st_mtime_ns == kept


def test_controls_need_the_truth():
    with pytest.raises(UsageError, match="'clip 00' has no SoundWorld scene"):
        found(mode="oracle")
    source = SceneSource("train", "0.005")
    truth = classes_of(source, range(4))
    for row, clip in zip(truth, range(4), strict=True):
        assert row.sum() == len({event["name"] for event in json.loads(source[clip]["scene"])["events"]})


def test_a_datastore_smaller_than_the_count_is_refused():
    with pytest.raises(UsageError, match="'retrieval.count' is 20, and the datastore 'train' holds 12 clips"):
        store_of(count=20, depth=50)
    sounds = Datastore(RetrievalOptions(count=20, depth=50), Records(), States(), "fake", indexed=True)
    assert not sounds.has_truth
    assert (with_neighbours(sounds, Records(), States(), progress=False).rows[:, 11:] == NONE).all()  # null pairs
    assert (found(count=2, depth=50).rows[:, 11:] == NONE).all()  # its 12 clips without the clip itself


@pytest.fixture
def sounds(tmp_path):
    for name, level in (("b.wav", 0.3), ("a.wav", 0.2)):
        write(tmp_path / "sounds" / name, level)
    return tmp_path / "sounds"


def index_of(sounds, out, captions, model_id="clap"):
    update_index(sounds, out, Model(), Settings("some/clap", model_id, RATE, 1.0), captions=captions, workers=1)
    return out


def test_the_sounds_of_an_index_are_records(sounds, tmp_path):
    out = index_of(sounds, tmp_path / "index", {"a.wav": ["a hum"], "b.wav": ["a buzz", "a drone"]})
    records = IndexRecords(out, 2 * RATE)
    assert [records[i]["id"] for i in range(len(records))] == ["a.wav", "b.wav"]
    assert records[1]["captions"] == records.facts(1)["captions"] == ["a buzz", "a drone"]
    assert records[0]["audio"].shape == (2 * RATE,)
    assert records[0]["audio"].dtype == np.int16
    changed = IndexRecords(index_of(sounds, tmp_path / "index", {"a.wav": ["a hiss"]}), 2 * RATE)
    assert changed.identity() != records.identity()


def test_an_index_without_captions_or_of_another_clap_is_refused(sounds, tmp_path):
    with pytest.raises(UsageError, match=r"1 of 2 sounds have no captions, such as b\.wav"):
        IndexRecords(index_of(sounds, tmp_path / "index", {"a.wav": ["a hum"]}), RATE)
    out = index_of(sounds, tmp_path / "other", {"a.wav": ["a hum"], "b.wav": ["a buzz"]})
    config = {"data": {"sample_rate": RATE}, "model": {"clap_front_end": "tiny"}}
    start = SimpleNamespace(card={"clap": {"digest": "0", "source": "runs/clap"}})
    settings = SimpleNamespace(clap_text=SimpleNamespace(dtype=np.float32))
    with pytest.raises(UsageError, match=r"made with some/clap \(clap\), and the run starts from runs/clap"):
        datastore._index_records(config, settings, start, out)
