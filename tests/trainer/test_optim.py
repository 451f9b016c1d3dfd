"""Optimiser groups: schedules, weight decay, and every mistake a config can hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.errors import UsageError
from audiojax.trainer.optim import Group, make_group, make_optimizer, make_schedule
from audiojax.trainer.settings import make_phase

PARAMS = {"net": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}, "norm": {"scale": jnp.ones(2)}}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {0: 2.0, 99: 2.0}),
        ({"warmup": 4}, {0: 0.5, 1: 1.0, 3: 2.0, 50: 2.0}),
        ({"warmup": 0.1, "schedule": "cosine"}, {0: 0.2, 9: 2.0, 10: 2.0, 55: 1.0, 100: 0.0}),
        ({"warmup": 0.1, "schedule": "linear"}, {0: 0.2, 10: 2.0, 55: 1.0, 100: 0.0, 200: 0.0}),
        ({"schedule": "cosine", "end_factor": 0.5}, {0: 2.0, 50: 1.5, 100: 1.0, 200: 1.0}),
        ({"schedule": "step", "step_every": 0.4}, {0: 2.0, 39: 2.0, 40: 0.2, 80: 0.02}),
        ({"schedule": "step", "step_every": 50, "step_factor": 0.5}, {49: 2.0, 50: 1.0}),
    ],
)
def test_schedule(settings, expected):
    schedule = make_schedule(Group(".*", 2.0, **settings), 100)
    for step, rate in expected.items():
        np.testing.assert_allclose(schedule(step), rate, rtol=1e-5, atol=1e-6, err_msg=str(step))


def test_decay_spares_bias_and_norm():
    optimizer = make_optimizer({"all": {"pattern": ".*", "lr": 0.5, "name": "adamw", "weight_decay": 0.2}}, PARAMS, 10)
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    updates, _ = optimizer.tx.update(zeros, optimizer.tx.init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates["net"]["kernel"], np.full((2, 2), -0.1), rtol=1e-6)
    assert not np.any(updates["net"]["bias"])
    assert not np.any(updates["norm"]["scale"])


def test_first_adam_step_is_the_learning_rate():
    optimizer = make_optimizer({"all": {"pattern": ".*", "lr": 1e-2, "b2": 0.98, "eps": 1e-6}}, PARAMS, 10)
    grads = jax.tree.map(lambda x: 3 * jnp.ones_like(x), PARAMS)
    updates, _ = optimizer.tx.update(grads, optimizer.tx.init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates["net"]["kernel"], -1e-2, rtol=1e-4)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"a": {"pattern": "^net/", "lr": 1.0}}, "'norm/scale' is in no optimiser group"),
        ({"a": {"pattern": "net", "lr": 1.0}, "b": {"pattern": "kernel|norm", "lr": 1.0}}, "'net/kernel' is in groups a and b"),
        ({"a": {"pattern": ".*", "lr": 1.0}, "b": {"pattern": "^video/", "lr": 1.0}}, "group 'b': pattern '\\^video/' matches no"),
        ({"a": {"pattern": ".*", "lr": 1.0, "beta1": 0.9}}, "unknown key 'beta1'"),
        ({"a": {"pattern": ".*"}}, "'lr' is missing"),
        ({"a": {"pattern": ".*", "lr": 1.0, "name": "lion"}}, "takes adam, adamw or sgd"),
        ({"a": {"pattern": ".*", "lr": 1.0, "schedule": "poly"}}, "takes constant, step, cosine or linear"),
        ({"a": {"pattern": ".*", "lr": 1.0, "schedule": "step"}}, "needs step_every"),
        ({"a": {"pattern": ".*", "lr": 1.0, "weight_decay": 0.1}}, "needs name='adamw'"),
        ({"a": {"pattern": ".*", "lr": None}}, "lr=None is no number from 0 up"),
        ({"a": {"pattern": ".*", "lr": float("inf")}}, "lr=inf is no number from 0 up"),
        ({"a": {"pattern": ".*", "lr": 1.0, "warmup": "0.1"}}, "warmup='0.1' is no number from 0 up"),
        ({"a": {"pattern": ".*", "lr": 1.0, "clip_norm": -1}}, "clip_norm=-1 is no number from 0 up"),
    ],
)
def test_mistakes_are_named(groups, message):
    with pytest.raises(UsageError, match=message):
        make_optimizer(groups, PARAMS, 10)


def test_specific_group_wins_over_the_catch_all_in_any_order():
    one, two = {"pattern": ".*", "lr": 1.0}, {"pattern": "^net/", "lr": 2.0}
    for groups in ({"rest": one, "net": two}, {"net": two, "rest": one}):
        labels = make_optimizer(groups, PARAMS, 10).labels
        assert labels == {"net": {"kernel": "net", "bias": "net"}, "norm": {"scale": "rest"}}
    assert make_group("a", one).eps == 1e-8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 5}, "'batch_size' is missing"),
        ({"steps": 5, "batch_size": 4, "groups": {}, "eval_evry": 3}, "unknown key 'eval_evry'"),
        ({"steps": -1, "batch_size": 4, "groups": {}}, "steps=-1 is below 0"),
        ({"steps": 1, "batch_size": 4, "groups": {}, "ema_decay": 1.0}, "outside"),
        ({"steps": 1, "batch_size": 4, "groups": {}, "save_every": -1}, "save_every=-1 is below 0"),
        ({"steps": 1, "batch_size": 4, "groups": {}, "eval_every": None}, "eval_every=None is no whole number"),
        ({"steps": 1, "batch_size": 4, "groups": {}, "ema_decay": "0.9"}, "outside"),
    ],
)
def test_phase_settings_are_checked(settings, message):
    with pytest.raises(UsageError, match=message):
        make_phase("first", settings)


def test_later_sections_win():
    phase = make_phase("first", {"steps": 5, "batch_size": 4, "groups": {}}, {"steps": 7, "mesh": [2, 2, 2]})
    assert (phase.steps, phase.mesh, phase.name) == (7, (2, 2, 2), "first")
