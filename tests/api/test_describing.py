"""Evaluation and comparison of systems that describe, with captioners whose captions are known."""

import csv
import importlib
import json

import numpy as np
import pytest

from audiojax.api import evaluation
from audiojax.api.compare import compare_counts
from audiojax.api.data import open_split
from audiojax.api.describing import evaluate as evaluate_describing
from audiojax.api.describing.caption_measures import AGREEMENT, TRUTH, count, values
from audiojax.api.describing.caption_models import CaptionModel
from audiojax.api.describing.evaluate import load_counts, of_others
from audiojax.data.soundworld.scenes import Scene
from audiojax.data.transforms import to_float
from audiojax.errors import UsageError
from tests.api.captioner import Listener

DATA = {"source": "memory", "size": "0.02", "domain": "studio", "world_seed": 0, "sample_rate": 16_000, "seconds": 3.84}
DATA |= {"padding": "zero", "in_memory": True, "dir": ""}
CONFIG = {"paper": "dac", "seed": 3, "data": DATA}
evaluate = importlib.import_module("audiojax.api.evaluate")  # the package's own `evaluate` is the function


@pytest.fixture(scope="module")
def source():
    return open_split(DATA, "val")


@pytest.fixture
def opened(monkeypatch):
    """opened(model) makes it what every run holds."""
    return lambda model: monkeypatch.setattr(evaluate, "load", lambda path: model)


def first(record, i, seed):
    return record["captions"][0]


def drawn(record, i, seed):
    return record["captions"][seed % 5]


def test_captions_of_people_reach_the_ceiling(source, opened, tmp_path):
    opened(Listener(source, first, **CONFIG))
    found = evaluate.evaluate(tmp_path, "val", progress=False)
    assert [found.scores[name] for name in ("event_f1", "attributes", "order", "parses", "bleu_4")] == pytest.approx([1] * 5)
    stored = json.loads(found.json.read_text())
    assert stored["scores"] == pytest.approx(found.scores)
    floor = stored["floor"]
    assert floor.keys() == {"other clips", "typical caption"}
    assert all(floor[name]["cider_d"] < found.scores["cider_d"] / 2 for name in floor)
    assert all(floor[name]["event_f1"] < 0.8 for name in floor)
    people = stored["fewer references"]["people"]
    assert people["event_f1"] == 1
    assert 0.1 < people["bleu_1"] < 1
    assert stored["card"]["clips"] == len(source)
    assert stored["card"]["options"] == "steps 10, guidance 1.0"
    assert "all 5 references" in stored["card"]["protocol"]
    assert stored["speed"]["clips a second (APS)"] > 0
    per_clip = stored["speed"]["tokens a second (TPS)"] / stored["speed"]["clips a second (APS)"]
    assert per_clip == pytest.approx(np.mean([len(source[i]["captions"][0].split()) for i in range(len(source))]))


