"""Writing captions: exact with an oracle, guided as the note says, one program, each caption its own (note, checks 5, 7, 8, 12, 13)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.papers.dac import inference
from audiojax.papers.dac.captions import sentences
from audiojax.papers.dac.inference import guided_network, read, sample_latents, write
from audiojax.papers.dac.model import Sound
from audiojax.papers.dac.settings import Sampling
from audiojax.papers.dac.task import make_task
from audiojax.schedule import make_schedule
from audiojax.text.tokenizer import Tokenizer
from tests.encoders.filling import fill
from tests.papers.dac.small import CLIPS, TOKENS, VOCAB, clip_batch, plain

KEYS = jax.random.split(jax.random.key(7), CLIPS)


@pytest.fixture(scope="module")
def variables(small_towers):
    return fill(jax.eval_shape(make_task(plain(), "diffusion", vocab_size=VOCAB).init, jax.random.key(0), {}))


@pytest.fixture(scope="module")
def stored():
    """Six tokens a clip, of which the first clips have only some."""
    values = np.random.default_rng(1).normal(size=(CLIPS, 6, 16)).astype(np.float32)
    return {"audio_values": values, "audio_mask": np.arange(6)[None] < np.minimum(np.arange(CLIPS) + 2, 6)[:, None]}


def written(settings, variables, batch, keys=KEYS, **options):
    return write(settings, variables["params"], variables["model_state"], batch, keys, dataclasses.replace(settings.options, **options))


@pytest.mark.parametrize("sampler", ["renoise", "ddim", "dpm++"])
@pytest.mark.parametrize("prediction", ["x0", "eps"])
def test_an_oracle_is_returned_exactly(sampler, prediction):
    """Check 5, for several numbers of steps."""
    schedule = make_schedule("linear", 1000)
    x0 = jax.random.normal(jax.random.key(1), (CLIPS, 3, 4))

    def oracle(x, t, x0_prev):
        return schedule.convert(x0, x, t, "x0", prediction)

    for steps in (1, 7, 34):
        options = Sampling(sampler, steps, time_offset=0)
        found = sample_latents(schedule, oracle, KEYS, (3, 4), options, prediction)
        np.testing.assert_allclose(found, x0, atol=2e-5 if prediction == "x0" else 2e-3)


def test_the_network_is_told_later_levels_and_its_last_x0():
    """LaDiC's path: 999, 969, ..., 9, each told as 5 later, at most 999; zeros first, then the x0_hat of the step before."""
    seen = []

    def network(x, t, x0_prev):
        jax.debug.callback(lambda t, mean: seen.append((int(t), float(mean))), t[0], jnp.mean(x0_prev), ordered=True)
        return jnp.full_like(x, t[0].astype(jnp.float32))

    sample_latents(make_schedule("linear", 1000), network, KEYS, (2, 3), Sampling()).block_until_ready()
    jax.effects_barrier()
    told = [min(999, t + 5) for t in range(999, 0, -30)]
    assert [t for t, _ in seen] == told
    assert [mean for _, mean in seen] == [0.0, *map(float, told[:-1])]
    assert len(told) == 34


