"""DiffATR as a task: routing of gradients, layouts, invariances, bad config (note, checks 8, 9, 10 and 12)."""

import dataclasses
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from audiojax.collectives import example_keys
from audiojax.config import load_config, to_dict
from audiojax.errors import UsageError
from audiojax.models.pair_denoiser import PairDenoiser, PairDenoiserConfig, denoise_shared
from audiojax.papers import PAPERS
from audiojax.papers.diffatr import Direction, generation_curve, make_settings, search_all, search_split
from audiojax.papers.diffatr.inference import diffuse_scores
from audiojax.papers.diffatr.loss import generation_loss
from audiojax.papers.diffatr.task import task_of
from audiojax.partition import split_params
from audiojax.schedule import make_schedule
from audiojax.trainer.layout import each_its_rows, make_layout, put_batch, shardings_of
from audiojax.trainer.optim import make_optimizer

VOCAB, SAMPLES = 60, 12_000
QUIET = ("model.audio_dropout=0.0", "model.text_dropout=0.0", "model.spec_augment.time_stripes=0", "model.spec_augment.mel_stripes=0")


def config(*overrides):
    small = ("model.joint_width=16", "model.head_width=16", "data.max_tokens=8", *QUIET)
    return to_dict(load_config("diffatr/soundworld:debug", (*small, *overrides)))


def task(phase="hybrid", *overrides):
    """The task with towers of a few channels: what is tested here does not depend on their size, and they compile fast."""
    settings = make_settings(config(*overrides), VOCAB)
    audio = dataclasses.replace(settings.dual.audio, channels=(2, 4), input_pool=(8, 8))
    text = dataclasses.replace(settings.dual.text, width=8, heads=2, layers=1, hidden=8)
    return task_of(dataclasses.replace(settings, dual=settings.dual.clone(audio=audio, text=text)), phase)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 9, size=8)
    return {
        "waveform": jnp.asarray(rng.normal(size=(8, SAMPLES)) * 0.1, jnp.float32),
        "text_ids": jnp.asarray(rng.integers(0, VOCAB, size=(8, 8)), jnp.int32),
        "text_mask": jnp.asarray(np.arange(8)[None, :] < lengths[:, None]),
        "clip_index": jnp.asarray([0, 1, 2, 2, 4, 5, 6, 7], jnp.int32),
    }


@pytest.fixture(scope="module")
def variables(batch):
    made = jax.jit(task().init)(jax.random.key(0), batch)
    rng = np.random.default_rng(1)
    moved = jax.tree.map(lambda x: x + 0.02 * rng.normal(size=x.shape).astype(np.float32), made["params"])
    return {"params": moved, "model_state": made["model_state"]}


def loss_of(variables, batch, *overrides, phase="hybrid"):
    """(loss, (model state, reported values)) of the task with these overrides."""
    return jax.jit(task(phase, *overrides).loss)(variables["params"], variables["model_state"], batch, jax.random.key(5))


@pytest.fixture(scope="module")
def gradients(variables, batch):
    """Overrides -> ((loss, (model state, reported values)), gradients); every choice is compiled once."""

    @cache
    def found(*overrides):
        def objective(params):
            return task("hybrid", *overrides).loss(params, variables["model_state"], batch, jax.random.key(5))

        return jax.jit(jax.value_and_grad(objective, has_aux=True))(variables["params"])

    return found


def norm(tree):
    return float(optax.tree.norm(tree))


def test_generation_loss_never_reaches_the_encoders(gradients):
    _, grads = gradients("loss.contrastive_weight=0.0")
    assert norm(grads["dual"]) == 0.0
    assert norm(grads["denoiser_t2a"]) > 0
    assert norm(grads["denoiser_a2t"]) > 0


def test_contrastive_loss_never_reaches_the_denoisers(gradients):
    _, grads = gradients("loss.generation_weight=0.0")
    assert norm(grads["dual"]) > 0
    assert norm(grads["denoiser_t2a"]) == 0.0
    assert norm(grads["denoiser_a2t"]) == 0.0