def test_what_is_written_can_be_read(source, opened, tmp_path):
    opened(Listener(source, drawn, **CONFIG))
    found = evaluate.evaluate(tmp_path, "val", candidates=3, progress=False)
    folder = tmp_path / "evaluation" / "val"
    assert {path.name for path in folder.iterdir()} == {"captions.csv", "counts.npz", "scores.json", "report.html"}
    with (folder / "captions.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 3 * len(source)
    assert all(row["caption"] in [row[f"reference_{k}"] for k in range(1, 6)] for row in rows)
    assert len({row["caption"] for row in rows[:3]} | {row["caption"] for row in rows[3:6]}) > 2
    stored = load_counts(folder)
    assert values(stored) == pytest.approx({name: found.scores[name] for name in stored})
    page = found.report.read_text()
    assert all(text in page for text in (source[0]["captions"][1], "Beside people", "<audio", "Metric card"))
    assert {"div_1", "mbleu_4", "mtld"} <= found.scores.keys()
    assert load_counts(tmp_path) is None
    again = evaluate.evaluate(tmp_path, "val", candidates=3, batch_size=2, progress=False)
    assert again.scores == found.scores


def test_data_without_truth_or_further_references(source, opened, tmp_path, monkeypatch):
    records = [{**source[i], "captions": source[i]["captions"][:1], "scene": ""} for i in range(len(source))]
    monkeypatch.setattr(evaluation, "open_split", lambda data, split, progress: records)
    monkeypatch.setattr(evaluate_describing, "open_split", no_training_data)
    opened(Listener(source, first, **CONFIG))
    found = evaluate.evaluate(tmp_path, "val", progress=False)
    stored = json.loads(found.json.read_text())
    assert "event_f1" not in found.scores
    assert stored["floor"].keys() == {"other clips"}
    assert stored["fewer references"] == {}
    assert [section.title for section in found.sections] == ["Agreement with people", "Diversity", "Speed", "Metric card"]


class Overlap(CaptionModel):
    """Share of a caption's letters that a reference has, and the loudest sample of the clip."""

    card = {"overlap": "of letters"}

    def measure(self, said, progress=True):
        shared = [
            max(len({*text} & {*one}) for one in own) / len({*text}) for text, own in zip(said.captions, said.references, strict=True)
        ]
        return {"judge": np.array(shared), "clap": np.array([np.abs(samples).max() for samples, _ in said.sounds()])}


def test_models_measure_the_captions_chance_and_people(source, opened, tmp_path):
    opened(Listener(source, first, **CONFIG))
    found = evaluate.evaluate(tmp_path, "val", models=[Overlap()], progress=False)
    table = next(section for section in found.sections if section.title == "Agreement with people")
    row = {one.name: one for one in table.metrics}["judge"]
    assert row.value == found.scores["judge"] == 1
    assert row.chance < 1
    assert row.ceiling <= 1
    loudest = [np.abs(to_float(source[i]["audio"])).max() for i in range(len(source))]
    np.testing.assert_allclose(load_counts(tmp_path / "evaluation" / "val")["clap"][0], loudest)
    assert json.loads(found.json.read_text())["card"]["overlap"] == "of letters"


def no_training_data(data, split, progress):
    raise UsageError("moved")


def test_other_options_lie_in_another_folder_and_misuse_is_named(source, opened, tmp_path):
    opened(Listener(source, first, **CONFIG))
    found = evaluate.evaluate(tmp_path, "val", options={"steps": 3, "guidance": 1.0}, progress=False)
    assert found.report.parent.name == "val-steps=3"
    for wrong, message in (
        ({"probes": True}, "--probes is for systems that find"),
        ({"options": {"top_p": 0.5}}, "top-p: runs/parrot does not take it"),
        ({"split": "nothing"}, "split 'nothing'"),
    ):
        with pytest.raises(UsageError, match=message):
            evaluate.evaluate(tmp_path, **{"split": "val", "progress": False} | wrong)


def test_each_clip_gets_the_caption_of_another_one():
    references = [[str(i), "more"] for i in range(7)]
    texts = of_others(references)
    assert sorted(texts) == [str(i) for i in range(7)]
    assert all(text != own[0] for text, own in zip(texts, references, strict=True))
    assert of_others(references[:1]) == []


def test_counts_are_what_the_numbers_are_made_of(source):
    records = [source[i] for i in range(len(source))]
    scenes, references = [Scene.parse(record["scene"]) for record in records], [record["captions"] for record in records]
    one_off = [records[i - i % 2]["captions"][i % 5] for i in range(len(records))]  # every second caption is of another clip
    counts = count(one_off, references, scenes)
    assert counts.keys() == {*AGREEMENT, *TRUTH}
    order = np.random.default_rng(0).permutation(len(records))
    shuffled = count([one_off[i] for i in order], [references[i] for i in order], [scenes[i] for i in order])
    assert values(shuffled) == pytest.approx(values(counts))
    for name, measure in (AGREEMENT | TRUTH).items():
        assert counts[name].shape[1] == len(records)
        np.testing.assert_allclose(shuffled[name], counts[name][:, order], rtol=1e-9)
        interval = measure.interval(counts[name])
        assert interval.low <= interval.estimate <= interval.high
        assert interval.estimate == pytest.approx(measure.value(counts[name]))
        assert measure.difference(counts[name], counts[name]).high == 0


def test_settings_are_compared_in_pairs_over_clips():
    rng = np.random.default_rng(0)
    difficulty = rng.uniform(0, 1, 200)
    right = rng.integers(0, 2, 200) + 2.0
    bad = {"cider_d": difficulty[None], "event_f1": np.stack([right, np.full(200, 4.0)])}
    good = {"cider_d": difficulty[None] + 0.1, "event_f1": np.stack([right + 1, np.full(200, 4.0)])}
    tables, rows = compare_counts(["a", "b"], ["studio"], {("a", "studio"): [bad, bad], ("b", "studio"): [good, good]})
    by_name = {(row["measure"], row["setting"]): row for row in rows}
    gain = by_name["cider_d", "b"]
    assert [gain[f"against first {part}"] for part in ("low", "estimate", "high")] == pytest.approx([0.1] * 3)
    assert gain["value high"] - gain["value low"] > 0.05
    assert by_name["event_f1", "b"]["against first low"] > 0.2
    assert by_name["event_f1", "a"]["value estimate"] == pytest.approx(bad["event_f1"][0].mean() / 4)
    assert [line[:2] for line in tables[0].rows] == [("CIDEr-D", "a"), ("CIDEr-D", "b"), ("event F1", "a"), ("event F1", "b")]
    assert tables[0].columns[-1] == "minus a"
