"""A finder measured by MTEB on a task that is made here: sounds and texts whose right answers are known."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

import audiojax
from audiojax.api.finding.search import Searcher
from audiojax.api.finding.sound_vectors import unit
from audiojax.api.mteb_encoder import MtebEncoder, columns
from audiojax.errors import UsageError
from audiojax.text.tokenizer import Tokenizer
from tests.encoders.test_clap import NARROW
from tests.pretrained.test_clap import hub_folder
from tests.towers.clap_cases import RATE, clips, variables

TONES = {"low tone": 500.0, "middle tone": 1_000.0, "high tone": 2_000.0}


class ToneFinder(Searcher):
    """Hears the energy at the frequencies of TONES, and knows their names."""

    model_id = "tones"

    def __init__(self):
        super().__init__(8_000, 800, "repeat", 1)

    def embed_text(self, texts):
        return np.array([[3.0 * (name in text) + 0.01 for name in TONES] for text in texts], np.float32)

    def embed_audio(self, waveforms):
        spectrum = np.abs(np.fft.rfft(waveforms, axis=1))
        return np.stack([spectrum[:, int(hertz / 10)] for hertz in TONES.values()], axis=1).astype(np.float32)


def tone(hertz, rate, seconds):
    return {"array": 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate), "sampling_rate": rate}


@pytest.fixture
def encoder():
    pytest.importorskip("mteb")
    return MtebEncoder(ToneFinder(), "tests/tones")


def loader(**batch):
    """What MTEB gives, without torch: batches that are made by `collate_fn`."""
    rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]

    class Loader:
        collate_fn = None

        def __iter__(self):
            yield from (self.collate_fn(rows[i : i + 2]) for i in range(0, len(rows), 2))

    return Loader()


TASK = SimpleNamespace(name="Tones")


@pytest.mark.slow
def test_sounds_and_texts_become_unit_vectors(encoder):
    stereo = tone(2_000, 8_000, 0.05)
    stereo["array"] = np.stack([stereo["array"]] * 2)
    sounds = [tone(500, 8_000, 0.35), tone(1_000, 16_000, 0.1), stereo]
    audio = encoder.encode(loader(audio=sounds), task_metadata=TASK)
    np.testing.assert_allclose(audio, np.eye(3), atol=0.05)
    np.testing.assert_allclose(np.linalg.norm(audio, axis=1), 1, rtol=1e-5)
    text = encoder.encode(loader(text=["a low tone", " . ", "the high tone"]), task_metadata=TASK)
    np.testing.assert_allclose(text, [[1, 0, 0], [0, 0, 0], [0, 0, 1]], atol=0.01)
    np.testing.assert_allclose(np.asarray(encoder.similarity(text, audio)), text @ audio.T, atol=1e-5)
    np.testing.assert_allclose(np.asarray(encoder.similarity_pairwise(text, audio)), np.sum(text * audio, axis=1), atol=1e-5)
    with pytest.raises(UsageError, match="Tones: its rows hold audio and text"):
        encoder.encode(loader(text=["a"], audio=sounds[:1]), task_metadata=TASK)
    with pytest.raises(UsageError, match="not finite"):
        encoder.encode(loader(audio=[{"array": [np.nan, 0.0], "sampling_rate": 8_000}]), task_metadata=TASK)


@pytest.mark.slow
@pytest.mark.parametrize("category", ["t2a", "a2t"])
def test_mteb_measures_a_finder(encoder, category, monkeypatch, tmp_path):
    monkeypatch.setenv("MTEB_CACHE", str(tmp_path))
    mteb = pytest.importorskip("mteb")
    sounds = [tone(hertz, 16_000, 0.25) for hertz in TONES.values()]
    task = made_task(category, sounds, [f"a {name}" for name in TONES], [0, 1, 2])
    result = mteb.evaluate(encoder, task, cache=None, show_progress_bar=False)
    (scores,) = result.task_results[0].scores["test"]
    assert scores["hit_rate_at_1"] == scores["main_score"] == 1
    assert (result.model_name, result.model_revision) == ("tests/tones", "tones")


@pytest.mark.slow
def test_mteb_ranks_as_the_cosines_of_a_clap_do(monkeypatch, tmp_path):
    monkeypatch.setenv("MTEB_CACHE", str(tmp_path))
    mteb = pytest.importorskip("mteb")
    texts = ["a dog barks", "rain falls on a roof", "the bell rings twice", "rain"]
    folder = hub_folder(tmp_path / "clap", NARROW["plain"], variables("plain"))
    Tokenizer.train(texts, 50).save(folder)
    waveforms = clips((4_000, 7_000, 8_000, 6_000))
    tower = audiojax.load_pretrained(folder, progress=False)
    order = np.argsort(tower.embed_text(texts) @ tower.embed_audio(waveforms, RATE).T, axis=1)
    right = [int(order[i, -place]) for i, place in enumerate((1, 1, 2, 4))]  # where the CLAP has them, from the best on
    sounds = [{"array": samples, "sampling_rate": RATE} for samples in waveforms]
    encoder = MtebEncoder(folder, "tests/clap")
    result = mteb.evaluate(encoder, made_task("t2a", sounds, texts, right), cache=None, show_progress_bar=False)
    (scores,) = result.task_results[0].scores["test"]
    assert [scores[f"hit_rate_at_{k}"] for k in (1, 3)] == [2 / 4, 3 / 4]
    assert scores["mrr_at_10"] == pytest.approx((1 + 1 + 1 / 2 + 1 / 4) / 4, abs=1e-5)
    assert result.model_revision == encoder.finder.model_id


def made_task(category, sounds, texts, right):
    """Texts that look for sounds, or sounds for texts, as MTEB's tasks of Clotho are made; text i belongs to sound right[i]."""
    from datasets import Dataset, DatasetDict
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    sides = [
        {"id": [f"t{i}" for i in range(len(texts))], "text": texts},
        {"id": [f"s{i}" for i in range(len(sounds))], "audio": sounds},
    ]
    pairs = [(f"t{i}", f"s{j}") for i, j in enumerate(right)]
    if category == "a2t":
        sides, pairs = sides[::-1], [pair[::-1] for pair in pairs]

    class Made(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name="Made",
            description="Sounds and what they are called.",
            reference=None,
            dataset={"path": "local/made", "revision": "1"},
            type="Any2AnyRetrieval",
            category=category,
            modalities=["audio", "text"],
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="hit_rate_at_1",
            date=("2026-01-01", "2026-01-01"),
            domains=[],
            task_subtypes=[],
            license=None,
            annotations_creators=None,
            dialect=[],
            sample_creation=None,
            bibtex_citation="",
        )

        def load_data(self, **_):
            self.queries, self.corpus = (DatasetDict({"test": Dataset.from_dict(side)}) for side in sides)
            self.relevant_docs = {"test": {query: {document: 1} for query, document in pairs}}
            self.data_loaded = True

    return Made()


def test_without_mteb_its_extra_is_named(monkeypatch):
    for name in ("mteb", "mteb.models"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=r"pip install 'audiojax\[mteb\]'"):
        MtebEncoder(ToneFinder())


def test_batches_are_lists_and_zeros_have_no_direction():
    assert columns([{"text": "a", "id": 1}, {"text": "b", "id": 2}]) == {"text": ["a", "b"], "id": [1, 2]}
    np.testing.assert_array_equal(unit(np.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0, 0]])
