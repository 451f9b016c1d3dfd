"""DAC as tasks: what is scored, layouts, the rival, bad config, and captions learned by heart (note, checks 11 and 12)."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

from audiojax.errors import UsageError
from audiojax.papers.dac import make_settings, make_task, write
from audiojax.papers.dac.captions import chosen
from audiojax.papers.dac.latent import measure
from audiojax.papers.dac.task import PAPER, check
from audiojax.partition import merge_params, split_params, unmatched_rules
from tests.encoders.filling import fill
from tests.papers.dac.small import CLIPS, TOKENS, VOCAB, clip_batch, plain

RIVAL = "debug,rival"


@pytest.fixture(scope="module")
def batch():
    """Stored tokens and captions, no sounds."""
    values = np.random.default_rng(1).normal(size=(CLIPS, 4, 16)).astype(np.float16)
    captions = {name: x for name, x in clip_batch().items() if not name.startswith("w")}
    return captions | {"audio_values": values, "audio_mask": np.ones((CLIPS, 4), bool)}


def variables_of(phase, words="debug"):
    return fill(jax.eval_shape(make_task(plain(words=words), phase, vocab_size=VOCAB).init, jax.random.key(0), {}))


def clips_of(batch):
    """The batch as evaluation has it: each clip with two captions."""
    return {name: np.stack([x, np.roll(x, 1, axis=0)], axis=1) if name.startswith("text") else x for name, x in batch.items()}


@pytest.mark.parametrize(("phase", "words"), [("head", "debug"), ("diffusion", "debug"), ("autoregressive", RIVAL)])
def test_what_is_selected_by_is_scored(phase, words, batch):
    task, variables = make_task(plain(words=words), phase, vocab_size=VOCAB), variables_of(phase, words)
    found = jax.jit(task.predict)(variables["params"], variables["model_state"], clips_of(batch))
    assert all(len(x) == CLIPS for x in found.values())
    scores = task.metrics(variables["params"], jax.tree.map(np.asarray, found), jax.random.key(0))
    assert all(np.isfinite(value) for value in scores.values())
    assert task.select in scores
    if phase != "head":
        truth = jax.tree.map(np.asarray, dict(found, tokens=found["targets"][:, 0], written=found["words"][:, 0]))
        perfect = task.metrics(variables["params"], truth, jax.random.key(0))  # of the two captions of a clip, one is met
        assert perfect["captions/cider_d"] > 3 > scores["captions/cider_d"]


@pytest.mark.slow
@pytest.mark.parametrize(("phase", "words"), [("diffusion", "debug"), ("autoregressive", RIVAL)])
def test_eight_devices_give_the_loss_and_the_gradients_of_one(phase, words, batch):
    config = plain(words=words)
    task, variables = make_task(config, phase, vocab_size=VOCAB), variables_of(phase, words)
    trainable, frozen = split_params(variables["params"], config[phase]["trainable"])

    def objective(trainable, batch, axis_name=None):
        params = merge_params(trainable, frozen)
        return task.loss(params, variables["model_state"], batch, jax.random.key(5), axis_name=axis_name)[0]

    alone = jax.jit(jax.value_and_grad(objective))(trainable, batch)
    rows = jax.tree.map(lambda x: np.asarray(x)[:, None], batch)
    step = jax.pmap(lambda *x: jax.lax.pmean(jax.value_and_grad(objective)(*x, "data"), "data"), axis_name="data", in_axes=(None, 0))
    shared = jax.tree.map(lambda x: x[0], step(trainable, rows))
    for ours, theirs in zip(jax.tree.leaves(shared), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2e-5)


@pytest.mark.slow
def test_the_rival_writes_up_to_its_end(batch):
    config, variables = plain(words=RIVAL), variables_of("autoregressive", RIVAL)
    settings = make_settings(config, VOCAB)
    keys = jax.random.split(jax.random.key(0), CLIPS)
    beams = write(settings, variables["params"], variables["model_state"], batch, keys, settings.options)
    greedy = write(settings, variables["params"], variables["model_state"], batch, keys, settings.validation)
    assert settings.options.num_beams == 3
    assert beams.tokens.shape == (CLIPS, TOKENS - 1)
    for found in (beams, greedy):
        tokens, words = np.asarray(found.tokens), np.asarray(found.words)
        ends = np.where((tokens == 3).any(axis=1), (tokens == 3).argmax(axis=1), TOKENS - 1)
        np.testing.assert_array_equal(words.sum(axis=1), ends)
        assert np.all((np.asarray(found.confidence) > 0) & (np.asarray(found.confidence) <= 1))


def test_widths_are_split_by_rule():
    for phase, words in (("diffusion", "debug"), ("autoregressive", RIVAL)):
        params = jax.eval_shape(make_task(plain(words=words), phase, vocab_size=VOCAB).init, jax.random.key(0), {})["params"]
        assert not unmatched_rules(make_task(plain(words=words), phase, vocab_size=VOCAB).partition_rules, params)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("init.audio=", "'init.audio' is empty, and the towers are frozen"),
        ("loss.error=l1", "'loss.error' is 'l1'; it takes one of mse, l2"),
        ("loss.drop_audio=1.5", "'loss.drop_audio' is 1.5; it takes 0 to 1"),
        ("inference.validation_steps=0", "'inference.validation_steps' is 0: 0 sampling steps do not fit 40"),
        (
            "inference.diffusion.steps=30",
            "'inference.diffusion.steps' is 30: 30 sampling steps do not fit 40 .* in equal strides: 20 steps do",
        ),
        ("inference.diffusion.sampler=euler", "it takes one of renoise, ddim, dpm"),
        ("data.statistics_examples=0", "'data.statistics_examples' is 0"),
    ],
)
def test_what_cannot_work_is_named(override, message):
    with pytest.raises(UsageError, match=message):
        check(plain(override))


@pytest.mark.parametrize("other", ["inference.diffusion.sampler=ddim", "noise.prediction=eps"])
def test_dilated_noise_needs_the_sampler_that_asks_nothing_of_it(other):
    check(plain("loss.dilation=4.0"))
    with pytest.raises(UsageError, match="'loss.dilation' is 4.0; other than 1 it needs"):
        check(plain("loss.dilation=4.0", other))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.lower_layers=2", "'model.lower_layers' is 2; a BERT of 2 layers is cut after 1 to 1"),
        ("model.filler=60", "'model.filler' is 60; the tokenizer has ids 0 to 59"),
        ("model.denoiser_preset=tiny", "'model.denoiser_preset' is 'tiny', made for latents of 32; those of 'tiny' have 16"),
        ("data.sample_rate=8000", "'data.sample_rate' is 8000; BEATs hears 16000 Hz"),
        ("data.max_tokens=20", "data.max_tokens is 20, and model.denoiser_preset 'soundworld' has 16 positions"),
        ("model.projection.form=other", "'model.projection.form' is 'other'; it takes one of linear, transformer"),
    ],
)
def test_what_cannot_be_built_is_named(override, message):
    with pytest.raises(UsageError, match=message):
        PAPER.make_task(plain(override), "diffusion", vocab_size=VOCAB)


@pytest.mark.slow
def test_captions_of_eight_clips_are_learned_by_heart(batch):
    """Checks 11 and 12: the caption of a clip comes back for every seed; where a sound has two, the seed decides."""
    config = plain("noise.steps=1000", "inference.diffusion.steps=20", "inference.diffusion.guidance=0.0")
    task, settings = make_task(config, "diffusion", vocab_size=VOCAB), make_settings(config, VOCAB)
    params = jax.jit(task.init)(jax.random.key(0), {})["params"]
    captions = dict(batch, audio_values=batch["audio_values"].copy())
    captions["audio_values"][1] = captions["audio_values"][0]  # one sound, two captions
    many = {name: np.repeat(x, 8, axis=0) for name, x in captions.items()}
    state = measure(settings, params, [captions])
    trainable, frozen = split_params(params, config["diffusion"]["trainable"])
    optimizer = optax.adam(optax.cosine_decay_schedule(3e-3, 2_000))

    @jax.jit
    def step(trainable, moments, key):
        gradient = jax.grad(lambda x: task.loss(merge_params(x, frozen), state, many, key)[0])(trainable)
        updates, moments = optimizer.update(gradient, moments)
        return optax.apply_updates(trainable, updates), moments

    moments = optimizer.init(trainable)
    for i in range(2_000):
        trainable, moments = step(trainable, moments, jax.random.fold_in(jax.random.key(1), i))
    params = merge_params(trainable, frozen)

    def texts(clips, keys, options):
        found = write(settings, params, state, {name: x[clips] for name, x in captions.items()}, keys, options)
        return chosen(np.asarray(found.tokens), np.asarray(found.words))

    wanted = chosen(captions["text_ids"], captions["text_mask"] & (captions["text_ids"] > 4))
    for seed in range(4):
        assert texts(slice(2, None), jax.random.split(jax.random.key(seed), CLIPS - 2), settings.options) == wanted[2:]
    drawn = texts(slice(1), jax.random.split(jax.random.key(5), 64), dataclasses.replace(settings.options, sampler="ddim", eta=1.0))
    assert all(drawn.count(caption) > 2 for caption in wanted[:2])
