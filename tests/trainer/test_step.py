"""The step: the same on every layout, exact accumulation, EMA, skipped steps, clipping per group."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from audiojax.errors import UsageError
from audiojax.partition import merge_params, split_params
from audiojax.trainer.layout import check_batch_size, make_layout, put_batch, shardings_of, wrap_step
from audiojax.trainer.optim import Optimizer, make_optimizer
from audiojax.trainer.state import create_state
from audiojax.trainer.step import make_train_step
from tests.trainer import toy
from tests.trainer.processes import ROOT

SGD = {"all": {"pattern": ".*", "lr": 1.0, "name": "sgd"}}
FULL = {"groups": toy.GROUPS, "accumulate": 2, "ema_decay": 0.9}


def variables():
    return toy.init(jax.random.key(0), toy.batch(2))


def fresh(groups, trainable=".*", ema=False, steps=10):
    start = variables()
    params, frozen = split_params(start["params"], trainable)
    optimizer = make_optimizer(groups, params, steps)
    return create_state(params, start["model_state"], optimizer, jax.random.key(3), ema), frozen, optimizer


def run(layout, groups=SGD, steps=3, trainable=".*", size=16, task=toy.TASK, **options):
    state, frozen, optimizer = fresh(groups, trainable, ema=bool(options.get("ema_decay")))
    whole = merge_params(state.params, frozen)
    shardings = shardings_of(layout, (state, frozen), whole, task.partition_rules)
    state, frozen = jax.device_put((state, frozen), shardings, may_alias=False)
    step = wrap_step(layout, make_train_step(task, optimizer, **options), *shardings)
    history = []
    for i in range(steps):
        state, metrics = step(state, frozen, put_batch(layout, toy.batch(size, start=size * i)))
        history.append(jax.device_get(metrics))
    return jax.device_get(state.replace(key=jax.random.key_data(state.key))), history


@cache
def on_one_device(full=False):
    """What `run` gives on one device, of the plain optimiser or of all options."""
    return run(make_layout("mesh", (1, 1, 1), jax.devices()[:1]), **(FULL if full else {}))


def assert_trees_close(got, expected, rtol=1e-5):
    flat = jax.tree.leaves_with_path(expected)
    for (path, want), have in zip(flat, jax.tree.leaves(got), strict=True):
        scale = float(np.linalg.norm(np.asarray(want, np.float64)))
        error = float(np.linalg.norm(np.asarray(have, np.float64) - np.asarray(want, np.float64)))
        assert error <= rtol * max(scale, 1e-3), jax.tree_util.keystr(path)


@pytest.mark.parametrize(
    ("parallel", "sizes"),
    [("pmap", None), ("mesh", (8, 1, 1)), ("mesh", (2, 2, 2)), ("mesh", (1, 2, 4))],
    ids=["pmap", "data", "all", "model"],
)
def test_gradients_are_equal_on_every_layout(parallel, sizes):
    layout = make_layout(parallel, sizes or (-1, 1, 1))
    expected, history = on_one_device()  # sgd with rate 1: the parameters are the start minus the sum of the gradients
    got, other = run(layout)
    start = variables()["params"]
    minus = jax.tree.map(lambda a, b: a - b, expected.params, start)
    assert all(float(np.linalg.norm(leaf)) > 1e-3 for leaf in jax.tree.leaves(minus))
    assert_trees_close(jax.tree.map(lambda a, b: a - b, got.params, start), minus)
    assert_trees_close(got.model_state, expected.model_state)
    for a, b in zip(history, other, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_allclose(b[name], a[name], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize(("parallel", "rules"), [("pmap", toy.RULES), ("mesh", toy.RULES), ("mesh", ())], ids=["pmap", "mesh", "rows"])
def test_full_optimiser_with_accumulation_is_equal_too(parallel, rules):
    expected, _ = on_one_device(full=True)
    got, _ = run(make_layout(parallel, (4, 2, 1)), task=replace(toy.TASK, partition_rules=rules), **FULL)
    assert_trees_close(got.params, expected.params, 1e-4)
    assert_trees_close(got.ema, expected.ema, 1e-4)


@pytest.mark.parametrize("sizes", [(8, 1, 1), (2, 2, 2), (1, 8, 1)])
def test_without_rules_every_device_computes_its_rows(sizes):
    """No operation is divided: parameters come together before the gradients, which are averaged over devices."""
    task = replace(toy.TASK, partition_rules=())
    expected, history = on_one_device()
    got, other = run(make_layout("mesh", sizes), task=task)
    assert_trees_close(got.params, expected.params)
    assert_trees_close(got.model_state, expected.model_state)
    for a, b in zip(history, other, strict=True):
        for name in a:
            np.testing.assert_allclose(b[name], a[name], rtol=1e-5, err_msg=name)


def regression_step(groups, accumulate=1, ema_decay=0.0, ema_warmup=False):
    params = toy.linear_init(jax.random.key(0), toy.batch(2))["params"]
    optimizer = make_optimizer(groups, params, 10)
    state = create_state(params, {}, optimizer, jax.random.key(0), bool(ema_decay))
    return state, jax.jit(make_train_step(toy.LINEAR, optimizer, accumulate=accumulate, ema_decay=ema_decay, ema_warmup=ema_warmup))


def test_accumulation_equals_the_big_batch():
    results = []
    for accumulate in (1, 2, 8):
        state, step = regression_step(SGD, accumulate)
        state, metrics = step(state, {}, toy.batch(16))
        results.append((state.params["head"]["kernel"], metrics["loss"], metrics["grad_norm/all"]))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)


def test_ema_formula():
    state, step = regression_step(SGD, ema_decay=0.75)
    first, _ = step(state, {}, toy.batch(16))
    second, _ = step(first, {}, toy.batch(16, start=16))
    np.testing.assert_allclose(
        first.ema["head"]["kernel"], 0.75 * state.params["head"]["kernel"] + 0.25 * first.params["head"]["kernel"], rtol=1e-6, atol=1e-7
    )
    np.testing.assert_allclose(
        second.ema["head"]["kernel"], 0.75 * first.ema["head"]["kernel"] + 0.25 * second.params["head"]["kernel"], rtol=1e-6, atol=1e-7
    )


def test_ema_of_weights_that_stay_is_these_weights():
    state, step = regression_step({"all": {**SGD["all"], "lr": 0.0}}, ema_decay=0.995)
    before = jax.device_get(state.params)
    for number in range(3):
        state, _ = step(state, {}, toy.batch(16, start=16 * number))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), jax.device_get(state.ema), before)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state.params), before)


def test_ema_warm_up_forgets_the_first_weights_sooner():
    """Decays of 2/11, 3/12 and then the constant."""
    state, step = regression_step(SGD, ema_decay=0.26, ema_warmup=True)
    average = state.ema["head"]["kernel"]
    for number, decay in enumerate((2 / 11, 3 / 12, 0.26)):
        state, _ = step(state, {}, toy.batch(16, start=16 * number))
        average = decay * average + (1 - decay) * state.params["head"]["kernel"]
        np.testing.assert_allclose(state.ema["head"]["kernel"], average, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_non_finite_step_changes_only_the_counters(poison):
    state, frozen, optimizer = fresh(toy.GROUPS, ema=True)
    step = jax.jit(make_train_step(toy.TASK, optimizer, ema_decay=0.9))
    state, _ = step(state, frozen, toy.batch(8))
    bad = toy.batch(8)
    bad["x"][3, 2] = poison
    skipped, metrics = step(state, frozen, bad)
    for name in ("params", "opt_state", "ema", "model_state"):
        for a, b in zip(jax.tree.leaves(getattr(state, name)), jax.tree.leaves(getattr(skipped, name)), strict=True):
            np.testing.assert_array_equal(a, b)
    assert (int(skipped.step), int(skipped.skipped), int(skipped.skipped_in_row)) == (2, 1, 1)
    assert not np.isfinite(metrics["loss"])
    twice, _ = step(skipped, frozen, bad)
    assert (int(twice.skipped), int(twice.skipped_in_row)) == (2, 2)
    good, _ = step(twice, frozen, toy.batch(8))
    assert (int(good.step), int(good.skipped), int(good.skipped_in_row)) == (4, 2, 0)
    assert any(np.any(a != b) for a, b in zip(jax.tree.leaves(good.params), jax.tree.leaves(twice.params), strict=True))


def test_frozen_parameters_take_no_part():
    state, frozen, optimizer = fresh(SGD, trainable="^text/")
    new, _ = jax.jit(make_train_step(toy.TASK, optimizer))(state, frozen, toy.batch(8))
    assert set(new.params) == {"text"}
    assert set(frozen) == {"audio"}
    assert float(jnp.abs(new.params["text"]["out"]["kernel"] - state.params["text"]["out"]["kernel"]).max()) > 0


def test_groups_clip_apart():
    params = {"a": {"w": jnp.zeros(4)}, "b": {"w": jnp.zeros(4)}}
    groups = {"a": {"pattern": "^a/", "lr": 1.0, "name": "sgd", "clip_norm": 1.0}, "b": {"pattern": ".*", "lr": 0.5, "name": "sgd"}}
    optimizer = make_optimizer(groups, params, 10)
    grads = {"a": {"w": jnp.full(4, 3.0)}, "b": {"w": jnp.full(4, 3.0)}}  # norm 6 each
    updates, _ = optimizer.tx.update(grads, optimizer.tx.init(params), params)
    np.testing.assert_allclose(updates["a"]["w"], -np.full(4, 0.5), rtol=1e-6)  # scaled to norm 1
    np.testing.assert_allclose(updates["b"]["w"], -np.full(4, 1.5), rtol=1e-6)


def test_adam_is_reported_before_clipping():
    state, frozen, optimizer = fresh({"all": {"pattern": ".*", "lr": 1e-3, "clip_norm": 1e-3}})
    assert isinstance(optimizer, Optimizer)
    _, metrics = jax.jit(make_train_step(toy.TASK, optimizer))(state, frozen, toy.batch(8))

    def objective(params):
        return toy.loss(params, state.model_state, toy.batch(8), jax.random.fold_in(state.key, 0))[0]

    np.testing.assert_allclose(metrics["grad_norm/all"], optax.tree.norm(jax.grad(objective)(state.params)), rtol=1e-5)


@pytest.mark.slow
def test_gradients_are_equal_to_nine_digits_in_float64():
    command = [sys.executable, "-m", "tests.trainer.x64_layouts"]
    done = subprocess.run(command, env={**os.environ, "JAX_ENABLE_X64": "1"}, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("largest difference") == 3


def test_batch_that_devices_do_not_divide_is_a_usage_error():
    with pytest.raises(UsageError, match=r"batch_size 12 .* 8 devices"):
        check_batch_size(make_layout("pmap"), 12)
    with pytest.raises(UsageError, match="accumulate=3"):
        check_batch_size(make_layout("mesh"), 16, accumulate=3)
    check_batch_size(make_layout("mesh", (2, 2, 2)), 12, accumulate=3)


@pytest.mark.parametrize(
    ("parallel", "sizes", "message"),
    [
        ("xmap", (-1, 1, 1), "takes 'pmap' or 'mesh'"),
        ("mesh", (3, 1, 1), "needs 3 devices, and there are 8"),
        ("mesh", (-1, 3, 1), "needs 6 devices"),
        ("mesh", (-1, -1, 1), "at most one"),
    ],
)
def test_bad_layout(parallel, sizes, message):
    with pytest.raises(UsageError, match=message):
        make_layout(parallel, sizes)
