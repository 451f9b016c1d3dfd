"""The phase "link": its loss, what it never reads, layouts, bad config, and a toy gap that is bridged (note, checks 2, 3, 8 and 12)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.errors import UsageError
from audiojax.metrics.gap import gap_scores
from audiojax.papers.diffusion_link import loss as losses
from audiojax.papers.diffusion_link import make_settings, make_task
from audiojax.papers.diffusion_link.loss import link_loss
from audiojax.papers.diffusion_link.settings import check
from audiojax.papers.diffusion_link.task import PAPER
from audiojax.partition import merge_params, split_params, unmatched_rules
from audiojax.trainer.optim import make_optimizer
from audiojax.trainer.state import create_state
from audiojax.trainer.step import make_train_step
from tests.encoders.filling import fill
from tests.papers.diffusion_link.small import VOCAB, pairs, plain

ROWS = 16


def task_of(*overrides, words="debug"):
    return make_task(plain(*overrides, words=words), "link", vocab_size=VOCAB)


def variables_of(*overrides, words="debug"):
    """Filled parameters and statistics; those of the bridge are measured on the pairs."""
    config = plain("bridge.memory=10", *overrides, words=words)
    made = fill(jax.eval_shape(make_task(config, "link", vocab_size=VOCAB).init, jax.random.key(0), {}))
    return {**made, "model_state": made["model_state"] | PAPER.statistics.measure(config, {}, [pairs(ROWS)], vocab_size=VOCAB)}


@pytest.fixture(scope="module")
def variables():
    return variables_of()


@pytest.mark.parametrize("weight", ["uniform", "snr", "min_snr"])
def test_an_oracle_has_no_loss(weight, variables, monkeypatch):
    settings = make_settings(plain(f"loss.time_weight={weight}"), VOCAB)
    truth = settings.kappa * pairs(ROWS)["text_embedding"]

    class Oracle:
        def apply(self, variables, *inputs, method):
            return jnp.asarray(truth) if method == "denoise" else ()

    object.__setattr__(settings, "network", Oracle())
    value, found = jax.jit(partial(link_loss, settings))(variables["params"], variables["model_state"], pairs(ROWS), jax.random.key(0))
    assert float(value) == pytest.approx(0, abs=1e-5)
    assert found.keys() == {"error/text", "error/audio", "topology"}


def test_both_ways_cost_the_same_where_sound_is_text(variables):
    """Check 3, over 64 draws of levels and noise."""
    settings, batch = make_settings(plain(), VOCAB), pairs(ROWS)
    batch["audio_embedding"] = batch["text_embedding"]
    draw = jax.jit(jax.vmap(lambda key: link_loss(settings, variables["params"], variables["model_state"], batch, key)[1]))
    found = draw(jax.random.split(jax.random.key(0), 64))
    error = float(jnp.std(found["error/text"] - found["error/audio"])) / 8
    assert abs(float(jnp.mean(found["error/text"] - found["error/audio"]))) < 4 * error


def test_a_pair_has_one_level_and_two_noises():
    settings = make_settings(plain(), VOCAB)
    t, eps = losses.draws(settings, jax.random.split(jax.random.key(0), 500), (2, 500, 8))
    assert t.shape == (500,)
    assert 0 <= t.min() < 50 < 950 < t.max() < 1_000
    assert abs(np.corrcoef(np.asarray(eps).reshape(2, -1))[0, 1]) < 0.1


def test_the_total_is_the_weighted_sum(variables):
    for weight in (0.0, 2.5):
        loss = jax.jit(task_of(f"loss.topology={weight}").loss)
        value, (_, found) = loss(variables["params"], variables["model_state"], pairs(ROWS), jax.random.key(1))
        assert float(value) == pytest.approx(float(found["error/text"] + found["error/audio"] + weight * found["topology"]), rel=1e-5)


def test_text_only_training_reads_no_sound():
    state, texts = variables_of(words="debug,text_only"), pairs(ROWS)
    del texts["audio_embedding"]
    loss = jax.jit(task_of(words="debug,text_only").loss)
    _, (_, found) = loss(state["params"], state["model_state"], texts, jax.random.key(0))
    assert found.keys() == {"error/text", "topology"}


@pytest.mark.parametrize("words", ["debug", pytest.param("debug,one_step", marks=pytest.mark.slow)])
def test_only_the_bridge_has_gradients(words):
    state = variables_of(words=words)
    task = task_of(words=words)
    gradient = jax.jit(jax.grad(lambda p: task.loss(p, state["model_state"], pairs(ROWS), jax.random.key(0))[0]))(state["params"])
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient["bridge"]["output"]))


@pytest.mark.slow
def test_eight_devices_give_the_loss_and_the_gradients_of_one(variables):
    task = task_of()
    trainable, frozen = split_params(variables["params"], "^bridge/")

    def objective(trainable, batch, axis_name=None):
        return task.loss(merge_params(trainable, frozen), variables["model_state"], batch, jax.random.key(5), axis_name=axis_name)[0]

    alone = jax.jit(jax.value_and_grad(objective))(trainable, pairs(ROWS))
    rows = jax.tree.map(lambda x: x.reshape(8, 2, *x.shape[1:]), pairs(ROWS))
    step = jax.pmap(lambda *x: jax.lax.pmean(jax.value_and_grad(objective)(*x, "data"), "data"), axis_name="data", in_axes=(None, 0))
    for ours, theirs in zip(jax.tree.leaves(step(trainable, rows)), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(ours[0], theirs, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("form", ["diffusion", "ridge"])
def test_what_is_selected_by_is_scored(form):
    variables, task = variables_of(words=f"debug,{form}"), task_of(words=f"debug,{form}")
    batch = pairs(ROWS)
    batch["text_embedding"] = np.stack([batch["text_embedding"]] * 2, axis=1)
    found = jax.jit(task.predict)(variables["params"], variables["model_state"], batch)
    scores = task.metrics(variables["params"], jax.tree.map(np.asarray, found), jax.random.key(0))
    assert task.select in scores
    assert not unmatched_rules(task.partition_rules, variables["params"])


@pytest.mark.slow
def test_sounds_and_words_give_what_is_stored(variables):
    """The encoders' outputs stand in for waveforms and token ids."""
    rng = np.random.default_rng(0)
    batch = {
        "waveform": rng.normal(size=(2, 1, 61_440)).astype(np.float32) * 0.1,
        "windows": np.ones((2, 1), bool),
        "text_ids": rng.integers(5, VOCAB, size=(2, 3, 8)).astype(np.int32),
        "text_mask": np.ones((2, 3, 8), bool),
        "clip_index": np.arange(2, dtype=np.int32),
    }
    encoders, trees = PAPER.encoders(plain(), vocab_size=VOCAB), (variables["params"], variables["model_state"])
    stored = encoders.audio(*trees, batch) | {"clip_index": batch["clip_index"]}
    flat = {name: batch[name].reshape(6, 8) for name in ("text_ids", "text_mask")}
    stored["text_embedding"] = encoders.text(*trees, flat)["text_embedding"].reshape(2, 3, -1)
    predict = jax.jit(task_of().predict)
    heard, read = (predict(*trees, x) for x in (batch, stored))
    for name, value in heard.items():
        np.testing.assert_allclose(value, read[name], atol=1e-5)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("init.clap=", "'init.clap' is empty, and CLAP is frozen"),
        ("data.states=False", "'data.states' is False"),
        ("bridge.form=unet", "'bridge.form' is 'unet'; it takes one of diffusion, text_only"),
        ("bridge.form=ridge", "'link.steps' is 4, and bridge.form 'ridge' needs 0"),
        ("link.steps=0", "'link.steps' is 0, and bridge.form 'diffusion' needs 1 or more"),
        ("bridge.start=1001", "'bridge.start' is 1001; it takes 0 to noise.steps, which is 1000"),
        ("bridge.steps=101", "'bridge.steps' is 101; it takes 1 to bridge.start, which is 100"),
        ("bridge.scale=0.0", "'bridge.scale' is 0.0; it takes a number above 0"),
        ("loss.time_weight=min", "'loss.time_weight' is 'min'; it takes one of uniform, snr, min_snr"),
        ("loss.topology=-1.0", "'loss.topology' is -1.0; it takes 0 or more"),
    ],
)
def test_what_cannot_work_is_named(override, message):
    with pytest.raises(UsageError, match=message):
        check(plain(override))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.clap_preset=other", "'model.clap_preset' is 'other'"),
        ("data.seconds=2.0", "takes windows of 61440 samples at 16000 Hz"),
        ("data.max_tokens=200", "data.max_tokens is 200, and the text half of CLAP has"),
    ],
)
def test_what_cannot_be_built_is_named(override, message):
    with pytest.raises(UsageError, match=message):
        task_of(override)