def test_encoders_learn_the_same_with_and_without_the_generator(gradients):
    """So the cosine of a hybrid run is the discriminative-only run with the same encoder updates."""
    with_generator, without = gradients()[1], gradients("loss.generation_weight=0.0")[1]
    for a, b in zip(jax.tree.leaves(with_generator["dual"]), jax.tree.leaves(without["dual"]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_without_routing_the_generation_loss_trains_the_encoders(gradients):
    _, grads = gradients("loss.contrastive_weight=0.0", "loss.stop_gradient=False")
    assert norm(grads["dual"]["audio_tower"]) > 0
    assert norm(grads["dual"]["text_tower"]) > 0


def test_losses_add_up_with_unit_weights(gradients, variables, batch):
    (loss, (_, reported)), _ = gradients()
    parts = [float(reported[name]) for name in ("contrastive", "generation_t2a", "generation_a2t")]
    np.testing.assert_allclose(float(loss), sum(parts), rtol=1e-6)
    first_phase, _ = loss_of({**variables, "params": {"dual": variables["params"]["dual"]}}, batch, phase="contrastive")
    np.testing.assert_allclose(float(first_phase), parts[0], rtol=1e-5)


def test_same_clip_captions_leave_both_losses(gradients, variables, batch):
    masked, kept = gradients()[0][1][1], loss_of(variables, batch, "loss.mask_same_audio=False")[1][1]
    assert all(float(masked[name]) < float(kept[name]) for name in ("contrastive", "generation_t2a", "generation_a2t"))


def test_phase_one_starts_near_log_of_the_batch(batch):
    made = jax.jit(task("contrastive").init)(jax.random.key(3), batch)
    loss, _ = loss_of(made, {**batch, "clip_index": jnp.arange(8)}, "loss.temperature=1.0", phase="contrastive")
    np.testing.assert_allclose(float(loss), np.log(8), atol=0.25)


@pytest.mark.slow
def test_pmap_mesh_and_one_device_have_equal_gradients(variables, batch):
    the_task = task()

    def step(params, batch, axis_name=None):
        def objective(params):
            return the_task.loss(params, variables["model_state"], batch, jax.random.key(5), axis_name=axis_name)

        (loss, (state, _)), grads = jax.value_and_grad(objective, has_aux=True)(params)
        mean = (lambda x: jax.lax.pmean(x, axis_name)) if axis_name else (lambda x: x)
        return jax.tree.map(mean, (loss, grads, state))

    one = jax.jit(step)(variables["params"], batch)
    layout = make_layout("mesh", (2, 2, 2))
    params = jax.device_put(variables["params"], shardings_of(layout, variables["params"], variables["params"], the_task.partition_rules))
    apart = jax.jit(each_its_rows(layout, lambda params, batch, key, axis_name: step(params, batch, axis_name)), static_argnums=3)
    meshed = apart(params, put_batch(layout, batch), jax.random.key(0), None)
    split = jax.tree.map(lambda x: x.reshape(8, 1, *x.shape[1:]), batch)
    mapped = jax.pmap(lambda p, b: step(p, b, "data"), axis_name="data", in_axes=(None, 0), out_axes=None)(variables["params"], split)
    for other in (meshed, mapped):
        difference = jax.tree.map(lambda a, b: jnp.asarray(np.asarray(a) - np.asarray(b)), one, other)
        assert norm(difference[1]) <= 1e-5 * norm(one[1])
        np.testing.assert_allclose(norm(other[1]), norm(one[1]), rtol=1e-5)
        np.testing.assert_allclose(float(other[0]), float(one[0]), rtol=1e-5)
        assert norm(difference[2]) <= 1e-5 * norm(one[2])


def test_predictions_do_not_depend_on_the_batch(variables, batch):
    the_task = task()
    many = {**batch, "text_ids": batch["text_ids"][:, None], "text_mask": batch["text_mask"][:, None]}
    predict = jax.jit(the_task.predict)
    whole = predict(variables["params"], variables["model_state"], many)
    some = predict(variables["params"], variables["model_state"], jax.tree.map(lambda x: x[5:7], many))
    plain = the_task.predict(variables["params"], variables["model_state"], jax.tree.map(lambda x: x[5:7], many))
    assert whole["audio"].shape == (8, 16)
    assert whole["text"].shape == (8, 1, 16)
    for name in whole:
        np.testing.assert_allclose(some[name], whole[name][5:7], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(plain[name], some[name], rtol=1e-4, atol=1e-5)


def test_metrics_hold_what_selection_needs(variables):
    rng = np.random.default_rng(2)
    predictions = {name: rng.normal(size=shape).astype(np.float32) for name, shape in (("audio", (9, 16)), ("text", (9, 2, 16)))}
    the_task = task()
    found = the_task.metrics(variables["params"], predictions, jax.random.key(0))
    assert found[the_task.select] == found["t2a/R@1"] + found["t2a/R@5"] + found["t2a/R@10"]
    assert found["t2a/mAP@10"] >= found["t2a_cosine/mAP@10"]  # alpha 0 is one of the choices
    first = task("contrastive")
    plain = first.metrics({"dual": variables["params"]["dual"]}, predictions, jax.random.key(0))
    assert plain["t2a/R@1"] == found["t2a_cosine/R@1"]


def test_l2_input_feeds_unit_features(variables):
    rng = np.random.default_rng(3)
    predictions = {name: rng.normal(size=shape).astype(np.float32) for name, shape in (("audio", (6, 16)), ("text", (6, 1, 16)))}
    scaled = {name: value * 3 for name, value in predictions.items()}
    for kind, same in (("l2", True), ("raw", False)):
        settings = make_settings(config(f"model.denoiser.input={kind}"), VOCAB)
        one, other = (search_split(settings, variables["params"], p, jax.random.key(0))["t2a"].scores.x for p in (predictions, scaled))
        assert np.allclose(one, other, atol=1e-4) is same


def test_no_shortlist_decides_where_all_are_asked_for(variables):
    rng = np.random.default_rng(3)
    predictions = {name: rng.normal(size=shape).astype(np.float32) for name, shape in (("audio", (6, 16)), ("text", (6, 2, 16)))}
    settings = make_settings(config("inference.top_m=2"), VOCAB)
    assert search_split(settings, variables["params"], predictions, jax.random.key(0))["t2a"].scores.x.shape[-1] == 2
    every = search_all(settings, variables["params"], predictions, jax.random.key(0))
    assert every.name == "t2a"
    assert every.scores.x.shape == (12, every.scores.x.shape[1], 6)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.audio=vggish", "model.audio' is 'vggish'.*cnn14"),
        ("model.audio_preset=huge", "model.audio_preset.*tiny"),
        ("model.text_preset=huge", "model.text_preset.*tiny"),
        ("model.mel=panns_32k", "32000 Hz.*16000"),
        ("model.dtype=float8", "model.dtype"),
        ("model.denoiser.input=whitened", "denoiser.input"),
        ("data.max_tokens=500", "max_tokens is 500.*128 positions"),
        ("diffusion.schedule=quadratic", "quadratic"),
    ],
)
def test_bad_values_name_the_key(override, words):
    with pytest.raises(UsageError, match=words):
        make_settings(config(override), VOCAB)


def test_linear_schedule_is_the_parents():
    """DiffusionRet scales linear betas by 1000 / K, so that 50 steps end in noise too."""
    schedule = make_settings(config("diffusion.schedule=linear"), VOCAB).schedule
    np.testing.assert_allclose([schedule.beta[0], schedule.beta[-1]], [20 * 1e-4, 20 * 0.02], rtol=1e-6)
    assert schedule.alpha_bar[-1] < 1e-4


def test_encoders_can_be_frozen_in_phase_two(batch):
    """`--config.hybrid.trainable=^denoiser_`: the optimiser group of the rest is left without parameters."""
    params = jax.eval_shape(task().init, jax.random.key(0), batch)["params"]
    trainable, frozen = split_params(params, "^denoiser_")
    assert set(frozen) == {"dual"}
    optimizer = make_optimizer(config()["hybrid"]["groups"], trainable, 4)
    assert set(optimizer.schedules) == {"denoisers"}


def test_frozen_encoders_have_no_dropout_and_keep_their_statistics(gradients, variables, batch):
    frozen = task("hybrid", "hybrid.trainable=^denoiser_", "model.text_dropout=0.5")
    loss = jax.jit(frozen.loss)
    losses = [loss(variables["params"], variables["model_state"], batch, jax.random.key(i)) for i in (1, 2)]
    assert losses[0][1][1]["contrastive"] == losses[1][1][1]["contrastive"]  # whatever the key
    for kept, before in zip(jax.tree.leaves(losses[0][1][0]), jax.tree.leaves(variables["model_state"]), strict=True):
        np.testing.assert_array_equal(kept, before)
    moving = gradients()[0][1][0]
    assert any(np.any(x != y) for x, y in zip(jax.tree.leaves(moving), jax.tree.leaves(variables["model_state"]), strict=True))


def test_dropped_candidates_do_not_matter_to_the_denoiser():
    denoiser = PairDenoiserConfig(width=8)
    params = PairDenoiser(denoiser).init(
        jax.random.key(0), jnp.zeros((1, 2)), jnp.zeros(1, jnp.int32), jnp.zeros((1, 8)), jnp.zeros((1, 2, 8))
    )["params"]
    rng = np.random.default_rng(0)
    x, query, candidates = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((3, 5), (3, 8), (5, 8)))
    k, kept = jnp.array([0, 20, 49]), np.array([0, 2, 4])
    valid = jnp.asarray(np.isin(np.arange(5), kept))[None].repeat(3, axis=0)
    some = denoise_shared(params, denoiser, x[:, kept], k, query, candidates[kept])
    np.testing.assert_allclose(denoise_shared(params, denoiser, x, k, query, candidates, valid)[:, kept], some, rtol=1e-5, atol=1e-6)


