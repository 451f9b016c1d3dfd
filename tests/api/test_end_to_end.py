"""From a config to a search, on a world of a few dozen clips: train, evaluate, load, index, search, export, sweep; and every misuse."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile

import audiojax
from audiojax.api.data import open_split
from audiojax.api.finding.evaluate import load_ranks
from audiojax.config import load_config
from audiojax.encoders import bert, panns
from audiojax.encoders.bert import BertConfig
from audiojax.encoders.panns import PannsConfig
from audiojax.errors import AudiojaxError, UsageError
from audiojax.papers import diffatr

WORLD = ("data.source=memory", "data.size=0.006", "train.eval_batch_size=8")
TINY = (*WORLD, "contrastive.batch_size=8", "hybrid.batch_size=8", "contrastive.steps=2", "hybrid.steps=2", "model.joint_width=16")


def config(*overrides):
    return load_config("diffatr/soundworld:debug", (*TINY, *overrides))


@pytest.fixture(scope="module", autouse=True)
def small_towers():
    """The tiny towers with a few channels: what is tested here does not depend on their size, and they compile fast."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(panns.PRESETS["cnn14"], "tiny", PannsConfig(channels=(2, 4), input_pool=(8, 8), sample_rate=16_000))
        patch.setitem(bert.PRESETS, "tiny", BertConfig(width=8, layers=1, heads=2, hidden=8, max_positions=64))
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory, small_towers):
    """A finished run; tests copy what they change."""
    workdir = tmp_path_factory.mktemp("run") / "work"
    audiojax.train(config(), workdir, progress=False)
    return workdir


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    source = open_split(config().data.to_dict(), "test")
    for i in range(3):
        soundfile.write(folder / f"clip{i}.wav", source[i]["audio"], source[i]["sample_rate"])
    (folder / "broken.wav").write_bytes(b"RIFF not a sound")
    return folder


def test_a_run_directory_is_self_contained(run):
    assert {path.name for path in run.iterdir()} == {"config.json", "checkpoints", "metrics.csv", "tensorboard", "tokenizer", "final"}
    card = json.loads((run / "final" / "card.json").read_text())
    assert card["task"] == "diffatr/hybrid"
    fusion = json.loads((run / "final" / "config.json").read_text())["inference"]["fusion"]
    assert {name: set(values) for name, values in fusion.items()} == {name: {"alpha", "temperature"} for name in ("t2a", "a2t")}


def test_training_again_changes_nothing(run):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    audiojax.train(config(), run, progress=False)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()} == before


def test_evaluation_writes_report_and_scores(run):
    found = audiojax.evaluate(run, "val", progress=False)
    written = json.loads(found.json.read_text())
    assert written["scores"] == pytest.approx(found.scores)
    assert written["ceiling"]["t2a/R@10"] == pytest.approx(1.0)
    assert written["chance"]["t2a/R@1"] == pytest.approx(1 / written["card"]["clips"])
    page = found.report.read_text()
    assert "Metric card" in page
    assert "<audio" in page
    ranks = load_ranks(found.report.parent)
    np.testing.assert_array_equal(ranks["t2a"].rank, found.ranks["t2a"].rank)
    assert load_ranks(run) is None
    again = audiojax.evaluate(run, "val", progress=False)
    assert again.scores == found.scores


def test_the_other_domain_is_another_evaluation(run):
    found = audiojax.evaluate(run, "val", domain="field", progress=False)
    assert found.report.parent.name == "val-field"
    assert json.loads(found.json.read_text())["card"]["trained on"] == "studio"


def test_search_ranks_files_and_names_the_broken_one(run, sounds, tmp_path):
    finder = audiojax.load(run)
    index = finder.index(sounds, cache_dir=tmp_path)
    assert [path.name for path in index.skipped] == ["broken.wav"]
    hits = finder.search("a dog barks", k=10)
    assert {hit.path.name for hit in hits} == {"clip0.wav", "clip1.wav", "clip2.wav"}
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert finder.index(sounds, cache_dir=tmp_path).computed == 0
    assert finder.search("a dog barks", k=10) == hits
    assert len(finder.search("a dog barks", k=1)) == 1


