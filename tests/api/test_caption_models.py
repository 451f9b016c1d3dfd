"""Measures of captions by models with random weights: what they depend on, what they refuse, and the tables and cards that they end in."""

import json

import numpy as np
import pytest
import soundfile

from audiojax import api
from audiojax.api.describing import caption_models as models
from audiojax.api.describing.caption_models import Said, llama_judge, texts
from audiojax.api.describing.score import score
from audiojax.api.opening import DIGEST
from audiojax.errors import AudiojaxError, UsageError
from audiojax.text.tokenizer import Tokenizer
from tests.api.caption_folders import CAPTIONS, bert_folder, detector_file, llama_folder, roberta_folder
from tests.encoders.test_clap import NARROW
from tests.pretrained.test_clap import hub_folder
from tests.towers.clap_cases import RATE, clips, variables

IDS = ("a", "b", "c", "d")
SAID = ("a dog barks", "", "a bell rings followed by footsteps", "rain")
WANTED = (CAPTIONS[:2], CAPTIONS[1:], (CAPTIONS[1],), CAPTIONS)
QUIET = {"progress": False}


def said(order=range(4), sounds=None):
    parts = ([column[i] for i in order] for column in (IDS, SAID, WANTED))
    return Said(*parts, sounds)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    bert_folder(root / "bert-base-uncased")
    roberta_folder(root / "roberta")
    detector_file(root / "sure.ckpt", shift=50)
    detector_file(root / "calm.ckpt", shift=-50)
    llama_folder(root / "llama")
    return root


@pytest.fixture(scope="module")
def bertscore(folder):
    return models.BertScore(folder / "roberta", layer=2, **QUIET)


def same_whatever_stands_beside(model, skip=()):
    """Values of all clips: 0 without a caption, and the same with other clips in another order."""
    whole, some = model.measure(said(), False), model.measure(said([2, 0]), False)
    for name, values in whole.items():
        assert values.shape == (4,)
        assert values[1] == 0 or name in skip
        np.testing.assert_array_equal(some[name], values[[2, 0]])
    return whole


def test_bertscore_of_a_clip_depends_on_that_clip(bertscore):
    found = same_whatever_stands_beside(bertscore)
    assert set(found) == {"bertscore_p", "bertscore_r", "bertscore_f1"}
    assert all((values[[0, 2, 3]] > 0).all() for values in found.values())
    equal = bertscore.measure(Said(["x"], [CAPTIONS[1]], [CAPTIONS]), False)
    assert all(values[0] == pytest.approx(1, abs=1e-5) for values in equal.values())
    assert "layer 2, no idf, not rescaled" in bertscore.card["BERTScore"]


def test_bertscore_in_pieces_is_the_same(bertscore, monkeypatch):
    whole = bertscore.measure(said(), False)
    monkeypatch.setattr("audiojax.api.describing.caption_models.bertscore.CLIPS", 1)
    for name, values in bertscore.measure(said(), False).items():
        np.testing.assert_array_equal(values, whole[name])


def test_layers_that_are_not_there_or_not_known(folder):
    with pytest.raises(UsageError, match="bert-base-uncased: there is no layer 9 of BERTScore; it has 0 to 2"):
        models.BertScore(folder / "bert-base-uncased", **QUIET)
    with pytest.raises(UsageError, match="roberta: no usual layer is known for a model of this name; choose one with --bertscore-layer"):
        models.BertScore(folder / "roberta", **QUIET)


@pytest.mark.slow
def test_bertscore_rescaled_and_weighed(folder, tmp_path):
    baseline = tmp_path / "b.tsv"
    baseline.write_text("LAYER,P,R,F\n" + "".join(f"{layer},0.5,0.5,0.5\n" for layer in range(3)))
    plain, other, weighed = (
        models.BertScore(folder / "bert-base-uncased", layer=2, **QUIET, **more).measure(said(), False)
        for more in ({}, {"baseline": baseline}, {"idf": True})
    )
    np.testing.assert_allclose(other["bertscore_f1"], np.where(plain["bertscore_f1"], 2 * plain["bertscore_f1"] - 1, 0), rtol=1e-6)
    assert not np.allclose(weighed["bertscore_p"], plain["bertscore_p"])


