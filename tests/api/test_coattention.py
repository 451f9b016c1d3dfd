"""Co-attention from a config to a search: towers, stored states, both phases, evaluation with minimal pairs, re-ranking of any index."""

import json

import numpy as np
import pytest
import soundfile

import audiojax
from audiojax.api.data import open_split
from audiojax.api.finding.coattention_search import CoAttentionFinder
from audiojax.api.loading import load_reranker
from audiojax.api.sweep import load_setting, sweep
from audiojax.config import to_dict
from audiojax.data.examples import captions_of
from audiojax.errors import UsageError
from tests.papers.coattention.towers import config_of, save_runs, shrink

WORLD = ("data.source=memory", "data.size=0.006", "train.eval_batch_size=8", "contrastive.batch_size=8", "pairs.batch_size=8")
TINY = (*WORLD, "contrastive.steps=2", "pairs.steps=2")


@pytest.fixture(scope="module", autouse=True)
def small_towers(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        patch.setenv("AUDIOJAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def towers(tmp_path_factory, small_towers):
    source = open_split(to_dict(config_of(*WORLD))["data"], "train")
    return save_runs(tmp_path_factory.mktemp("towers"), [text for i in range(len(source)) for text in captions_of(source, i)])


@pytest.fixture(scope="module")
def overrides(towers):
    return (*TINY, f"init.audio={towers[0]}", f"init.text={towers[1]}")


@pytest.fixture(scope="module")
def run(tmp_path_factory, overrides):
    workdir = tmp_path_factory.mktemp("run") / "work"
    audiojax.train(config_of(*overrides), workdir, progress=False)
    return workdir


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    source = open_split(to_dict(config_of(*WORLD))["data"], "test")
    for i in range(3):
        soundfile.write(folder / f"clip{i}.wav", source[i]["audio"], source[i]["sample_rate"])
    soundfile.write(folder / "long.wav", np.concatenate([source[i]["audio"] for i in (3, 4)]), 16_000)
    return folder


@pytest.mark.slow
def test_a_run_is_evaluated_with_minimal_pairs(run):
    found = audiojax.evaluate(run, "test", probes=True, progress=False)
    assert {"t2a/R@1", "t2a_cosine/R@1", "probe/order", "probe/count", "probe/binding"} <= found.scores.keys()
    assert all(0 <= found.scores[f"probe/{kind}"] <= 1 for kind in ("order", "count", "binding"))
    stored = json.loads(found.json.read_text())
    assert stored["card"]["cascade"] == "iterate, R = 2, best 100 of a query"
    assert "Minimal pairs" in found.report.read_text()
    card = json.loads((run / "final" / "card.json").read_text())
    assert card["started from"].keys() == {"audio", "text"}


@pytest.mark.slow
def test_a_search_is_re_ranked_by_the_cascade(run, sounds, tmp_path):
    finder = audiojax.load(run)
    assert isinstance(finder, CoAttentionFinder)
    finder.index(sounds, tmp_path / "index")
    plain, ranked = (finder.search("a bell rings", k=4, rerank=count) for count in (0, 3))
    assert {hit.path for hit in plain} == {hit.path for hit in ranked}
    assert [hit.path for hit in ranked[3:]] == [hit.path for hit in plain[3:]]
    assert [hit.score for hit in ranked[:3]] == sorted((hit.score for hit in ranked[:3]), reverse=True)
    again = load_reranker(run)
    scores = again.rerank("a bell rings", plain[:3], audiojax.Index.open(tmp_path / "index"))
    by_path = {hit.path: hit.score for hit in ranked[:3]}
    np.testing.assert_allclose(scores, [by_path[hit.path] for hit in plain[:3]], rtol=1e-5, atol=1e-6)
    with pytest.raises(UsageError, match="empty"):
        finder.search("  ")


@pytest.mark.slow
def test_further_captions_are_trained_on(overrides, tmp_path):
    source = open_split(to_dict(config_of(*WORLD))["data"], "train")
    (tmp_path / "more.json").write_text(json.dumps({source[0]["id"]: ["a large language model wrote this"]}))
    final = audiojax.train(config_of(*overrides, f"data.extra_captions={tmp_path / 'more.json'}"), tmp_path / "run", progress=False)
    assert (final / "card.json").is_file()
    (tmp_path / "other.json").write_text(json.dumps({"nobody": ["a caption"]}))
    with pytest.raises(UsageError, match=r"other.json names 1 clips, and none of the \d+ training clips"):
        audiojax.train(config_of(*overrides, f"data.extra_captions={tmp_path / 'other.json'}"), tmp_path / "none", progress=False)


@pytest.mark.slow
def test_a_sweep_goes_over_the_config_s_argument(overrides, tmp_path):
    spec = "coattention/soundworld:debug"
    small = [*overrides, "model.cascade.width=8", "model.cascade.heads=2", "model.cascade.hidden=16", "data.max_tokens=8"]
    found = sweep(spec, [("argument", ("dual", "single"))], (0,), tmp_path, overrides=small, probes=True, progress=False)
    probed = [row["measure"] for row in found.rows if row["direction"] == "probe"]
    assert probed == [kind for kind in ("order", "count", "binding") for _ in range(2)]
    assert {row["setting"] for row in found.rows} == {"argument=dual", "argument=single"}
    assert load_setting(spec, small, (("argument", "stack"), ("model.cascade.depth", "3")), 5).model.cascade.depth == 3