def test_what_this_or_another_model_found_is_ranked_again(run, sounds, tmp_path):
    finder = audiojax.load_reranker(run)
    finder.fusion["t2a"] = diffatr.Fusion(alpha=0.5)
    index = finder.index(sounds, tmp_path / "index")
    plain, again = finder.search("a dog barks", rerank=0), finder.search("a dog barks")
    assert all(hit.score == hit.cosine for hit in plain)
    assert {hit.path for hit in plain} == {hit.path for hit in again}
    assert sum(hit.score - hit.cosine for hit in again) == pytest.approx(0.5, abs=1e-4)  # a distribution over the three
    own = finder.rerank("a dog barks", plain, index)
    index.settings = replace(index.settings, model_id="another")
    np.testing.assert_allclose(finder.rerank("a dog barks", plain, index), own, atol=1e-4)
    assert len(finder.search("a dog barks", k=1, rerank=2)) == 1


def test_embedding_does_not_depend_on_the_batch(run):
    finder = audiojax.load(run)
    clips = np.random.default_rng(0).uniform(-0.1, 0.1, size=(11, 61_440)).astype(np.float32)
    whole = finder.embed_audio(clips)
    np.testing.assert_allclose(finder.embed_audio(clips[3:5]), whole[3:5], rtol=1e-4, atol=1e-5)
    texts = finder.embed_text(["a dog barks", "Rain falls!"])
    np.testing.assert_allclose(finder.embed_text(["rain falls"])[0], texts[1], rtol=1e-4, atol=1e-5)


def test_export_opens_like_the_run(run, tmp_path):
    out = audiojax.export(run, tmp_path / "model")
    one, other = audiojax.load(run), audiojax.load(out)
    assert one.model_id == other.model_id
    np.testing.assert_array_equal(one.embed_text(["rain"]), other.embed_text(["rain"]))
    with pytest.raises(UsageError, match="new or empty folder"):
        audiojax.export(run, out)
    with pytest.raises(UsageError, match="holds a 'diffatr' model; a tower that `audiojax towers` trained is needed"):
        audiojax.export(run, tmp_path / "public", format="safetensors")


@pytest.mark.slow
def test_sweep_compares_and_goes_on(run, tmp_path):
    workdir = tmp_path / "sweep"
    grid, overrides = [("inference.top_m", ("4", "0"))], (*TINY, "phases=('contrastive',)")
    options = {"overrides": overrides, "domains": ("studio",), "progress": False}
    found = audiojax.sweep("diffatr/soundworld:debug", grid, (1,), workdir, **options)
    assert (workdir / "inference.top_m=4" / "seed1" / "final" / "card.json").is_file()
    assert len(found.rows) == 2 * 2 * 2 * 4  # directions, settings, scores, measures
    same = [row for row in found.rows if row["setting"] == "inference.top_m=0" and row["scores"] == "cosine"]
    assert all(row["against first estimate"] == 0 for row in same)  # M does not touch the dual encoder
    stamps = {path: path.stat().st_mtime_ns for path in workdir.rglob("card.json")}
    audiojax.sweep("diffatr/soundworld:debug", grid, (1,), workdir, **options)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert "minus" in found.report.read_text()


def test_another_config_in_the_same_workdir_is_refused(run):
    with pytest.raises(UsageError, match="seed was 20, now 21"):
        audiojax.train(config("seed=21"), run, progress=False)


