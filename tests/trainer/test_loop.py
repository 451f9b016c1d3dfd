"""The loop: model selection, resume, signals, damage, and every request that cannot be granted."""

import errno
import os
import shutil
import signal
from collections import namedtuple
from dataclasses import replace
from functools import partial

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from rich.console import Console

from audiojax.errors import AudiojaxError, UsageError
from audiojax.trainer.agreement import OutOfReach
from audiojax.trainer.interrupt import RunInterrupted, Signals
from audiojax.trainer.log import read_metrics
from audiojax.trainer.loop import fit
from audiojax.trainer.settings import make_phase
from tests.trainer import toy
from tests.trainer.run_toy import eval_data, stopping, train_data

EVALUATION = partial(eval_data, 16)
SETTINGS = {"steps": 12, "batch_size": 16, "groups": toy.LINEAR_GROUPS, "eval_every": 4, "save_every": 3, "log_every": 1}


def train(workdir, data=None, task=toy.LINEAR, init_batch=None, evaluation=EVALUATION, out=None, options=None, **settings):
    phase = make_phase("first", SETTINGS, settings)
    with open(out or os.devnull, "w") as file:
        return fit(
            task,
            phase,
            workdir=workdir,
            train_data=data or partial(train_data, batch=phase.batch_size),
            eval_data=evaluation,
            init_batch=init_batch or toy.batch(2),
            console=Console(file=file, width=200),
            **(options or {}),
        )


def numbers(result):
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(result.params)}


def assert_equal(a, b):
    assert numbers(a).keys() == numbers(b).keys()
    for name, value in numbers(a).items():
        np.testing.assert_array_equal(numbers(b)[name], value, err_msg=name)


def no_data(start):
    raise AssertionError("a finished phase asked for data")