def test_fense_is_a_tenth_of_the_similarity_where_the_detector_is_sure(folder):
    sure = models.Fense(folder / "bert-base-uncased", detector=folder / "sure.ckpt", **QUIET)
    broken = same_whatever_stands_beside(sure, skip=("fluency_errors",))
    assert broken["fluency_errors"].tolist() == [1] * 4
    np.testing.assert_allclose(broken["fense"], broken["sbert"] / 10)
    assert sure.measure(Said(["x"], ["a bell"], [["a bell"]]), False)["sbert"][0] == pytest.approx(1)
    assert set(sure.card) == {"Sentence-BERT", "fluency detector"}


@pytest.mark.slow
def test_without_a_detector_it_is_called_similarity(folder):
    plain = models.Fense(folder / "bert-base-uncased", **QUIET)
    calm = models.Fense(folder / "bert-base-uncased", detector=folder / "calm.ckpt", **QUIET)
    assert "which is not FENSE" in plain.card["fluency detector"]
    found, whole = plain.measure(said(), False), calm.measure(said(), False)
    assert set(found) == {"sbert"}
    assert whole["fluency_errors"].tolist() == [0] * 4
    np.testing.assert_array_equal(whole["fense"], found["sbert"])


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("1_Pooling/config.json", {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "pools by pooling_mode_cls_token"),
        ("1_Pooling/config.json", {"pooling_mode": "max"}, "pools by max"),
        ("2_Dense/config.json", {}, "a layer behind the pooling"),
        ("sentence_bert_config.json", {"max_seq_length": "long"}, "max_seq_length is 'long'"),
        ("sentence_bert_config.json", [1], "holds no settings"),
    ],
)
def test_another_sentence_bert_is_refused(tmp_path, file, content, message):
    path = tmp_path / "sbert" / file
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match=message):
        models.Fense(tmp_path / "sbert", **QUIET)


def test_models_of_another_kind_are_named(folder):
    for make, name, message in (
        (models.BertScore, "sure.ckpt", "holds a BertClassifier, and a BERT or RoBERTa is needed"),
        (models.ClapScore, "bert-base-uncased", "holds a BertEncoder, and a CLAP is needed"),
        (models.LlamaJudge, "bert-base-uncased", "a judge needs a LLaMA with its tokenizer, and this is a TextTower"),
    ):
        options = {"layer": 1} if make is models.BertScore else {}
        with pytest.raises(UsageError, match=message):
            make(folder / name, **options, **QUIET)
    with pytest.raises(UsageError, match="roberta: holds a BertEncoder, and FENSE's fluency detector is needed"):
        models.Fense(folder / "bert-base-uncased", detector=folder / "roberta", **QUIET)
    with pytest.raises(UsageError, match="has a vocabulary of .*: the two must share theirs"):
        models.Fense(folder / "roberta", detector=folder / "sure.ckpt", **QUIET)
    with pytest.raises(
        UsageError, match="nobody/nothing: no such file or folder, and not in the hub cache; .*audiojax weights fetch nobody/nothing"
    ):
        models.Fense("nobody/nothing", **QUIET)


def test_rows_go_through_few_shapes_and_come_back_by_their_number():
    shapes = []

    def total(params, ids, mask):
        shapes.append(ids.shape)
        return (ids * mask).sum(axis=1) + params["more"]

    rows = [[i] * (i + 1) for i in range(70)]
    found = dict(texts.RowsOnDevices(total, {"more": np.int32(1)}, pad_id=9, limit=70)(rows))
    assert found == {i: i * (i + 1) + 1 for i in range(70)}
    assert sorted(set(shapes)) == [(32, 16), (32, 32), (32, 64), (32, 70)]
    assert len(shapes) == 4


