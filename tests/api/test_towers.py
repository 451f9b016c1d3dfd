"""The towers from their configs to callable towers, on a world of a few dozen clips: train, evaluate, load; and every misuse."""

import csv
import json
import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest

import audiojax
from audiojax.api import load_finder
from audiojax.api.data import make_tokenizer
from audiojax.api.start import start_of, tokenizer_folder
from audiojax.api.towers import perplexity, retrieval_metrics, token_counts, training_minutes, word_metric
from audiojax.api.train import _open_together
from audiojax.config import load_config, to_dict
from audiojax.encoders import audiomae, beats, bert, clap, htsat, panns, t5
from audiojax.encoders.bert import BertConfig
from audiojax.errors import UsageError
from audiojax.models import llama
from audiojax.papers import PAPERS
from audiojax.partition import flat_paths
from audiojax.text.tokenizer import CLS, SEP, Tokenizer
from audiojax.towers.clap import ClapTower
from audiojax.towers.panns import PannsTower
from audiojax.towers.spectrogram import AudioMaeTower, BeatsTower
from audiojax.towers.text import TextTower
from tests.test_published_configs import shapes

WORLD = ("data.source=memory", "data.size=0.006")
HTSAT = replace(htsat.PRESETS["tiny"], channels=8, depths=(1, 1), heads=(2, 2))
CLIPS = np.random.default_rng(0).uniform(-0.1, 0.1, size=(2, 61_440)).astype(np.float32)


def train(workdir, *only, **options):
    return audiojax.train_towers(workdir, size="debug", only=only, overrides=WORLD, progress=False, **options)


