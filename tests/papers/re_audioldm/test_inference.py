"""Latents from noise, with a toy in the place of the U-Net: guidance, what is known, and what batch, jit and devices must not change."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from audiojax.papers.re_audioldm.inference import Condition, Rows, sample_latents, sample_on, steer
from audiojax.papers.re_audioldm.settings import SAMPLERS, Sampling
from audiojax.schedule import make_schedule

SCHEDULE = make_schedule("scaled_linear", 1000)
SHAPE = (8, 4, 3)
ROWS = 8


class Toy(nn.Module):
    """Predicts noise as a small network of the latents and the condition would; `seen` notes (t, x) where nothing is compiled."""

    oracle: bool = False
    seen: tuple = ()

    def time_features(self, t, labels):
        return t, labels

    def context_features(self, contexts):
        return tuple(jnp.mean(tokens, axis=1) for tokens, _ in contexts)

    def denoise(self, x, time, memories, *, train):
        t, labels = time
        for note in self.seen:
            note(t, x)
        if self.oracle:  # the labels are the noise
            return labels.reshape(x.shape)
        told = jnp.sum(labels, axis=1) + sum(jnp.sum(memory, axis=1) for memory in memories)
        return jnp.tanh(x + told[:, None, None, None] + 1e-3 * t[:, None, None, None].astype(jnp.float32))


def normal(*shape, seed=0):
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def rows_of(count=ROWS, **more):
    keys = jax.vmap(jax.random.key)(np.arange(count, dtype=np.uint32))
    contexts = ((normal(count, 5, 2, seed=1), None),)
    null = Condition(normal(count, 4, seed=2), ((normal(count, 5, 2, seed=3), None),))
    return Rows(normal(count, *SHAPE), keys, Condition(normal(count, 4, seed=4), contexts), null, **more)


def run(rows, sampling=Sampling(steps=7), weight=2.5, module=Toy()):  # noqa: B008
    return np.asarray(jax.jit(partial(sample_latents, module, sampling))({}, SCHEDULE, rows, jnp.float32(weight)))


def only(rows, index):
    return jax.tree.map(lambda x: x[np.asarray(index)], rows)


def test_guidance_of_one_is_the_condition_and_of_zero_the_null():
    rows = rows_of()
    for weight, want in ((1, rows.condition), (0, rows.null)):
        alone = run(rows._replace(condition=want, null=None))
        np.testing.assert_allclose(run(rows, weight=weight), alone, atol=1e-5)
        np.testing.assert_array_equal(run(steer(rows, weight), weight=weight), alone)
    assert steer(rows, 3.5) is rows
    assert np.abs(run(rows, weight=3.5) - run(rows, weight=1)).max() > 0.1


@pytest.mark.parametrize("sampler", ["ddim", *(pytest.param(name, marks=pytest.mark.slow) for name in SAMPLERS[1:])])
def test_a_row_depends_on_itself_alone(sampler):
    rows, sampling = rows_of(), Sampling(sampler, 5)
    together, order = run(rows, sampling), [3, 0, 7]
    np.testing.assert_allclose(run(only(rows, order), sampling), together[order], atol=1e-5)
    mesh = {count: Mesh(np.array(jax.devices()[:count]), ("data",)) for count in (1, 8)}
    for count in mesh:
        spread = sample_on(mesh[count], Toy(), sampling, {}, SCHEDULE, rows, jnp.float32(2.5))
        assert len(spread.devices()) == count
        np.testing.assert_allclose(spread, together, atol=1e-5)


def test_jit_changes_nothing():
    rows, sampling = rows_of(2), Sampling(steps=3)
    with jax.disable_jit():
        plain = sample_latents(Toy(), sampling, {}, SCHEDULE, rows, 2.5)
    np.testing.assert_allclose(run(rows, sampling), plain, atol=1e-5)


@pytest.mark.parametrize(
    "sampling", [Sampling("ddim", 1, 0.0), Sampling("ddim", 20, 0.0), Sampling("dpm++", 20), Sampling(steps=20, eta=0.0, strength=0.3)]
)
def test_the_true_noise_leads_back_to_the_latents(sampling):
    """To alpha_bar_0, where the path ends: sqrt(0.9985) of the latents and sqrt(0.0015) of the noise."""
    latents, noise, t = normal(2, *SHAPE, seed=5), normal(2, *SHAPE), int(sampling.grid()[0])
    start = np.asarray(SCHEDULE.q_sample(latents, t, noise)) if sampling.strength == 1 else noise
    rows = Rows(start, rows_of(2).keys, Condition(noise.reshape(2, -1)), reference=latents if sampling.strength < 1 else None)
    want = np.sqrt(0.9985) * latents + np.sqrt(0.0015) * noise
    np.testing.assert_allclose(run(rows, sampling, module=Toy(oracle=True)), want, atol=1e-4)


def test_strength_0_gives_the_reference_and_strength_1_forgets_it():
    latents = normal(ROWS, *SHAPE, seed=6)
    rows = rows_of(reference=latents)
    np.testing.assert_array_equal(run(rows, Sampling(steps=5, strength=0.0)), latents)
    np.testing.assert_array_equal(run(rows, Sampling(steps=5)), run(rows_of(), Sampling(steps=5)))
    near, far = (np.abs(run(rows, Sampling(steps=50, eta=0.0, strength=s)) - latents).mean() for s in (0.02, 0.9))
    assert near < far


@pytest.mark.parametrize(("sampler", "strength"), [*((name, 1.0) for name in SAMPLERS), ("ddim", 0.5)])
def test_known_frames_stay_and_the_others_fit_them(sampler, strength):
    latents, keep = normal(ROWS, *SHAPE, seed=6), np.arange(8)[None].repeat(ROWS, 0) < 5
    sampling = Sampling(sampler, 6, strength=strength)
    rows = rows_of(reference=latents, keep=keep)
    out = run(rows, sampling)
    np.testing.assert_array_equal(out[:, :5], latents[:, :5])
    assert np.abs(out[:, 5:] - latents[:, 5:]).max() > 0.01
    assert np.isfinite(out).all()


def test_known_frames_are_noised_to_every_level_of_the_path():
    latents, keep, seen = normal(2, *SHAPE, seed=6), np.arange(8)[None].repeat(2, 0) < 5, []
    rows = rows_of(2, reference=latents, keep=keep)._replace(null=None)
    note = lambda t, x: seen.append((int(t[0]), np.asarray(x)))  # noqa: E731
    with jax.disable_jit():
        sample_latents(Toy(seen=(note,)), Sampling(steps=4, eta=0.0), {}, SCHEDULE, rows)
    assert [t for t, _ in seen] == [751, 501, 251, 1]
    for t, x in seen:
        np.testing.assert_allclose(x[:, :5], SCHEDULE.q_sample(latents, t, rows.noise)[:, :5], atol=1e-5)


def test_memory_does_not_grow_with_the_steps():
    def temporary(steps):
        lowered = jax.jit(partial(sample_latents, Toy(), Sampling(steps=steps))).lower({}, SCHEDULE, rows_of(), jnp.float32(2.5))
        return lowered.compile().memory_analysis().temp_size_in_bytes

    assert temporary(200) < temporary(5) + 8_192  # the timesteps themselves