def test_a_function_is_asked_clip_by_clip():
    asked = []

    def judge(caption, references):
        asked.append((caption, references))
        return len(caption) / 100

    values = models.FunctionJudge(judge).measure(said(), False)["judge"]
    np.testing.assert_allclose(values, [len(text) / 100 for text in SAID])
    assert asked == [(SAID[i], list(WANTED[i])) for i in (0, 2, 3)]
    for wrong, message in (
        (1.5, "said 1.5 of a, and a number from 0 to 1"),
        (float("nan"), "said nan"),
        ("yes", "said 'yes'"),
        (None, "None"),
    ):
        with pytest.raises(AudiojaxError, match=message):
            models.FunctionJudge(lambda *_, wrong=wrong: wrong).measure(said(), False)
    with pytest.raises(AudiojaxError, match=r"mine: failed at a \(ZeroDivisionError"):
        models.FunctionJudge(lambda *_: 1 / 0, "mine").measure(said(), False)


JUDGE = """
from __future__ import annotations
from dataclasses import dataclass

NUMBER = 3

@dataclass
class Scale:
    top: float = 1

def score(caption, references):
    return Scale().top / len(references)
"""


def test_a_judge_is_named_by_file_or_module(tmp_path):
    file = tmp_path / "my judge.py"
    file.write_text(JUDGE)
    judge = models.open_judge(f"{file}:score", False)
    np.testing.assert_allclose(judge.measure(said(), False)["judge"], [1 / 2, 0, 1, 1 / 3])
    assert f"{file}:score" in judge.card["judge"]
    assert len(judge.card["judge"].split()[-1]) == DIGEST
    assert isinstance(models.open_judge("difflib:get_close_matches", False), models.FunctionJudge)
    (tmp_path / "broken.py").write_text("import no_such_module_here\n")
    for spec in (
        f"{file}:none",
        f"{tmp_path}/broken.py:score",
        f"{tmp_path}/none.py:score",
        "no_such_module_here:score",
        "json:none",
        "not a module:x",
    ):
        with pytest.raises(UsageError, match="cannot be imported"):
            models.open_judge(spec, False)
    with pytest.raises(UsageError, match="is no function of a caption"):
        models.open_judge(f"{file}:NUMBER", False)
    with pytest.raises(UsageError, match="no such file or folder, and not in the hub cache"):
        models.open_judge("nobody/nothing", False)


def test_a_language_model_is_asked_for_yes_or_no(folder, monkeypatch):
    judge = models.open_judge(str(folder / "llama"), False)
    values = same_whatever_stands_beside(judge)["judge"]
    assert len(set(values)) == 4
    assert ((values[[0, 2, 3]] > 0) & (values[[0, 2, 3]] < 1)).all()
    asked = llama_judge.question(SAID[0], WANTED[0])
    assert all(text in asked for text in (SAID[0], *WANTED[0]))
    monkeypatch.setattr(llama_judge, "YES", " no")
    with pytest.raises(UsageError, match="its tokens do not tell no from no"):
        judge.measure(said(), False)
    long = Said(["z"], ["a dog"], [["rain " * 600]])
    monkeypatch.undo()
    with pytest.raises(UsageError, match=r"the question about z has \d+ tokens, and the model takes 512"):
        judge.measure(long, False)


@pytest.fixture(scope="module")
def clap(tmp_path_factory):
    """(a folder with a narrow CLAP, a folder of sounds, the sounds themselves)"""
    root = tmp_path_factory.mktemp("clap")
    folder = hub_folder(root / "clap", NARROW["plain"], variables("plain"))
    Tokenizer.train(CAPTIONS, 50).save(folder)
    sounds = clips((4_000, 8_000, 11_000, 20_011))
    for name, clip in zip(IDS, sounds, strict=True):
        (root / "sounds" / name).mkdir(parents=True)
        soundfile.write(root / "sounds" / name / f"{name}.flac", clip, RATE, subtype="PCM_24")
    return folder, root / "sounds", sounds


@pytest.mark.slow
def test_the_clap_score_is_the_cosine_of_caption_and_sound(clap):
    folder, _, sounds = clap
    model = models.ClapScore(folder, **QUIET)
    values = model.measure(said(sounds=lambda: ((clip, RATE) for clip in sounds)), False)["clap"]
    tower = api.load_pretrained(folder, **QUIET)
    heard, wanted = tower.embed_audio(sounds, RATE), tower.embed_text([text or "x" for text in SAID])
    cosines = np.sum(heard * wanted, axis=1)
    np.testing.assert_allclose(values[[0, 1, 3]], [cosines[0], 0, cosines[3]], atol=2e-2)  # a rest of a window is padded otherwise
    np.testing.assert_allclose(values[[0]], cosines[[0]], atol=1e-5)
    with pytest.raises(UsageError, match="name their folder with --audio"):
        model.measure(said(), False)


