"""Latent diffusion from towers to a finished run: what is stored, measured and retrieved; a stop; a warm start; another datastore."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile

import audiojax
from audiojax.api.data import open_split
from audiojax.api.making import sound_backbone
from audiojax.api.making.datastore import classes_of
from audiojax.api.making.evaluate import SoundTest
from audiojax.api.making.run_making import open_run_maker
from audiojax.api.making.wishes import Wish
from audiojax.cli import main
from audiojax.config import to_dict
from audiojax.data.examples import captions_of, facts_of
from audiojax.errors import UsageError
from audiojax.metrics.generation.likeness import NONE
from audiojax.partition import flat_paths
from audiojax.trainer.export import load_export
from audiojax.trainer.interrupt import RunInterrupted
from audiojax.trainer.loop import Signals
from tests.api.sound_folders import tagger_folder
from tests.papers.re_audioldm.latent_small import HEARD, PAIRS, READ, SIZES, config_of, save_towers, shrink

WORLD = ("data.source=memory", "data.size=0.005", "train.eval_batch_size=8", "data.statistics_examples=16", "diffusion.batch_size=8")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def small_networks(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        patch.setattr(sound_backbone, "BATCH", 8)
        patch.setenv("AUDIOJAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def overrides(tmp_path_factory, small_networks):
    source = open_split(to_dict(config_of(*WORLD))["data"], "train")
    captions = [text for i in range(len(source)) for text in captions_of(source, i)]
    return (*WORLD, *save_towers(tmp_path_factory.mktemp("towers"), captions))


@pytest.fixture(scope="module")
def run(tmp_path_factory, overrides):
    workdir = tmp_path_factory.mktemp("run") / "work"
    audiojax.train(config_of(*overrides, "retrieval.datastore=train+unseen", "train.save_every=2"), workdir, progress=False)
    return workdir


def test_a_run_holds_all_that_it_needs(run):
    measured = json.loads((run / "statistics.json").read_text())["measured"]
    model = load_export(run / "final")
    assert measured.keys() == {"latent/scale", "null/embedding", "null/text", "null/text_mask"}
    np.testing.assert_array_equal(model.model_state["latent"]["scale"], np.float32(measured["latent/scale"]))
    assert sum(measured["null/text_mask"]) == 2  # the tokens around an empty text
    assert np.linalg.norm(measured["null/embedding"]) == pytest.approx(1, abs=1e-3)
    assert model.params.keys() == {"unet", "vae", "clap", "audiomae", "t5"}
    card = json.loads((run / "final" / "card.json").read_text())
    assert card["started from"].keys() == {"vae", "clap", "audiomae", "t5"}
    assert {"explained", "level/500", "band/low"} <= card["validation"].keys()


def test_a_run_makes_sounds_from_what_it_retrieves(run):
    maker = audiojax.load(run)
    how = {"seconds": 0.32, "steps": 2, "guidance": 2.0}
    made = maker.generate(["a bell rings", "a dog barks"], **how)
    assert [one.waveform.shape for one in made] == [(5_120,)] * 2
    assert all(np.isfinite(one.waveform).all() for one in made)
    alone = maker.generate("a dog barks", **how)[0]
    np.testing.assert_allclose(alone.waveform, made[1].waveform, atol=1e-4)
    retrieval = maker.networks.retrieval
    vectors = maker.networks.text.embed_text(["a bell rings", "a dog barks"])
    (heard, heard_mask), (read, read_mask) = retrieval.contexts([Wish("a bell rings"), Wish("a dog barks")], vectors)
    assert heard.shape[:2] == heard_mask.shape == (2, PAIRS * HEARD[0])
    assert read.shape[:2] == read_mask.shape == (2, PAIRS * READ[0])
    states = retrieval.datastore.states
    best = np.argmax([np.max(states[i]["text_embedding"] @ vectors[0]) for i in range(len(states))])
    np.testing.assert_allclose(heard[0, : HEARD[0]], states[int(best)]["audio_tokens"], atol=1e-6)
    assert not retrieval.null(3)[0][0].any()


def test_a_run_retrieves_otherwise_without_training(run):
    """Another number of pairs, another datastore, none at all; and what cannot be retrieved."""
    usual = audiojax.load_maker(run, progress=False)
    asked, vectors = [Wish("a bell rings")], usual.networks.text.embed_text(["a bell rings"])
    heard = usual.networks.retrieval.contexts(asked, vectors)[0][0]
    more = audiojax.load_maker(run, retrieval={"count": 5}, progress=False)
    found = more.networks.retrieval.contexts(asked, vectors)[0][0]
    assert found.shape[1] == 5 * HEARD[0]
    np.testing.assert_allclose(found[:, : PAIRS * HEARD[0]], heard, atol=1e-6)
    fewer = audiojax.load_maker(run, retrieval={"datastore": "unseen"}, progress=False)
    assert len(fewer.networks.retrieval.datastore.states) < len(usual.networks.retrieval.datastore.states)
    none = audiojax.load_maker(run, retrieval={"mode": "none"}, progress=False)
    assert none.networks.retrieval.datastore is None
    assert not none.networks.retrieval.contexts(asked, vectors)[0][0].any()
    assert len({maker.model_id for maker in (usual, more, fewer, none)}) == 4
    for changes, words in (
        ({"count": 1_000}, "'retrieval.count' is 1000"),
        ({"datastore": "nothing"}, "split 'nothing'"),
        ({"mode": "best"}, "config key 'retrieval.mode'"),
    ):
        with pytest.raises(UsageError, match=words):
            audiojax.load_maker(run, retrieval=changes, progress=False)
    with pytest.raises(UsageError, match="heads is an option of public weights"):
        audiojax.load_maker(run, heads="diffusers", progress=False)


def test_controls_retrieve_by_the_truth_and_no_clip_is_given_itself(run):
    """Of the training clips, whose own clips lie in the datastore."""
    source = open_split(to_dict(load_export(run / "final").config)["data"], "train")
    told = [source.facts(i) for i in range(6)]
    wishes = [Wish(one["captions"][0], clip=one["id"]) for one in told]
    truth = {one["id"]: classes_of([one], [0])[0] for one in told}
    for mode in ("clap", "random", "oracle", "wrong_class"):
        maker = audiojax.load_maker(run, retrieval={"mode": mode}, progress=False)
        retriever = replace(maker.networks.retrieval, truth=truth)
        rows = retriever.neighbours(wishes, maker.networks.text.embed_text([wish.prompt for wish in wishes]))[..., 0]
        assert rows.shape == (6, PAIRS)
        ids = [facts_of(retriever.datastore.records, i)["id"] for i in range(len(retriever.datastore.records))]
        shared = retriever.classes.astype(int) @ np.stack([truth[wish.clip] for wish in wishes]).T.astype(int) > 0
        for number, wish in enumerate(wishes):
            assert wish.clip in ids
            assert wish.clip not in [ids[row] for row in rows[number] if row != NONE]
            found = [shared[row, number] for row in rows[number] if row != NONE]
            there = shared[[own != wish.clip for own in ids], number]
            if mode == "oracle":
                assert all(found) or there.sum() < PAIRS
            if mode == "wrong_class":
                assert not any(found)


def test_candidates_of_a_run_are_ranked(run, overrides):
    clap = dict(word.split("=") for word in overrides)["init.clap"]
    with pytest.raises(UsageError, match="name one that hears"):
        audiojax.load_maker(run, progress=False).generate("a bell", seconds=0.32, steps=1, candidates=2)
    maker = audiojax.load_maker(run, ranker=clap, progress=False)
    (made,) = maker.generate("a bell", seconds=0.32, steps=1, candidates=2)
    assert -1 <= made.score <= 1


def test_made_sounds_are_measured_beside_the_round_trip(run, tmp_path, capsys):
    tagger_folder(tmp_path / "tagger")
    command = ["evaluate", "--workdir", str(run), "--clips", "3", "--steps", "2", "--quiet"]
    assert main(command) == 2
    assert "--clips belongs to --backbone" in capsys.readouterr().err
    command += ["--backbone", str(tmp_path / "tagger")]
    assert main([*command, "--beams", "2"]) == 2
    assert "--beams is for systems that describe" in capsys.readouterr().err
    assert main(command) == 0
    folder = run / "evaluation" / "test-steps=2-clips=3"
    facts = json.loads((folder / "scores.json").read_text())
    sounds = sorted((folder / "sounds").glob("*.wav"))
    assert len(sounds) == facts["card"]["clips"] == 3
    assert {"Frechet distance", "KID", "KL (softmax)", "silent sounds", "round trip/KL (softmax)"} <= facts["scores"].keys()
    assert {"precision of what is retrieved", "copy score", "copy score of the real clips"} <= facts["scores"].keys()
    assert all(np.isfinite(value) for value in facts["scores"].values())
    assert facts["card"]["sounds"] == "ddim, 2 steps, guidance 3.5, 1 candidates"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "round trip" in page
    assert page.count("the tagger hears") == 9
    made = [path.stat().st_mtime_ns for path in sounds]
    again = audiojax.evaluate(run, sounds=SoundTest(str(tmp_path / "tagger"), clips=3, options={"steps": 2}), progress=False)
    assert [path.stat().st_mtime_ns for path in sounds] == made  # they stay
    assert again.scores == facts["scores"]
    assert {again.gaps[name].shape for name in ("kl_softmax", "retrieval_precision", "copy_score")} == {(3,)}
    assert main([*command, "--retrieval-count", "1", "--retrieval-mode", "wrong_class"]) == 0
    other = json.loads((run / "evaluation" / "test-steps=2-clips=3-count=1-mode=wrong_class" / "scores.json").read_text())
    assert other["scores"]["precision of what is retrieved"] == 0
    with pytest.raises(UsageError, match="--backbone is missing"):
        audiojax.evaluate(run, progress=False)


def test_a_sweep_compares_what_is_retrieved(run, overrides, tmp_path):
    """Against the finished run, which is one of its settings; a second call neither trains nor measures."""
    tagger_folder(tmp_path / "tagger")
    trained = config_of(*overrides, "retrieval.datastore=train+unseen", "train.save_every=2")
    shutil.copytree(run, tmp_path / "sweep" / "retrieval.mode=clap" / f"seed{trained.seed}")
    changes = (*SIZES, *overrides, "retrieval.datastore=train+unseen", "train.save_every=2")
    test = SoundTest(str(tmp_path / "tagger"), clips=4, options={"steps": 2})

    def ask():
        grid = [("retrieval.mode", ("clap", "none"))]
        how = {"overrides": changes, "sounds": test, "progress": False}
        return audiojax.sweep("re_audioldm/soundworld:debug,diffusion", grid, (trained.seed,), tmp_path / "sweep", **how)

    found = ask()
    rows = {(row["setting"], row["measure"]): row for row in found.rows}
    settings = {setting for setting, _ in rows}
    assert settings == {"retrieval.mode=clap", "retrieval.mode=none"}
    alone = json.loads(next((tmp_path / "sweep" / "retrieval.mode=none").glob("seed*/evaluation/*/scores.json")).read_text())
    assert rows["retrieval.mode=none", "Frechet distance"]["value estimate"] == pytest.approx(alone["scores"]["Frechet distance"], rel=1e-4)
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "sweep").glob("*/*/**/*.json")}
    assert ask().rows == found.rows
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_a_users_own_index_is_retrieved_from(run, overrides, tmp_path):
    """Its sounds have captions and no truth: they are attended to, and by no truth it is said how well they fit."""
    clap = dict(word.split("=") for word in overrides)["init.clap"]
    source = open_split(to_dict(load_export(run / "final").config)["data"], "train")
    captions = {}
    for i in range(PAIRS + 2):
        path = tmp_path / "mine" / f"{i}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, source[i]["audio"], 16_000)
        captions[path.name] = [f"my sound {i}"]
    audiojax.load_finder(clap).index(tmp_path / "mine", tmp_path / "index", captions=captions)
    tagger_folder(tmp_path / "tagger")
    test = SoundTest(str(tmp_path / "tagger"), clips=3, options={"steps": 2}, retrieval={"datastore": str(tmp_path / "index")})
    found = audiojax.evaluate(run, sounds=test, progress=False)
    assert np.isfinite(found.scores["KID"])
    assert not {"precision of what is retrieved", "copy score"} & found.scores.keys()
    maker = audiojax.load_maker(run, retrieval=dict(test.retrieval), progress=False)
    asked = [Wish("a bell rings")]
    (heard, _), _ = maker.networks.retrieval.contexts(asked, maker.networks.text.embed_text(["a bell rings"]))
    assert heard.any()
    named = Wish("0")  # as one of the files, which it is no caption of
    vectors = maker.networks.text.embed_text([named.prompt])
    for count, there, wish in ((PAIRS + 2, PAIRS + 2, named), (PAIRS + 2, PAIRS + 1, Wish("0", clip="0")), (PAIRS + 9, PAIRS + 2, named)):
        more = audiojax.load_maker(run, retrieval={**test.retrieval, "count": count}, progress=False)
        rows = more.networks.retrieval.neighbours([wish], vectors)
        assert rows.shape == (1, count, 2)
        assert (rows[..., 0] != NONE).sum() == there
    with pytest.raises(UsageError, match="has no SoundWorld scene"):
        audiojax.evaluate(run, sounds=replace(test, retrieval={**test.retrieval, "mode": "oracle"}), progress=False)


def test_data_that_are_gone_are_named_unless_nothing_is_retrieved_from_them(run, tmp_path):
    model = load_export(run / "final")
    config = model.config.copy_and_resolve_references()
    config.data.update({"source": "tfds", "dir": f"{tmp_path}/old"})
    moved = replace(model, config=config)
    with pytest.raises(UsageError, match="old: is gone, and some run retrieves from its clips; name their folder with --data-dir"):
        open_run_maker(moved, "some run", progress=False)
    with pytest.raises(UsageError, match=f"{tmp_path}/new"):
        open_run_maker(moved, data_dir=tmp_path / "new", progress=False)
    assert open_run_maker(moved, retrieval={"mode": "none"}, progress=False).generate("a bell", seconds=0.32, steps=1)


def test_no_public_pipeline_retrieves_but_a_public_unet_has_contexts(run, tmp_path):
    with pytest.raises(UsageError, match="retrieves, as no public pipeline does, so that its U-Net goes out alone"):
        audiojax.export(run, tmp_path / "folder", "safetensors", "a vocoder")
    assert not (tmp_path / "folder").exists()
    public = audiojax.load_pretrained(audiojax.export(run, tmp_path / "folder", "safetensors"), progress=False)
    ours = audiojax.load_maker(run, retrieval={"mode": "none"}, progress=False).networks.unet
    assert public.config == ours.config
    for path, leaf in flat_paths(ours.params).items():
        np.testing.assert_array_equal(flat_paths(public.params)[path], leaf, err_msg=path)


def test_a_stopped_run_ends_where_an_unbroken_one_does(run, overrides, tmp_path, monkeypatch):
    config = config_of(*overrides, "retrieval.datastore=train+unseen", "train.save_every=2")
    asked = []
    with monkeypatch.context() as patch:
        patch.setattr(Signals, "agreed", lambda self, ask: 15 * (asked.append(ask) or len(asked) == 2))  # SIGTERM in the second step
        with pytest.raises(RunInterrupted):
            audiojax.train(config, tmp_path / "work", progress=False)
    shutil.rmtree(tmp_path / "work" / "tensorboard", ignore_errors=True)
    audiojax.train(config, tmp_path / "work", progress=False)
    ours, theirs = (flat_paths(load_export(work / "final").params["unet"]) for work in (tmp_path / "work", run))
    for path, leaf in theirs.items():
        np.testing.assert_array_equal(ours[path], leaf, err_msg=path)


def test_a_run_goes_on_from_another_with_its_scale(run, overrides, tmp_path):
    further = config_of(*overrides, "retrieval.datastore=train+unseen", f"init.start={run}", "init.vae=nothing")
    final = audiojax.train(further, tmp_path / "more", progress=False)
    ours, theirs = load_export(final), load_export(run / "final")
    np.testing.assert_array_equal(ours.model_state["latent"]["scale"], theirs.model_state["latent"]["scale"])
    assert not (tmp_path / "more" / "statistics.json").exists()


def test_a_joint_model_with_the_right_answer_retrieved(overrides, tmp_path):
    final = audiojax.train(config_of(*overrides, "retrieval.mode=oracle", words="debug,joint"), tmp_path / "work", progress=False)
    assert load_export(final).params.keys() == {"unet", "vae", "clap", "audiomae", "t5"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("retrieval.datastore=nothing", "split 'nothing'"),
        ("retrieval.count=50", "the datastore 'train' holds"),
        ("model.vae_preset=tiny", "init.vae: .* does not fit the model"),
        ("init.vae=", "'init.vae' is empty"),
    ],
)
def test_mistakes_are_named(overrides, tmp_path, change, words):
    with pytest.raises(UsageError, match=words):
        audiojax.train(config_of(*overrides, change), tmp_path / "work", progress=False)
    assert not (tmp_path / "work" / "checkpoints").exists()
