"""Statistics of the training data: measured once, on the same examples by whoever asks, stored with the run, and never again."""

import json
from dataclasses import replace

import numpy as np
import pytest

from audiojax.api.start import Start
from audiojax.api.statistics import FILE, with_statistics
from audiojax.data.transforms import StatesTransform
from audiojax.errors import AudiojaxError
from audiojax.papers.task import Paper, Statistics

CONFIG = {
    "seed": 3,
    "data": {"statistics_examples": 10, "mode": "pairs", "captions": 1, "threads": 1, "workers": 0},
    "train": {"eval_batch_size": 4},
}


class Records:
    """Twenty clips whose stored state is their number."""

    def __len__(self):
        return 20

    def __getitem__(self, index):
        return {"id": str(index), "captions": ["one"], "audio_value": np.float32([index])}


def measure(config, params, batches, *, vocab_size):
    values = np.concatenate([batch["audio_value"] for batch in batches])
    return {"latent": {"mean": values.mean(axis=0), "examples": np.float32(len(values)), "vocab": np.float32(vocab_size)}}


PAPER = Paper((), None, statistics=Statistics(("latent",), measure))


def measured(workdir, paper=PAPER, start=None, config=CONFIG):
    return with_statistics(paper, config, start or Start(), Records(), StatesTransform(), workdir, 7)


def broken(*_, **__):
    raise AssertionError("measured again")


def test_they_join_what_the_run_starts_with(tmp_path):
    found = measured(tmp_path, start=Start(model_state={"batch_stats": {"mean": np.ones(2)}}))
    assert found.keys() == {"batch_stats", "latent"}
    assert found["latent"]["examples"] == 12  # whole batches of 4
    assert found["latent"]["vocab"] == 7
    assert found["latent"]["mean"].dtype == np.float32


def test_they_are_measured_once_and_alike(tmp_path):
    first, elsewhere = measured(tmp_path / "a"), measured(tmp_path / "b")
    again = measured(tmp_path / "a", replace(PAPER, statistics=Statistics(("latent",), broken)))
    for other in (elsewhere, again):
        np.testing.assert_array_equal(first["latent"]["mean"], other["latent"]["mean"])
    assert json.loads((tmp_path / "a" / FILE).read_text())["measured"].keys() == {"latent/mean", "latent/examples", "latent/vocab"}
    other = measured(tmp_path / "c", config={**CONFIG, "seed": 4})
    assert other["latent"]["mean"] != first["latent"]["mean"]


def test_towers_that_were_trained_again_are_measured_again(tmp_path):
    old, new = (Start(card={"vae": {"source": "runs/vae", "digest": digest}}) for digest in "ab")
    measured(tmp_path, start=old)
    never = replace(PAPER, statistics=Statistics(("latent",), broken))
    measured(tmp_path, never, old)
    with pytest.raises(AudiojaxError, match="measured again"):
        measured(tmp_path, never, new)


def test_a_run_that_goes_on_keeps_those_it_has(tmp_path):
    state = {"latent": {"mean": np.zeros(1)}}
    assert measured(tmp_path, replace(PAPER, statistics=Statistics(("latent",), broken)), Start(model_state=state)) == state
    assert measured(tmp_path, replace(PAPER, statistics=None)) == {}
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(AudiojaxError, match="statistics.json is damaged .* delete it"):
        measured(tmp_path)


def test_what_is_not_finite_is_named(tmp_path):
    def infinite(*_, **__):
        return {"latent": {"std": np.array([np.inf])}}

    with pytest.raises(AudiojaxError, match="'latent/std' of the training data is not finite"):
        measured(tmp_path, replace(PAPER, statistics=Statistics(("latent",), infinite)))
    assert not (tmp_path / FILE).exists()