REFERENCES = "file_name,caption_1,caption_2\na.wav,a dog barks,the dog barks\nb.wav,a bell rings,\n"
CAPTIONED = "file,caption\nb.wav,a bell\na.wav,a dog\n"


@pytest.fixture
def tables(tmp_path):
    for name, content in (("c.csv", CAPTIONED), ("r.csv", REFERENCES)):
        (tmp_path / name).write_text(content)
    return tmp_path / "c.csv", tmp_path / "r.csv"


class Fixed(models.CaptionModel):
    """Values that are known, and the sounds that it was given."""

    card = {"fixed": "by hand"}

    def __init__(self, **values):
        self.values, self.heard = values, None

    def measure(self, said, progress=True):
        self.heard = said.sounds and list(said.sounds())
        return {name: np.array(values, float) for name, values in self.values.items()}


def test_models_stand_in_the_table_of_the_others_with_intervals_and_cards(tables, clap):
    model = Fixed(sbert=[0.5, 0.25], clap=[0.1, 0.3])
    found = score(*tables, metrics=("rouge_l",), models=[model], audio=clap[1], **QUIET)
    assert found.scores["sbert"] == 0.375
    assert found.rows()[1]["clap"] == 0.3
    (table,) = [section for section in found.sections if section.title == "Agreement with the references"]
    assert [(row.name, row.percent) for row in table.metrics] == [
        ("ROUGE-L", True),
        ("Sentence-BERT similarity", True),
        ("CLAP score (with the sound)", False),
    ]
    assert table.metrics[1].low == 0.25
    assert table.metrics[1].high == 0.5
    assert found.card["fixed"] == "by hand"
    for (samples, rate), clip in zip(model.heard, clap[2], strict=False):
        assert rate == RATE
        np.testing.assert_allclose(samples, clip, atol=1e-6)
    assert set(score(*tables, metrics=(), models=[Fixed(judge=[1, 0])], **QUIET).scores) == {"judge"}
    with pytest.raises(UsageError, match="two models measure 'judge'"):
        score(*tables, models=[Fixed(judge=[1, 0]), Fixed(judge=[0, 0])], **QUIET)


def test_clips_without_a_sound_are_counted_and_named(tables, clap, tmp_path):
    with pytest.raises(UsageError, match=r"b: 1 of 2 clips have no sound that is theirs \(a: no sound file named 'a.wav'\)"):
        score(*tables, models=[Fixed(clap=[0, 0])], audio=clap[1] / "b", **QUIET)
    with pytest.raises(UsageError, match="nothing: no such folder"):
        score(*tables, models=[Fixed(clap=[0, 0])], audio=tmp_path / "nothing", **QUIET)
    for name in IDS[:2]:
        (tmp_path / "broken").mkdir(exist_ok=True)
        (tmp_path / "broken" / f"{name}.wav").write_bytes(b"RIFF")
    with pytest.raises(AudiojaxError, match="a.wav"):
        score(*tables, models=[Fixed(clap=[0, 0])], audio=tmp_path / "broken", **QUIET)


def test_spider_with_a_detector_is_also_penalised(tables, monkeypatch):
    monkeypatch.setattr("audiojax.api.describing.score.require", lambda name: None)
    monkeypatch.setattr("audiojax.api.describing.score.metadata.version", lambda name: "0")  # the extra `eval` need not be there
    monkeypatch.setattr("audiojax.api.describing.score.spice", lambda said, wanted: (0.5, np.array([0.5, 0.5])))
    plain = score(*tables, metrics=("spider",), **QUIET)
    found = score(*tables, metrics=("spider",), models=[Fixed(fluency_errors=[1, 0])], **QUIET)
    assert "spider_fl" not in plain.scores
    np.testing.assert_allclose(found.per_clip["spider_fl"], plain.per_clip["spider"] * [0.1, 1])
    assert found.scores["spider_fl"] == pytest.approx(found.per_clip["spider_fl"].mean())