def trained(steps, batch, *overrides, words="debug"):
    """(settings, parameters with the moving average, statistics) after so many steps on one batch."""
    config = plain("model.network.width=64", *overrides, words=words)
    task = make_task(config, "link", vocab_size=VOCAB)
    made = jax.jit(task.init)(jax.random.key(0), {})
    state = made["model_state"] | PAPER.statistics.measure(config, {}, [batch], vocab_size=VOCAB)
    trainable, frozen = split_params(made["params"], "^bridge/")
    groups = {"everything": {"pattern": ".*", "name": "adam", "lr": 3e-3, "schedule": "cosine"}}
    optimizer = make_optimizer(groups, trainable, steps)
    step = jax.jit(make_train_step(task, optimizer, ema_decay=0.98))
    carry = create_state(trainable, state, optimizer, jax.random.key(1), ema=True)
    for _ in range(steps):
        carry, found = step(carry, frozen, batch)
    return task, merge_params(carry.ema, frozen), state, found


@pytest.mark.slow
def test_a_toy_gap_is_bridged():
    """Check 8: new pairs come nearer and are still told apart; without the topology loss, few samples lose their cosines."""
    task, params, state, _ = trained(600, pairs(256))
    batch = pairs(64, seed=7)
    batch["text_embedding"] = batch["text_embedding"][:, None]
    found = jax.tree.map(np.asarray, jax.jit(task.predict)(params, state, batch))
    raw, bridged = (gap_scores(found[name], found["text"]) for name in ("audio", "bridged"))
    assert bridged["paired_cosine"] > raw["paired_cosine"] + 0.1
    assert bridged["centroid_distance"] < 0.5 * raw["centroid_distance"]
    assert bridged["R@1"] >= raw["R@1"]
    few = [trained(300, pairs(16), f"loss.topology={weight}")[3]["topology"] for weight in (1.0, 0.0)]
    assert few[0] < few[1]
