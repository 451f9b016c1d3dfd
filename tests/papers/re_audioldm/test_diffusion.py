"""The phase "diffusion" (note, checks 4 to 6, 10, 13, 14): conditions and their absence, the loss, layouts, warm start, bad config."""

import json
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.audio.resampling import resampled
from audiojax.audio.spectral import CLAP_48K
from audiojax.config import load_config, to_dict
from audiojax.errors import UsageError
from audiojax.models.unet import UNet
from audiojax.papers import PAPERS
from audiojax.papers.re_audioldm.autoencoder import latent_scale
from audiojax.papers.re_audioldm.conditioning import clap_windows, condition_of, dropped, encode_audio, null_condition
from audiojax.papers.re_audioldm.diffusion_settings import make_diffusion_settings
from audiojax.papers.re_audioldm.loss import draws, errors_at, moments_of, training_loss
from audiojax.papers.re_audioldm.warm_start import fit_clap, fit_unet
from audiojax.partition import flat_paths, merge_params, split_params, unmatched_rules
from audiojax.towers.clap_features import ClapFrontEnd, windows
from audiojax.trainer.layout import make_layout, put_batch, shardings_of, wrap_step
from audiojax.trainer.optim import make_optimizer
from audiojax.trainer.state import create_state
from audiojax.trainer.step import make_train_step
from tests.encoders.filling import fill
from tests.papers.re_audioldm.latent_small import CLIPS, HEARD, LATENTS, READ, VOCAB, batch_of, plain, shrink, variables_of
from tests.trainer.processes import finish, start

FORMS = ["debug,diffusion", "debug,plain", "debug,audio", "debug,text", "debug,joint"]


@pytest.fixture(scope="module", autouse=True)
def small_networks():
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        yield


@pytest.fixture(scope="module")
def world(small_networks):
    """(settings, variables, errors): with both contexts; errors of a batch for given keys, compiled."""
    config = plain("diffusion_loss.drop=0.0")
    settings, made = make_diffusion_settings(config, VOCAB), variables_of(config)
    call = jax.jit(partial(training_loss, settings))
    return settings, made, lambda batch, keys: np.asarray(call(made["params"], made["model_state"], batch, keys))


def task_of(*overrides, words="debug,diffusion"):
    return PAPERS["re_audioldm"].make_task(plain(*overrides, words=words), "diffusion", vocab_size=VOCAB)