@pytest.mark.slow
def test_where_a_run_runs_may_change(run, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(run, moved, ignore=shutil.ignore_patterns("final"))  # its checkpoints are restored, on a mesh
    audiojax.train(config("parallel=mesh", "mesh=(2,4,1)", "data.threads=1"), moved, progress=False)
    one, other = audiojax.load(run), audiojax.load(moved)
    np.testing.assert_array_equal(one.params["dual"]["audio_head"]["up"]["kernel"], other.params["dual"]["audio_head"]["up"]["kernel"])


def test_a_sweep_does_not_take_runs_of_another_config_for_its_own(run, tmp_path):
    shutil.copytree(run, tmp_path / "inference.top_m=32" / "seed20")
    with pytest.raises(UsageError, match="holds a run with another config"):
        audiojax.sweep(
            "diffatr/soundworld:debug", [("inference.top_m", ("32",))], (20,), tmp_path, overrides=(*TINY, "loss.temperature=0.2")
        )
    with pytest.raises(UsageError, match="--seeds"):
        audiojax.sweep("diffatr/soundworld:debug", [("seed", ("1", "2"))], (0,), tmp_path)


@pytest.mark.slow
def test_a_sweep_tests_in_all_domains_that_are_named_or_trained_on(run, tmp_path):
    shutil.copytree(run, tmp_path / "data.domain=studio" / "seed20")
    shutil.rmtree(tmp_path / "data.domain=studio" / "seed20" / "evaluation", ignore_errors=True)

    def domains(grid, **options):
        found = audiojax.sweep("diffatr/soundworld:debug", grid, (20,), tmp_path, overrides=TINY, progress=False, **options)
        return {row["domain"]: len([r for r in found.rows if r["domain"] == row["domain"]]) for row in found.rows}

    studio = [("data.domain", ("studio",))]
    assert domains(studio) == {"studio": 16}  # directions, scores, measures
    assert domains(studio, domains=("field",)) == {"field": 16}
    evaluations = tmp_path / "data.domain=studio" / "seed20" / "evaluation"
    assert {path.name for path in evaluations.iterdir()} == {"test", "test-field"}
    assert domains([("data.domain", ("studio", "field"))]) == {"studio": 32, "field": 32}


@pytest.mark.parametrize(
    ("grid", "options", "words"),
    [
        ([("data.size", ("0.006", "0.007"))], {}, "data.size: 0.006 and 0.007 have different test clips"),
        ([("data.world_seed", ("0", "1"))], {}, "data.world_seed: 0 and 1"),
        ([("data.source", ("memory", "tfds"))], {}, "data.source: SoundWorld and other data"),
        ([], {"overrides": (*TINY, "seed=7")}, "--seeds"),
        ([], {"overrides": (*TINY, "data.source=tfds"), "domains": ("field",)}, "--domains is for SoundWorld"),
    ],
)
def test_a_sweep_refuses_what_it_cannot_compare(tmp_path, grid, options, words):
    with pytest.raises(UsageError, match=words):
        audiojax.sweep("diffatr/soundworld:debug", grid, (0,), tmp_path / "s", **({"overrides": TINY, "progress": False} | options))
    assert not (tmp_path / "s").exists()


def test_a_sweep_with_a_mistake_ends_before_any_work(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'inference.top_m'"):
        audiojax.sweep("diffatr/soundworld:debug", [("inference.topm", ("4",))], (0,), tmp_path / "s", overrides=TINY)
    assert not (tmp_path / "s").exists()


def test_batch_that_devices_do_not_divide(tmp_path):
    with pytest.raises(UsageError, match="batch_size 9 is not divisible by 8 devices"):
        audiojax.train(config("contrastive.batch_size=9"), tmp_path / "w", progress=False)
    assert not (tmp_path / "w").exists()  # so that the corrected command works


def test_mistakes_in_the_second_phase_show_before_the_first_is_trained(tmp_path):
    for override, words in (("hybrid.batch_size=9", "batch_size 9"), ("hybrid.groups.denoisers.name=adamv", "adamv")):
        with pytest.raises(UsageError, match=words):
            audiojax.train(config(override), tmp_path / "w", progress=False)
        assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.source=radio", "'radio' is none of soundworld, memory, tfds"),
        ("data.source=tfds", "needs --config.data.dir"),
        ("paper=dac2", "takes one of coattention, dac, diffatr"),
        ("data.domain=moon", "domain 'moon'"),
        ("phases=('contrastiv',)", "'phases' names 'contrastiv'"),
        ("inference.query_block=0", "query_block' is 0"),
        ("inference.alphas=()", "inference.alphas' is empty"),
        ("phases=()", "phases' is empty"),
    ],
)
def test_bad_config_values(tmp_path, override, words):
    with pytest.raises(UsageError, match=words):
        audiojax.train(config(override), tmp_path / "w", progress=False)
    assert not (tmp_path / "w").exists()


def test_misuse_of_a_model(run, sounds, tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        audiojax.load(tmp_path / "missing")
    with pytest.raises(UsageError, match="no audiojax model"):
        audiojax.load(sounds)
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    shutil.copy(run / "config.json", unfinished)
    with pytest.raises(UsageError, match="not finished"):
        audiojax.load(unfinished)
    finder = audiojax.load(run)
    with pytest.raises(UsageError, match="index"):
        finder.search("rain")
    with pytest.raises(UsageError, match="no sound file"):
        finder.index(run, cache_dir=tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        finder.index(tmp_path / "nowhere", cache_dir=tmp_path)
    finder.index(sounds, cache_dir=tmp_path)
    for query in ("", "  ", "?!"):
        with pytest.raises(UsageError, match="empty"):
            finder.search(query)
    with pytest.raises(UsageError, match="k = 0"):
        finder.search("rain", k=0)
    with pytest.raises(UsageError, match="no split|split 'holiday'"):
        audiojax.evaluate(run, "holiday", progress=False)


def test_damaged_weights_are_named(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run / "final", copy)
    for path in sorted((copy / "weights").rglob("*")):
        if path.is_file() and path.stat().st_size > 500:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    with pytest.raises(AudiojaxError, match="weights"):
        audiojax.load(copy)