def test_guidance(settings, variables, stored):
    """Check 7: w = 0 is the conditional output, w > 0 (1 + w) cond - w uncond; without sound w has no effect."""
    params, rng = variables["params"], np.random.default_rng(2)
    x, x0_prev = (rng.normal(size=(CLIPS, TOKENS, 16)).astype(np.float32) for _ in range(2))
    inputs = (x, np.arange(CLIPS, dtype=np.int32), x0_prev)
    sound = Sound(stored["audio_values"], stored["audio_mask"])
    silence = sound._replace(values=np.zeros_like(sound.values))
    at = jax.jit(lambda heard, w: guided_network(settings, params, heard, w)(*inputs), static_argnums=1)
    cond, uncond = at(sound, 0.0), at(silence, 0.0)
    np.testing.assert_allclose(at(sound, 2.0), 3 * cond - 2 * uncond, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(at(silence, 2.0), uncond, rtol=1e-4, atol=1e-4)
    assert np.abs(cond - uncond).max() > 1e-3


def test_padding_of_a_clip_has_no_say(settings, variables, stored):
    """Check 8."""
    noisy = dict(stored, audio_values=np.where(stored["audio_mask"][..., None], stored["audio_values"], 50.0).astype(np.float32))
    for ours, theirs in zip(written(settings, variables, stored), written(settings, variables, noisy), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("sampler", ["renoise", pytest.param("ddim", marks=pytest.mark.slow)])
def test_a_caption_depends_on_its_clip_and_its_key_alone(settings, variables, stored, sampler):
    """Check 12: the same again, in another order, and in a smaller batch."""
    options = {"sampler": sampler, "eta": 1.0}
    whole = written(settings, variables, stored, **options)
    order = np.array([5, 1, 6, 0])
    part = written(settings, variables, {name: x[order] for name, x in stored.items()}, KEYS[order], **options)
    np.testing.assert_array_equal(part.tokens, np.asarray(whole.tokens)[order])
    np.testing.assert_allclose(part.confidence, np.asarray(whole.confidence)[order], rtol=1e-4)
    other = written(settings, variables, stored, jax.random.split(jax.random.key(8), CLIPS), **options)
    assert not np.array_equal(other.tokens, whole.tokens)


@pytest.mark.slow
def test_several_captions_of_a_clip(settings, variables, stored):
    """Two keys a clip: the captions of the clip written with each."""
    keys = jax.random.split(jax.random.key(9), 2 * CLIPS)
    twice = {name: np.repeat(x, 2, axis=0) for name, x in stored.items()}
    np.testing.assert_array_equal(written(settings, variables, stored, keys).tokens, written(settings, variables, twice, keys).tokens)


def test_one_program_for_each_size(settings, variables, stored):
    """Check 13: other sounds, keys and lengths of captions compile nothing; another number of clips does."""
    written(settings, variables, stored)
    before = inference._write._cache_size()
    written(settings, variables, dict(stored, audio_values=stored["audio_values"] * 3), jax.random.split(jax.random.key(3), CLIPS))
    assert inference._write._cache_size() == before
    written(settings, variables, {name: x[:3] for name, x in stored.items()}, KEYS[:3])
    assert inference._write._cache_size() == before + 1


@pytest.mark.slow
def test_live_towers_and_stored_tokens_write_the_same(settings, variables):
    batch = clip_batch()
    sound = inference.hear(settings, variables["params"], batch)
    stored = {"audio_values": sound.values, "audio_mask": sound.mask}
    np.testing.assert_array_equal(written(settings, variables, batch).tokens, written(settings, variables, stored).tokens)


def test_what_is_read_off_the_positions():
    """The filler and repeated words are left out, also when fillers stand between the two."""
    tokens = jnp.array([[3, 7, 7, 3, 7, 8, 7, 3], [3, 3, 3, 3, 3, 3, 3, 3]])
    found = read(tokens, jnp.full((2, 8), 0.5).at[0, 1].set(0.8), filler=3)
    np.testing.assert_array_equal(found.words[0], [False, True, False, False, False, True, True, False])
    np.testing.assert_allclose(found.confidence, [(0.8 + 0.5 + 0.5) / 3, 0.5], rtol=1e-6)
    assert not found.words[1].any()


def test_tokens_become_sentences():
    tokenizer = Tokenizer.train(["a dog barks loudly", "rain falls"], 100)
    ids, mask = tokenizer.encode(["a dog dog barks", "rain falls"], 10)
    words = mask & (ids > 4)
    assert sentences(tokenizer, ids, words) == ["a dog barks", "rain falls"]
    assert sentences(tokenizer, ids, words, ".")[1] == "rain falls."