@pytest.fixture(scope="module")
def text_tower(tmp_path_factory):
    """(folder of the towers, what training BERT told)."""
    folder = tmp_path_factory.mktemp("towers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(bert.PRESETS, "tiny", BertConfig(width=8, layers=1, heads=2, hidden=8, max_positions=64))
        yield folder, train(folder, "bert")


def test_a_tower_is_trained_measured_and_opened(text_tower):
    folder, found = text_tower
    (row,) = found.rows
    assert (row["tower"], row["metric"].name, row["metric"].ceiling) == ("bert", "masked words", 1.0)
    assert 0 <= row["metric"].low <= row["metric"].value <= row["metric"].high <= 1
    assert 0 < row["metric"].chance < 0.5
    with found.table.open(newline="") as handle:
        (written,) = csv.DictReader(handle)
    assert float(written["value"]) == row["metric"].value
    assert "bert: training loss" in found.report.read_text()

    tower = audiojax.load(folder / "bert")
    assert isinstance(tower, TextTower)
    tokenizer = Tokenizer.load(folder / "bert" / "tokenizer")
    states = tower(*tokenizer.encode(["rain falls", "a dog barks twice"], 12))
    assert states.shape == (2, 12, 8)
    layer = 4 * (8 * 8 + 8) + 2 * 8 * 8 + 8 + 8 + 2 * 16
    assert row["parameters"] == (tokenizer.vocab_size + 64 + 2) * 8 + 16 + layer


def test_finished_towers_are_kept(text_tower):
    folder, found = text_tower
    before = {path: path.stat().st_mtime_ns for path in (folder / "bert").rglob("*") if path.is_file()}
    assert [row["metric"] for row in train(folder, "bert").rows] == [row["metric"] for row in found.rows]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_tower_goes_out_in_its_public_layout(text_tower, tmp_path):
    run = text_tower[0] / "bert"
    out = audiojax.export(run, tmp_path / "bert", format="safetensors")
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    back = audiojax.load_pretrained(out, progress=False)
    jax.tree.map(np.testing.assert_array_equal, dict(back.params), dict(audiojax.load(run).params))
    assert Tokenizer.load(out).rows(["Rain, falls."]) == Tokenizer.load(run / "tokenizer").rows(["rain falls"])
    with pytest.raises(UsageError, match="holds something already"):
        audiojax.export(run, out, format="safetensors")


def test_what_does_not_search_says_so(text_tower):
    folder, _ = text_tower
    with pytest.raises(UsageError, match="TextTower, which does not search; DiffATR, co-attention and CLAP do"):
        load_finder(folder / "bert")
    with pytest.raises(UsageError, match="is no run of a system that finds, describes, bridges or makes sounds, which this measures"):
        audiojax.evaluate(folder / "bert")


def test_other_runs_start_from_a_tower(text_tower):
    run = text_tower[0] / "bert"
    config = to_dict(load_config("diffatr/soundworld:debug", [f"init.text={run}"]))
    assert tokenizer_folder(config) == run / "final" / "tokenizer"
    vocab_size = Tokenizer.load(tokenizer_folder(config)).vocab_size
    task = PAPERS["diffatr"].make_task(config, "contrastive", vocab_size=vocab_size)
    abstract = jax.eval_shape(task.init, jax.random.key(0), shapes(1, 64_000, 8))
    given = flat_paths(start_of(PAPERS["diffatr"], config, abstract, progress=False).params)
    for path, leaf in flat_paths(audiojax.load(run).params["params"]).items():
        np.testing.assert_array_equal(given[f"dual/text_tower/{path}"], leaf)


def test_all_towers_of_a_world_share_one_tokenizer(text_tower, tmp_path):
    folder, _ = text_tower
    stored = json.loads((folder / "bert" / "tokenizer" / "tokenizer.json").read_text())["model"]["vocab"]
    for spec in ("clap,debug", "clap,debug,field", "t5,debug", "tagger,debug", "llama,debug"):
        config = to_dict(load_config(f"towers/soundworld:{spec}", WORLD))
        text = _open_together(config, progress=False)[2]
        assert make_tokenizer(config, text, tmp_path / "none").backend.get_vocab() == stored


@pytest.fixture
def small_towers(monkeypatch):
    """The tiny presets with one layer of a few channels each: they compile fast, and tests/papers/towers has them as they are."""
    for module, sizes in (
        (clap, {"audio": HTSAT, "text": replace(clap.PRESETS["tiny"].text, width=8, layers=1, heads=2, hidden=8), "projection": 16}),
        (audiomae, {"width": 8, "layers": 1, "heads": 2, "blocks": 1}),
        (beats, {"embed": 8, "width": 8, "layers": 1, "heads": 2, "hidden": 8, "kernel": 4, "groups": 2}),
        (t5, {"width": 8, "layers": 1, "heads": 2, "head_width": 4, "hidden": 8}),
    ):
        monkeypatch.setitem(module.PRESETS, "tiny", replace(module.PRESETS["tiny"], **sizes))
    sizes = {"width": 8, "layers": 1, "heads": 2, "kv_heads": 1, "head_width": 4, "hidden": 8}
    monkeypatch.setitem(llama.PRESETS, "soundworld", replace(llama.PRESETS["soundworld"], **sizes))
    tagger = panns.PRESETS["cnn14"]
    monkeypatch.setitem(tagger, "tiny", replace(tagger["tiny"], channels=(2, 4), input_pool=(8, 8)))


@pytest.mark.slow
def test_every_other_tower(small_towers, tmp_path):
    found = train(tmp_path, "clap", "audiomae", "beats", "t5", "tagger", "llama", domain="field")
    names = [row["tower"] for row in found.rows]
    assert list(dict.fromkeys(names)) == ["clap", "audiomae", "beats", "t5", "tagger", "llama"]
    assert (names.count("clap"), names.count("llama")) == (9, 2)
    for row in found.rows:
        metric = row["metric"]
        assert np.isfinite(metric.value), row
        assert metric.chance > 0
        assert row["parameters"] > 500
    assert load_config("towers/soundworld:clap,debug,field").data.domain == "field"

    finder = audiojax.load(tmp_path / "clap")
    assert isinstance(finder, ClapTower)
    audio, text = finder.embed_audio(CLIPS, 16_000), finder.embed_text(["Rain falls.", "rain falls"])
    assert audio.shape == text.shape == (2, 16)
    np.testing.assert_allclose(np.linalg.norm(audio, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(text[0], text[1])  # cleaned as in training
    short = finder.embed_audio(CLIPS[:, :16_000], 16_000)
    repeated = np.pad(np.tile(CLIPS[:, :16_000], 3), ((0, 0), (0, 61_440 - 48_000)))
    np.testing.assert_allclose(short, finder.embed_audio(repeated, 16_000), atol=1e-5)

    mae, tags, tagger, words = (audiojax.load(tmp_path / name) for name in ("audiomae", "beats", "tagger", "t5"))
    assert (type(mae), type(tags), type(tagger), type(words)) == (AudioMaeTower, BeatsTower, PannsTower, TextTower)
    assert mae.condition(CLIPS, size=(4, 4)).shape == (2, 6, 8)
    assert tags(CLIPS).logits.shape == tagger(CLIPS).clipwise.shape == (2, 52)
    tokenizer = Tokenizer.load(tmp_path / "t5" / "tokenizer")
    assert words(*tokenizer.encode(["rain falls"], 8)).shape == (1, 8, 8)
    assert words.config.vocab_size > tokenizer.vocab_size
    assert len({audiojax.load(tmp_path / name).digest for name in ("beats", "tagger")}) == 2

    speaker = audiojax.load(tmp_path / "llama")
    (said,) = speaker.generate(["a dog"], max_new_tokens=4, min_new_tokens=2)
    assert said

    public = {name: audiojax.export(tmp_path / name, tmp_path / "public" / name, format="safetensors") for name in dict.fromkeys(names)}
    for name, ours in (("audiomae", mae), ("beats", tags), ("tagger", tagger)):
        for want, got in zip(*(jax.tree.leaves(tower(CLIPS)) for tower in (ours, audiojax.load(public[name]))), strict=True):
            np.testing.assert_array_equal(got, want)
    again = load_finder(public["clap"]).tower
    np.testing.assert_array_equal(again.embed_audio(CLIPS, 16_000), audio)
    np.testing.assert_allclose(again.embed_text(["Rain falls.", "rain falls"]), text, atol=1e-6)
    assert audiojax.load_pretrained(public["llama"]).generate(["a dog"], max_new_tokens=4, min_new_tokens=2) == [said]
    assert audiojax.load_pretrained(public["t5"]).config.vocab_size == words.config.vocab_size


def test_misuse(tmp_path):
    with pytest.raises(UsageError, match="--only vggish: there is no such tower; there are clap, audiomae"):
        train(tmp_path, "bert", "vggish")
    with pytest.raises(UsageError, match="--domain moon: takes studio or field"):
        train(tmp_path, domain="moon")
    with pytest.raises(UsageError, match="--size large: takes mini"):
        audiojax.train_towers(tmp_path, size="large")
    with pytest.raises(UsageError, match="takes one of clap, audiomae"):
        load_config("towers/soundworld:clap,bert")
    assert not any(tmp_path.iterdir())


def test_a_run_of_another_config_is_not_taken_over(text_tower, tmp_path):
    folder, _ = text_tower
    shutil.copytree(folder / "bert", tmp_path / "bert")
    with pytest.raises(UsageError, match="holds a run with another config"):
        audiojax.train_towers(tmp_path, size="debug", only=["bert"], overrides=(*WORLD, "seed=9"), progress=False)


def test_minutes_are_those_of_the_steps(tmp_path):
    rows = ["phase,step,name,value", "p,10,speed/steps_per_second,5.0", "p,40,speed/steps_per_second,0.5", "p,40,train/loss,1.0"]
    (tmp_path / "metrics.csv").write_text("\n".join(rows) + "\n")
    assert training_minutes(tmp_path) == pytest.approx((10 / 5 + 30 / 0.5) / 60)


def test_chance_says_the_most_frequent_word(tmp_path):
    tokenizer = Tokenizer.train(["rain rain falls", "a rain"], 60)

    class Told:
        def __len__(self):
            return 2

        def facts(self, index):
            return {"captions": [["Rain, rain falls!"], ["a rain"]][index]}

    rain = tokenizer.backend.convert_tokens_to_ids("rain")
    counts = token_counts(Told(), tokenizer)
    assert (int(np.argmax(counts)), counts[rain], counts[SEP], counts[CLS]) == (rain, 3, 2, 0)
    predictions = {
        "correct": np.array([[[1, 0, 1]], [[1, 1, 0]]], bool),
        "scored": np.array([[[1, 1, 0]], [[1, 0, 0]]], bool),
        "target": np.array([[[rain, 0, rain]], [[0, rain, 0]]]),
    }
    metric = word_metric("w", predictions, rain)
    assert (metric.value, metric.chance) == (pytest.approx(2 / 3), pytest.approx(1 / 3))


def test_perplexity_stands_beside_that_of_frequencies():
    predictions = {
        "cross_entropy": np.log(np.array([[[2.0, 2.0, 99.0]], [[2.0, 99.0, 99.0]]])),
        "scored": np.array([[[1, 1, 0]], [[1, 0, 0]]], bool),
        "target": np.array([[[0, 1, 9]], [[1, 9, 9]]]),
    }
    metric = perplexity(predictions, np.array([2, 0]))  # with one more each: 3/4 and 1/4
    assert (metric.value, metric.low, metric.high) == pytest.approx((2.0, 2.0, 2.0))
    assert metric.chance == pytest.approx((4 / 3 * 4 * 4) ** (1 / 3))
    assert metric.lower_is_better


def test_retrieval_of_unit_vectors_with_chance_and_ceiling():
    audio = np.eye(20)
    metrics = retrieval_metrics({"audio": audio, "text": np.stack([audio, audio], axis=1)}, {"t2a/R@1": 0.9})
    assert [metric.name for metric in metrics][:4] == ["t2a/R@1", "t2a/R@5", "t2a/R@10", "t2a/mAP@10"]
    *finding, gap = metrics
    assert all(metric.value == 1 for metric in finding)
    assert gap.name == "sounds told from texts by a line"
    assert gap.value <= 0.5  # both are the same vectors
    assert (metrics[0].chance, metrics[0].ceiling, metrics[1].ceiling) == (pytest.approx(1 / 20), 0.9, None)