def shown(workdir):
    """All metrics but the speed."""
    return {key: (s.tolist(), v.tolist()) for key, (s, v) in read_metrics(workdir).items() if not key[1].startswith("speed/")}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run that nothing disturbs, with its text."""
    workdir = tmp_path_factory.mktemp("straight")
    result = train(workdir, out=workdir / "out.txt")
    return result, workdir, (workdir / "out.txt").read_text()


def test_trains_logs_and_selects(straight):
    result, workdir, text = straight
    series = read_metrics(workdir)
    steps, loss = series["first", "train/loss"]
    assert steps.tolist() == list(range(1, 13))
    assert loss[-1] < loss[0]
    assert series["first", "val/fit"][0].tolist() == [4, 8, 12]
    assert series["first", "val/rows"][1].tolist() == [37.0] * 3  # 37 rows in batches of 16: the filling is dropped
    best = int(np.argmax(series["first", "val/fit"][1]))
    assert result.step == (4, 8, 12)[best]
    np.testing.assert_allclose(result.metrics["fit"], series["first", "val/fit"][1][best], rtol=1e-6)
    assert "val/fit" in text
    assert "steps/s" in text
    assert "input wait" in text


def test_finished_phase_returns_at_once(straight):
    result, workdir, _ = straight
    before = (workdir / "metrics.csv").read_bytes()
    again = train(workdir, data=no_data)
    assert_equal(again, result)
    assert again.step == result.step
    assert (workdir / "metrics.csv").read_bytes() == before


@pytest.mark.parametrize(("at", "number", "code"), [(7, signal.SIGTERM, 143), (8, signal.SIGINT, 130)])
def test_signal_saves_and_the_next_run_goes_on_exactly(straight, tmp_path, at, number, code):
    with pytest.raises(RunInterrupted, match=f"saved step {at} after {number.name}") as caught:
        train(tmp_path, data=stopping(partial(train_data, batch=16), at, number))
    assert caught.value.exit_code == code
    assert signal.getsignal(number) is not None
    starts = []

    def data(start):
        starts.append(start)
        return train_data(start, batch=16)

    assert_equal(train(tmp_path, data=data), straight[0])
    assert starts == [at]  # the first run's iterator was no Grain iterator
    assert shown(tmp_path) == shown(straight[1])


def test_signal_during_the_final_evaluation_is_not_lost(tmp_path):
    def evaluation():
        os.kill(os.getpid(), signal.SIGTERM)
        return EVALUATION()

    with pytest.raises(RunInterrupted, match="saved step 2 after SIGTERM"):
        train(tmp_path, steps=2, evaluation=evaluation)
    assert train(tmp_path, steps=2, data=no_data).step == 2


def test_signal_after_the_last_common_question_is_not_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(Signals, "agreed", lambda self, ask: self.received if ask else 0)  # as one of several processes
    with pytest.raises(RunInterrupted, match="saved step 4 after SIGTERM"):
        train(tmp_path, steps=4, log_every=25, data=stopping(partial(train_data, batch=16), 2), evaluation=None)


def test_processes_ask_each_other_before_a_cluster_loses_patience(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(Signals, "agreed", lambda self, ask: asked.append(ask) or 0)
    train(tmp_path, steps=25, log_every=100, eval_every=0, save_every=0, evaluation=None)
    assert [step for step, ask in enumerate(asked, 1) if ask] == [10, 20, 25]  # the last one when all is done


def test_grain_state_is_used_and_exact(straight, tmp_path):
    train(tmp_path, steps=6, eval_every=4)
    starts = []

    def data(start):
        starts.append(start)
        return train_data(start, batch=16)

    train(tmp_path, data=data)
    assert starts == [0]  # made as at first, then set to its saved place
    assert shown(tmp_path)["first", "train/loss"] == shown(straight[1])["first", "train/loss"]


def test_grain_state_of_other_loaders_falls_back_to_the_step(straight, tmp_path):
    train(tmp_path, steps=6)
    saved = next((tmp_path / "checkpoints" / "first" / "6" / "data").iterdir())
    saved.write_text('{"iterators_in_use_states": []}')  # as loader workers would leave it
    starts = []

    def data(start):
        starts.append(start)
        return train_data(start, batch=16)

    train(tmp_path, data=data)
    assert starts == [0, 6]
    assert shown(tmp_path)["first", "train/loss"] == shown(straight[1])["first", "train/loss"]


def damage_bits(step):
    for path in sorted(p for p in (step / "state").rglob("*") if p.is_file() and p.parent.name == "d"):
        data = bytearray(path.read_bytes())
        for i in range(0, len(data), 7):
            data[i] ^= 0x10
        path.write_bytes(data)


def damage_files(step):
    for path in [p for p in (step / "state").rglob("*") if p.is_file()]:
        path.write_bytes(path.read_bytes()[:10])


def damage_meta(step):
    for path in [p for p in (step / "meta").rglob("*") if p.is_file()]:
        path.write_text('{"kind":')


@pytest.mark.parametrize("damage", [damage_bits, damage_files, damage_meta])
def test_damaged_newest_checkpoint_falls_back_and_says_so(straight, tmp_path, damage, capsys):
    train(tmp_path, steps=9)
    folder = tmp_path / "checkpoints" / "first"
    damage(folder / "9")
    result = train(tmp_path, out=tmp_path / "out.txt")
    assert "checkpoint first/9 is damaged" in capsys.readouterr().err  # whatever console the bar goes to, a quiet one too
    assert "going on after step 8" in (tmp_path / "out.txt").read_text()
    assert_equal(result, straight[0])
    assert (tmp_path / "checkpoints" / "first-damaged" / "9").is_dir()


def test_wrong_bits_in_a_readable_checkpoint_are_noticed(tmp_path, capsys):
    train(tmp_path, steps=9)
    path = next((tmp_path / "checkpoints" / "first" / "9" / "meta").rglob("metadata"))
    path.write_text(path.read_text().replace('"digest": ', '"digest": 1'))
    train(tmp_path)
    assert "its bits have checksum" in capsys.readouterr().err


def test_nothing_readable_is_an_error_each_time(tmp_path):
    train(tmp_path, steps=3, keep=1, evaluation=None)
    damage_files(tmp_path / "checkpoints" / "first" / "3")
    rows = (tmp_path / "metrics.csv").read_bytes()
    for _ in range(2):
        with pytest.raises(AudiojaxError, match="no readable checkpoint is left"):
            train(tmp_path, data=no_data)
    assert (tmp_path / "metrics.csv").read_bytes() == rows
    assert (tmp_path / "checkpoints" / "first" / "3").is_dir()


def test_no_run_begins_again_beside_checkpoints_that_were_set_aside(tmp_path):
    train(tmp_path, steps=3, keep=1, evaluation=None)
    folder = tmp_path / "checkpoints" / "first"
    aside = tmp_path / "checkpoints" / "first-damaged"
    aside.mkdir()
    (folder / "3").rename(aside / "3")
    with pytest.raises(AudiojaxError, match="holds no checkpoint, but .*first-damaged holds step 3.*move it back.* or delete"):
        train(tmp_path, data=no_data)
    (aside / "3").rename(folder / "3")
    assert train(tmp_path, steps=3, data=no_data, evaluation=None).step == 3


LACKS = [
    jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 42 bytes."),
    MemoryError(),
    OSError(errno.ESTALE, "Stale file handle"),
    OSError(errno.EMFILE, "Too many open files"),
    ValueError('UNAVAILABLE: Error opening "zarr" driver: Error reading local file "w": [OS error 116: ESTALE Stale file handle]'),
]


@pytest.mark.parametrize("lack", LACKS, ids=lambda error: str(error)[:20] or "MemoryError")
def test_checkpoint_that_the_machine_cannot_read_now_is_not_damaged(straight, tmp_path, monkeypatch, lack):
    shutil.copytree(straight[1], tmp_path, dirs_exist_ok=True)

    def restore(*_, **__):
        raise lack

    folder = tmp_path / "checkpoints" / "first"
    before = sorted(folder.iterdir()), (tmp_path / "metrics.csv").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(ocp.StandardCheckpointHandler, "restore", restore)
        for _ in range(2):
            with pytest.raises(AudiojaxError, match="first/12 is out of reach .* run the command again"):
                train(tmp_path, data=no_data)
    assert (sorted(folder.iterdir()), (tmp_path / "metrics.csv").read_bytes()) == before
    assert not (tmp_path / "checkpoints" / "first-damaged").exists()
    assert_equal(train(tmp_path, data=no_data), straight[0])


@pytest.mark.parametrize("layout", [{"parallel": "mesh"}, {"parallel": "mesh", "mesh": (2, 2, 2)}])
def test_resume_on_another_layout_keeps_the_data_order(straight, tmp_path, layout):
    train(tmp_path, steps=6)
    result = train(tmp_path, **layout)
    for name, value in numbers(straight[0]).items():
        np.testing.assert_allclose(numbers(result)[name], value, rtol=1e-4, atol=1e-6)
    a, b = shown(tmp_path)["first", "train/loss"], shown(straight[1])["first", "train/loss"]
    np.testing.assert_allclose(a[1], b[1], rtol=1e-5)


def test_best_step_is_kept_and_returned(tmp_path):
    scores = iter([0.1, 0.9, float("nan"), 0.3, 0.2, 0.1])

    def metrics(params, predictions, key):
        return {"fit": next(scores)}

    task = replace(toy.LINEAR, metrics=metrics)
    result = train(tmp_path, task=task, eval_every=2, save_every=1, keep=1)
    assert result.step == 4
    assert result.metrics == {"fit": pytest.approx(0.9)}
    assert sorted(p.name for p in (tmp_path / "checkpoints" / "first").iterdir() if p.name.isdigit()) == ["12", "4"]
    short = train(tmp_path / "short", steps=4, evaluation=None)
    assert_equal(result, replace(short))


def test_average_is_chosen_when_it_scores_higher(tmp_path):
    scores = iter([0.5, 0.7])
    task = replace(toy.LINEAR, metrics=lambda params, predictions, key: {"fit": next(scores)})
    result = train(tmp_path, task=task, steps=4, ema_decay=0.5)
    assert (result.choice, result.metrics) == ("ema", {"fit": pytest.approx(0.7)})
    assert shown(tmp_path)["first", "val_ema/fit"] == ([4], [0.7])
    raw = train(tmp_path / "raw", steps=4, evaluation=None)
    assert any(np.any(value != numbers(result)[name]) for name, value in numbers(raw).items())


def test_on_eval_gets_predictions_and_the_writer(tmp_path):
    seen = []

    def on_eval(step, predictions, writer):
        seen.append((step, predictions["y"].shape))
        writer.audio(step, "clip", np.zeros(800, np.float32), 8_000)

    train(tmp_path, steps=4, options={"on_eval": on_eval})
    assert seen == [(4, (37, toy.WIDTH))]


def test_evaluation_batch_that_devices_do_not_divide_is_filled(tmp_path):
    train(tmp_path, steps=1, evaluation=lambda: iter([toy.batch(13), toy.batch(3)]))
    assert shown(tmp_path)["first", "val/rows"] == ([1], [16.0])


def test_phases_chain_and_leave_the_callers_arrays_alone(tmp_path):
    first = train(tmp_path, steps=2)
    before = numbers(first)
    kernel = {"head": {"kernel": first.params["head"]["kernel"]}}  # the bias is initialised anew
    options = {"init_params": kernel, "init_model_state": first.model_state}
    second = train(tmp_path / "second", steps=1, options=options, groups={"all": {"pattern": ".*", "lr": 0.0, "name": "sgd"}})
    np.testing.assert_array_equal(numbers(second)["['head']['kernel']"], before["['head']['kernel']"])
    assert not np.any(numbers(second)["['head']['bias']"])
    for name, value in numbers(first).items():
        np.testing.assert_array_equal(value, before[name])
    with pytest.raises(UsageError, match="init_params hold 'tail', which"):
        train(tmp_path / "third", options={"init_params": {"tail": np.zeros(3)}})
    with pytest.raises(UsageError, match=r"'head/bias' is \(3,\), the task's is \(6,\)"):
        train(tmp_path / "third", options={"init_params": {"head": {"bias": np.zeros(3)}}})
    with pytest.raises(UsageError, match="init_model_state hold 'other', which"):
        train(tmp_path / "third", options={"init_model_state": {"other": np.zeros(3)}})


def test_frozen_parameters_stay_and_must_be_the_same_on_resume(tmp_path):
    start = toy.linear_init(jax.random.key(5), toy.batch(2))["params"]
    first = train(tmp_path, steps=2, trainable="bias$", options={"init_params": start})
    (here, *_), (there, *_) = (tree["head"]["kernel"].addressable_shards for tree in (first.params, start))
    assert here.data.unsafe_buffer_pointer() == there.data.unsafe_buffer_pointer()  # not held twice
    assert np.any(np.asarray(first.params["head"]["bias"]) != 0)
    other = {"head": {**start["head"], "kernel": start["head"]["kernel"] + 1}}
    with pytest.raises(UsageError, match="frozen parameters differ"):
        train(tmp_path, steps=4, trainable="bias$", options={"init_params": other})


def test_checkpoint_of_something_else_is_refused(tmp_path):
    train(tmp_path, steps=2)
    with pytest.raises(UsageError, match="belongs to 'toy/linear', not 'toy/other'"):
        train(tmp_path, task=replace(toy.LINEAR, name="toy/other"))
    wide = {"x": np.zeros((2, 4), np.float32), "y": np.zeros((2, 4), np.float32)}
    with pytest.raises(UsageError, match="made with another config"):
        train(tmp_path, init_batch=wide)
    with pytest.raises(UsageError, match="made with another config: it has no 'ema"):
        train(tmp_path, ema_decay=0.9)
    path = next((tmp_path / "checkpoints" / "first" / "2" / "meta").rglob("metadata"))
    path.write_text(path.read_text().replace("audiojax training state", "something"))
    with pytest.raises(UsageError, match="not a training checkpoint"):
        train(tmp_path)


def test_a_phase_without_steps_evaluates_what_it_starts_from(tmp_path):
    groups = {"some": {"pattern": "nothing", "lr": 1.0}}
    found = train(tmp_path / "none", data=no_data, steps=0, groups=groups, trainable="nothing")
    trained = train(tmp_path / "some", steps=1, groups={"all": {"pattern": ".*", "name": "sgd", "lr": 0.0}})
    assert_equal(found, trained)
    assert (found.step, found.choice, found.skipped) == (0, "raw", 0)
    assert found.metrics == pytest.approx(dict(trained.metrics))
    assert {name for _, name in shown(tmp_path / "none")} == {f"val/{name}" for name in found.metrics}
    assert not list((tmp_path / "none" / "checkpoints").rglob("state"))


def test_stops_after_bad_steps_in_a_row_and_names_the_step(tmp_path):
    def data(start):
        for step, batch in enumerate(train_data(start, batch=16), start + 1):
            if step in (2, 5, 6, 7, 8, 9, 10):
                batch["x"][0, 0] = np.nan
            yield batch

    with pytest.raises(AudiojaxError, match="in 3 steps in a row, up to step 7"):
        train(tmp_path, data=data, max_bad_steps=3)
    assert shown(tmp_path)["first", "train/skipped"][1][:6] == [0, 1, 1, 1, 2, 3]


def test_too_little_disk(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    train(tmp_path, steps=3)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(AudiojaxError, match="needs 1 MiB and 0 MiB are free"):
        train(tmp_path)
    assert [p.name for p in (tmp_path / "checkpoints" / "first").iterdir() if p.name.isdigit()] == ["3"]


def test_a_disk_that_does_not_answer_is_named(tmp_path, monkeypatch):
    def gone(_):
        raise OSError(errno.ESTALE, "Stale file handle")

    train(tmp_path, steps=3)
    monkeypatch.setattr(shutil, "disk_usage", gone)
    with pytest.raises(OutOfReach, match="first is out of reach"):
        train(tmp_path)


def test_batch_that_devices_do_not_divide_stops_before_anything_is_written(tmp_path):
    with pytest.raises(UsageError, match=r"batch_size 12 .* 8 devices"):
        train(tmp_path / "run", batch_size=12)
    assert not (tmp_path / "run").exists()