def test_unknown_phase_is_refused():
    with pytest.raises(UsageError, match="warmup.*contrastive, hybrid"):
        PAPERS["diffatr"].make_task(config(), "warmup", vocab_size=VOCAB)


@pytest.mark.slow
def test_a_trained_denoiser_reads_the_candidates_and_does_not_lower_recall():
    """Ambiguous cosine, clear pairs: L_G at the noisiest level falls well below ln N, and fusion does not hurt R@1.

    The logit scale is 10: with the published 100 a network this narrow stays over-confident at the noisiest level for thousands of steps.
    """
    width, n, held = 16, 32, 256

    def pairs(key, count):
        text = jax.random.normal(jax.random.fold_in(key, 0), (count, width))
        return text, text + 0.9 * jax.random.normal(jax.random.fold_in(key, 1), (count, width))

    schedule, network = make_schedule("cosine", 50), PairDenoiser(PairDenoiserConfig(width=width))
    params = network.init(jax.random.key(0), jnp.zeros((1, 2)), jnp.zeros(1, jnp.int32), jnp.zeros((1, width)), jnp.zeros((1, 2, width)))
    tx = optax.adam(3e-3)

    def losses(params, keys, query, candidates, level=None):
        network_of = partial(denoise_shared, params["params"], network.config)
        options = {"logit_scale": 10.0, "noise_level": level}
        return generation_loss(network_of, schedule, keys, query, candidates, jnp.arange(n), **options)

    @jax.jit
    def step(carry, key):
        params, state = carry
        text, audio = pairs(jax.random.fold_in(key, 2), n)
        grads = jax.grad(lambda p: losses(p, example_keys(key, n), text, audio).mean())(params)
        updates, state = tx.update(grads, state)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), jax.random.split(jax.random.key(1), 1500))
    text, audio = pairs(jax.random.key(9), n)
    assert float(losses(params, example_keys(jax.random.key(2), n), text, audio, 49).mean()) < 0.7 * np.log(n)

    def searched(number):
        text, audio = pairs(jax.random.key(number), held)
        scores = diffuse_scores(params["params"], network.config, schedule, text, audio, jax.random.key(3), top_m=32)
        return Direction("t2a", jax.tree.map(np.asarray, scores), np.arange(held))

    fusion = searched(10).choose((0.0, 0.03, 0.1, 0.3, 1.0), (1.0, 10.0, 100.0))  # on validation
    test = searched(11)
    assert test.ranks(fusion).hits(1).mean() >= test.ranks().hits(1).mean() - 0.03


def test_generation_curve_measures_the_loss_by_noise_level(variables):
    """A blind network costs ln N at every level; without denoisers there is no curve; levels run from 0 to K - 1."""
    rng = np.random.default_rng(4)
    predictions = {name: rng.normal(size=shape).astype(np.float32) for name, shape in (("audio", (9, 16)), ("text", (9, 2, 16)))}
    settings = make_settings(config("model.denoiser.residual_w=False"), VOCAB)
    blind = jax.tree.map(jnp.zeros_like, variables["params"])
    curve = generation_curve(settings, blind, predictions, jax.random.key(0), candidates=4)
    assert sorted(curve) == ["a2t", "t2a"]
    assert list(curve["t2a"]) == [0, 12, 24, 37, 49]
    np.testing.assert_allclose(list(curve["t2a"].values()), np.log(4), rtol=1e-6)
    settings = make_settings(config(), VOCAB)
    copying = generation_curve(settings, blind, predictions, jax.random.key(0), candidates=4)["t2a"]  # p = softmax(x_k)
    assert copying[0] < copying[49]
    assert copying[49] > np.log(4)
    assert generation_curve(settings, {"dual": {}}, predictions, jax.random.key(0), candidates=4) == {}