def keys_of(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def test_conditions_are_dropped_together_in_a_tenth_of_the_examples(world):
    settings, made, _ = world
    settings = replace(settings, options=replace(settings.options, drop=0.1))
    drawn = jax.jit(partial(draws, settings))(keys_of(10_000))
    assert abs(float(drawn.drop.mean()) - 0.1) < 0.01
    assert drawn.t.min() >= 0
    assert drawn.t.max() == 999
    assert abs(np.corrcoef(np.asarray(drawn.t), np.asarray(drawn.drop))[0, 1]) < 0.04
    assert abs(np.corrcoef(np.asarray(drawn.eps).ravel(), np.asarray(drawn.sample).ravel())[0, 1]) < 0.01
    condition = condition_of(settings, made["model_state"], batch_of())
    null = null_condition(settings, made["model_state"], condition)
    mixed = jax.tree.leaves(dropped(condition, null, drawn.drop[:CLIPS]))
    for leaf, ours, theirs in zip(mixed, jax.tree.leaves(condition), jax.tree.leaves(null), strict=True):
        for row in range(CLIPS):
            np.testing.assert_array_equal(leaf[row], (theirs if drawn.drop[row] else ours)[row])


def test_no_condition_is_what_the_empty_caption_gives(world):
    settings, made, _ = world
    state = made["model_state"]
    null = null_condition(settings, state, condition_of(settings, state, batch_of()))
    np.testing.assert_array_equal(null.labels, np.tile(state["null"]["embedding"], (CLIPS, 1)))
    (heard, heard_mask), (read, read_mask) = null.contexts
    assert heard.shape == (CLIPS, 2 * HEARD[0], HEARD[1])
    assert not heard.any()
    assert heard_mask.all()
    np.testing.assert_array_equal(read, np.tile(state["null"]["text"], (CLIPS, 2, 1)))
    assert read_mask.sum() == CLIPS * 2 * 2


def test_a_missing_pair_is_the_null_pair(world):
    settings, made, _ = world
    _, (read, mask) = condition_of(settings, made["model_state"], batch_of()).contexts
    np.testing.assert_array_equal(read[-1, READ[0] :], made["model_state"]["null"]["text"])
    assert mask[-1, READ[0] :].sum() == 2
    assert mask.any(axis=1).all()


def test_pairs_are_a_set_and_masked_tokens_do_not_count(world):
    _, _, errors = world
    batch, keys = batch_of(), keys_of(CLIPS)
    turned = {name: x[:, ::-1] if name.startswith("retrieved") else x for name, x in batch.items()}
    np.testing.assert_allclose(errors(turned, keys), errors(batch, keys), rtol=2e-5)
    noisy = {**batch, "retrieved_text": np.where(batch["retrieved_text_mask"][..., None], batch["retrieved_text"], 7).astype(np.float32)}
    np.testing.assert_allclose(errors(noisy, keys), errors(batch, keys), rtol=2e-5)


def test_the_loss_is_the_papers_by_hand(world):
    """L of the module's first lines, row by row in NumPy around the U-Net; half of the rows are trained without their conditions."""
    settings, made, _ = world
    settings = replace(settings, options=replace(settings.options, drop=0.5))
    batch, keys, null = batch_of(), keys_of(CLIPS), made["model_state"]["null"]
    drawn = jax.tree.map(np.asarray, draws(settings, keys))
    assert 0 < drawn.drop.sum() < CLIPS
    abar = np.cumprod(1 - np.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2)[drawn.t].reshape(-1, 1, 1, 1)
    mean, logvar = np.split(batch["audio_moments"].astype(np.float64), 2, axis=-1)
    z_0 = 0.9 * (mean + np.exp(logvar / 2) * drawn.sample)
    z_n = np.sqrt(abar) * z_0 + np.sqrt(1 - abar) * drawn.eps
    labels = batch["text_embedding"] / np.linalg.norm(batch["text_embedding"], axis=1, keepdims=True)
    labels = np.where(drawn.drop[:, None], null["embedding"], labels)
    given = (batch["retrieved_valid"] & ~drawn.drop[:, None])[..., None]  # of each pair
    heard = np.where(given[..., None], batch["retrieved_audio"], 0).reshape(CLIPS, -1, HEARD[1])
    read = np.where(given[..., None], batch["retrieved_text"], null["text"]).reshape(CLIPS, -1, READ[1])
    mask = np.where(given, batch["retrieved_text_mask"], null["text_mask"] > 0.5).reshape(CLIPS, -1)
    contexts = ((heard, np.ones(heard.shape[:2], bool)), (read, mask))
    noise = jax.jit(partial(settings.unet.apply, train=False))(
        {"params": made["params"]["unet"]}, z_n.astype(np.float32), drawn.t, labels, contexts
    )
    want = np.square(drawn.eps - np.asarray(noise)).mean(axis=(1, 2, 3))
    got = jax.jit(partial(training_loss, settings))(made["params"], made["model_state"], batch, keys)
    np.testing.assert_allclose(got, want, rtol=1e-4)


def test_validation_does_not_depend_on_the_weights_of_training(world):
    settings, made, _ = world
    weighted = replace(settings, options=replace(settings.options, weighting="min_snr"))
    inputs = made["params"], made["model_state"], batch_of(), keys_of(CLIPS)
    uniform, other = (jax.jit(partial(errors_at, one))(*inputs) for one in (settings, weighted))
    np.testing.assert_array_equal(other, uniform)
    ours, theirs = (jax.jit(partial(training_loss, one))(*inputs) for one in (settings, weighted))
    assert np.any(ours != theirs)


def test_every_condition_matters_and_only_to_its_own_row(world):
    _, _, errors = world
    batch, keys = batch_of(), keys_of(CLIPS)
    before = errors(batch, keys)
    for name in ("text_embedding", "retrieved_audio", "retrieved_text", "audio_moments"):
        changed = {**batch, name: batch[name].copy()}
        changed[name][2] = -changed[name][2]
        after = errors(changed, keys)
        assert abs(after[2] - before[2]) > 1e-6, name
        np.testing.assert_allclose(np.delete(after, 2), np.delete(before, 2), rtol=1e-5)


def test_the_class_embedding_is_joined_to_the_time(world):
    """Check 4: what a residual block takes is 8 C wide."""
    _, made, _ = world
    assert made["params"]["unet"]["down_0"]["times_0"]["kernel"].shape == (8 * 8, 8)


def test_the_true_noise_gives_back_the_latents(world):
    """Check 12, at several levels at once."""
    settings, *_ = world
    levels = jnp.asarray([0, 1, 250, 500, 998, 999], jnp.int32)
    rng = np.random.default_rng(0)
    z_0, eps = (jnp.asarray(rng.normal(size=(6, *LATENTS)), jnp.float32) for _ in range(2))
    z_n = settings.schedule.q_sample(z_0, levels, eps)
    np.testing.assert_allclose(settings.schedule.x0_from_eps(z_n, levels, eps), z_0, atol=5e-4)


def test_latents_are_drawn_and_scaled_to_unit_deviation():
    """Check 10."""
    moments = moments_of({"audio_moments": 3 * jnp.asarray(batch_of(64)["audio_moments"])})
    z = latent_scale(moments) * moments.sample(jax.random.key(0))
    assert float(jnp.std(z)) == pytest.approx(1, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("words", FORMS)
def test_the_loss_has_gradients_in_the_unet_alone(words):
    config = plain(words=words)
    task, made = task_of(words=words), variables_of(config)
    gradient = jax.jit(jax.grad(lambda p: task.loss(p, made["model_state"], batch_of(), jax.random.key(0))[0]))(made["params"])
    assert all(np.isfinite(leaf).all() and np.any(leaf) for leaf in jax.tree.leaves(gradient["unet"]))
    assert not any(np.any(leaf) for name, tree in gradient.items() if name != "unet" for leaf in jax.tree.leaves(tree))
    assert (
        set(gradient)
        == {"unet", "vae", "clap"}
        | {
            FORMS[0]: {"audiomae", "t5"},
            FORMS[1]: set(),
            FORMS[2]: {"audiomae"},
            FORMS[3]: {"t5"},
            FORMS[4]: {"audiomae", "t5"},
        }[words]
    )


@pytest.mark.slow
def test_both_contexts_are_used(world):
    """Check 14: the loss has a gradient at the features of retrieved sounds and of retrieved texts."""
    settings, made, _ = world
    batch = batch_of()

    def total(heard, read):
        given = {**batch, "retrieved_audio": heard, "retrieved_text": read}
        return jnp.sum(training_loss(settings, made["params"], made["model_state"], given, keys_of(CLIPS)))

    for gradient in jax.jit(jax.grad(total, argnums=(0, 1)))(batch["retrieved_audio"], batch["retrieved_text"]):
        assert np.any(gradient[0, 0])
        assert not np.any(gradient[-1, -1])  # the pair that is missing


@pytest.mark.slow
def test_predictions_are_of_each_row_alone_and_the_first_caption():
    task, made = task_of(), variables_of(plain())
    predict = jax.jit(task.predict)
    batch = batch_of()
    found = predict(made["params"], made["model_state"], batch)["error"]
    assert found.shape == (CLIPS, 7)
    order = np.array([3, 1, 7, 0, 2, 6, 5, 4])
    moved = predict(made["params"], made["model_state"], {name: x[order] for name, x in batch.items()})["error"]
    np.testing.assert_allclose(moved, found[order], rtol=1e-5)
    captions = {**batch, "text_embedding": np.stack([batch["text_embedding"], -batch["text_embedding"]], axis=1)}
    np.testing.assert_allclose(predict(made["params"], made["model_state"], captions)["error"], found, rtol=1e-5)
    scores = task.metrics({}, {"error": np.asarray(found)}, None)
    assert scores["explained"] == pytest.approx(1 - float(found.mean()), abs=1e-6)
    assert scores["band/low"] == pytest.approx(float(found[:, :2].mean()), rel=1e-5)
    assert {"level/50", "level/950", "band/middle", "band/high", "error"} <= scores.keys()
    assert task.select in scores


def test_every_rule_matches_a_parameter():
    assert not unmatched_rules(task_of().partition_rules, variables_of(plain())["params"])


@pytest.mark.slow
def test_a_step_is_the_same_on_every_layout():
    config = plain()
    task, made = task_of(), variables_of(config)
    trainable, frozen = split_params(made["params"], "^unet/")
    optimizer = make_optimizer({"all": {"pattern": ".*", "lr": 0.1, "name": "sgd"}}, trainable, 10)
    step = make_train_step(task, optimizer, ema_decay=0.9999, ema_warmup=True)

    def run(layout):
        state = create_state(trainable, made["model_state"], optimizer, jax.random.key(3), True)
        shardings = [shardings_of(layout, tree, made["params"], task.partition_rules) for tree in (state, frozen)]
        placed = [jax.device_put(tree, where, may_alias=False) for tree, where in zip((state, frozen), shardings, strict=True)]
        after, metrics = wrap_step(layout, step, *shardings)(*placed, put_batch(layout, batch_of()))
        return jax.device_get(after.params), float(metrics["loss"])

    alone, loss = run(make_layout("pmap", devices=jax.devices()[:1]))
    for parallel, sizes in (("pmap", (-1, 1, 1)), ("mesh", (2, 2, 2))):
        params, other = run(make_layout(parallel, sizes))
        assert other == pytest.approx(loss, rel=1e-5), parallel
        for path, leaf in flat_paths(params).items():
            np.testing.assert_allclose(leaf, flat_paths(alone)[path], rtol=1e-3, atol=2e-5, err_msg=f"{parallel}: {path}")


@pytest.mark.slow
def test_eight_clips_are_learned_by_heart():
    """Checks 13 and 14: the loss, the samples drawn from noise, and their change with the sounds that were retrieved."""
    (text,) = finish(start("", program="tests.papers.re_audioldm.overfit"), timeout=900)
    found = json.loads(text.splitlines()[-1])
    assert found["loss"] < 0.05
    assert found["correlation"] > 0.9
    assert found["mel correlation"] > 0.8
    assert found["change"] > 0.05


@pytest.mark.slow
def test_an_audioldm_begins_a_unet_that_says_the_same():
    """The transformers that it does not have add nothing at first."""
    config = plain()
    settings = make_diffusion_settings(config, VOCAB)
    ours, theirs = settings.unet.config, replace(settings.unet.config, contexts=(None,))
    latents, t, labels = np.ones((2, *LATENTS), np.float32), np.array([3, 700], np.int32), np.ones((2, 8), np.float32)
    contexts = tuple((np.ones((2, 3, width), np.float32), None) for width in ours.contexts if width)
    small = fill(jax.eval_shape(lambda: UNet(theirs).init(jax.random.key(0), latents, t, labels, train=False)))["params"]
    fresh = jax.jit(lambda: UNet(ours).init(jax.random.key(1), latents, t, labels, contexts, train=False))()["params"]
    fitted = fit_unet(small, fresh)
    assert flat_paths(fitted).keys() < flat_paths(fresh).keys()
    whole = merge_params(fitted, fresh)
    plainly = jax.jit(lambda p: UNet(theirs).apply({"params": p}, latents, t, labels, train=False))(small)
    richly = jax.jit(lambda p: UNet(ours).apply({"params": p}, latents, t, labels, contexts, train=False))(whole)
    np.testing.assert_allclose(richly, plainly, rtol=1e-4, atol=1e-5)
    same = fit_unet(whole, fresh)
    assert all(np.array_equal(leaf, flat_paths(whole)[path]) for path, leaf in flat_paths(same).items())


def test_the_halves_of_clap_that_are_wanted_are_taken():
    whole = {"text": {"encoder": {"a": 1}}, "audio": {"encoder": {"b": 2}}, "logit_scale_a": 3}
    assert fit_clap(whole, {"text": {}}) == {"text": {"encoder": {"a": 1}}}
    assert fit_clap({"encoder": {"a": 1}, "projection": {}}, {"text": {}}) == {"text": {"encoder": {"a": 1}, "projection": {}}}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("noise.steps=500", "samplers walk 1000 noise levels"),
        ("diffusion_loss.drop=1.0", "'diffusion_loss.drop' is 1.0"),
        ("diffusion_loss.film=video", "'diffusion_loss.film' is 'video'"),
        ("diffusion_loss.evaluated=(1000,)", "levels from 0 to 999"),
        ("data.states=False", "'data.states' is False"),
        ("diffusion.trainable=.*", "the U-Net alone is trained"),
        ("init.vae=", "'init.vae' is empty, and this tower is frozen"),
        ("init.t5=", "'init.t5' is empty"),
        ("model.contexts=none", "set retrieval.mode to 'none'"),
        ("retrieval.mode=best", "'retrieval.mode' is 'best'"),
        ("retrieval.count=60", "'retrieval.count' is 60"),
    ],
)
def test_bad_values_are_refused_by_name(override, words):
    with pytest.raises(UsageError, match=words):
        PAPERS["re_audioldm"].check(plain(override))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.sample_rate=48000", "'data.sample_rate' is 48000"),
        ("data.seconds=0.4", "take a multiple of 0.16 s"),
        ("model.contexts=all", "'model.contexts' is 'all'"),
        ("model.context_mode=both", "'model.context_mode' is 'both'"),
        ("model.pool=(5,4)", "does not divide AudioMAE's"),
        ("model.unet.channels=30", "levels of .30, 60. are no multiples of groups 4; the nearest are 28 and 32"),
        ("model.unet.attended=(True,)", "'model.unet.attended' has 1 values"),
        ("data.max_tokens=600", "positions"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(override, words):
    with pytest.raises(UsageError, match=words):
        make_diffusion_settings(plain(override), VOCAB)


def test_a_fused_clap_that_would_have_to_cut_is_refused():
    words = ["retrieval.key=audio", "model.clap_front_end=fusion", "model.clap_preset=htsat-fused"]
    config = to_dict(load_config("re_audioldm/audiocaps:diffusion", words))
    with pytest.raises(UsageError, match="a fused CLAP hears clips of up to 10 s here, and data.seconds is 10.24"):
        make_diffusion_settings(config, 50_265)


@pytest.mark.parametrize("key", ["audio", "mean"])
def test_sounds_may_be_keys_at_published_size(key):
    config = to_dict(load_config("re_audioldm/audiocaps:diffusion", [f"retrieval.key={key}", "diffusion_loss.film=audio"]))
    made = make_diffusion_settings(config, 50_265)
    assert (made.front_end.mel.sample_rate, made.mel.sample_rate) == (48_000, 16_000)


@pytest.mark.parametrize("samples", [700, 1_200, 2_400, 2_500, 5_300])
def test_clap_hears_windows_as_its_tower_cuts_them(samples):
    """At three times the rate, of clips that are shorter, just as long, and longer."""
    front_end = ClapFrontEnd(CLAP_48K, 3_600)
    clips = np.random.default_rng(0).standard_normal((2, samples)).astype(np.float32)
    found = np.stack(jax.jit(clap_windows, static_argnums=(0, 2))(front_end, clips, 16_000), axis=1)
    for ours, clip in zip(found, np.asarray(resampled(clips, 16_000, 48_000)), strict=True):
        np.testing.assert_allclose(ours, np.stack(list(windows(clip, front_end.samples))), atol=1e-5)


@pytest.mark.slow
def test_a_clip_of_another_length_than_claps_has_an_embedding():
    """That of the clip repeated to the length that CLAP hears."""
    config = plain("retrieval.key=audio")
    settings, made = make_diffusion_settings(config, VOCAB), variables_of(config)
    clips = np.random.default_rng(0).standard_normal((2, settings.samples)).astype(np.float32)
    encode = jax.jit(partial(encode_audio, settings))
    found = encode(made["params"], made["model_state"], {"waveform": clips})["audio_embedding"]
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-3
    twice = encode(made["params"], made["model_state"], {"waveform": np.tile(clips, (1, 2))})["audio_embedding"]
    np.testing.assert_allclose(twice, found, atol=1e-4)


def test_the_papers_width_of_196_is_refused():
    config = to_dict(load_config("re_audioldm/audiocaps:diffusion,large", ["model.unet.channels=196"]))
    with pytest.raises(UsageError, match="'model.unet.channels' is 196: .* the nearest are 192 and 224"):
        make_diffusion_settings(config, 50_265)
