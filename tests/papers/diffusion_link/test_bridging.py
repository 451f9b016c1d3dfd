"""From a sound's embedding to a text's: the published path and scale, an oracle, and every rival (note, checks 1, 2, 6, 7 and 14)."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.models.residual_mlp import ResidualMlp
from audiojax.papers.diffusion_link import FORMS, bridge_embeddings, make_settings
from audiojax.papers.diffusion_link.embeddings import from_space, to_space
from audiojax.papers.diffusion_link.fitting import fit
from audiojax.papers.diffusion_link.settings import check
from audiojax.sampling import initial_noise
from audiojax.schedule import make_schedule
from tests.encoders.filling import fill
from tests.papers.diffusion_link.small import VOCAB, WIDTH, pairs, plain, unit

CLIPS = 12
FITTED = ("none", "mean_shift", "ridge", "memory")
ALPHA_BAR = {  # of the note, at T = 1000
    "linear": {19: 0.99423, 39: 0.98065, 59: 0.95956, 79: 0.93147, 99: 0.89702, 199: 0.65904, 999: 0.00004},
    "cosine": {19: 0.99825, 39: 0.99457, 59: 0.98897, 79: 0.98147, 99: 0.97209, 199: 0.89871, 999: 0.0},
}


def bridge_of(*overrides, words="debug"):
    """(settings, parameters, what is fitted) of a bridge, and the pairs."""
    config, batch = plain("bridge.memory=10", *overrides, words=words), pairs(CLIPS)
    settings = make_settings(config, VOCAB)
    shapes = jax.eval_shape(settings.network.init, jax.random.key(0), jnp.zeros((1, WIDTH)), jnp.zeros(1, jnp.int32))
    measured = fit(settings, batch["audio_embedding"], batch["text_embedding"])
    return settings, {"bridge": fill(shapes)["params"]}, {"bridge": measured}, batch


bridged = jax.jit(bridge_embeddings, static_argnums=(0, 5))


def run(settings, params, state, embeddings, seed=0, side="audio"):
    return np.asarray(bridged(settings, params, state, embeddings, jax.random.split(jax.random.key(seed), len(embeddings)), side))


@pytest.mark.parametrize("name", ALPHA_BAR)
def test_the_schedule_is_that_of_the_note(name):
    table = make_schedule(name, 1_000).alpha_bar
    for step, value in ALPHA_BAR[name].items():
        assert table[step] == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize(("start", "grid"), [(100, [99, 79, 59, 39, 19, -1]), (1_000, [999, 799, 599, 399, 199, -1])])
def test_the_path_is_that_of_the_note(start, grid):
    assert make_settings(plain(f"bridge.start={start}"), VOCAB).grid.tolist() == grid


@pytest.mark.parametrize(("start", "steps"), [(1, 1), (100, 5), (1_000, 7)])
def test_an_oracle_is_passed_on_exactly(start, steps, monkeypatch):
    """A network that knows the texts: through the whole bridge they come out, whatever goes in."""
    settings, params, state, batch = bridge_of(f"bridge.start={start}", f"bridge.steps={steps}")
    truth = to_space(settings, state, batch["text_embedding"], "text")
    monkeypatch.setattr(ResidualMlp, "denoise", lambda self, x, modulation: truth)
    keys = jax.random.split(jax.random.key(0), CLIPS)
    for begin in ("text_embedding", "audio_embedding"):
        found = bridge_embeddings(settings, params, state, batch[begin], keys)
        np.testing.assert_allclose(found, batch["text_embedding"], atol=1e-6)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_path_by_hand(schedule):
    """DDIM in a loop of NumPy, each step with the time that it is at: x0_hat = f(x, t), then the next point between it and the noise."""
    settings, params, state, batch = bridge_of(f"noise.schedule={schedule}", "bridge.start=100", "bridge.steps=5")
    keys = jax.random.split(jax.random.key(3), CLIPS)
    bars, audio = np.asarray(settings.schedule.alpha_bar, np.float64), batch["audio_embedding"]
    eps = np.asarray(initial_noise(keys, (WIDTH,)), np.float64)
    x = np.sqrt(bars[99]) * settings.kappa * audio + np.sqrt(1 - bars[99]) * eps
    for t, following in ((99, 79), (79, 59), (59, 39), (39, 19), (19, None)):
        clean = np.asarray(settings.network.apply({"params": params["bridge"]}, np.float32(x), jnp.full(CLIPS, t)), np.float64)
        noise = (x - np.sqrt(bars[t]) * clean) / np.sqrt(1 - bars[t])
        x = clean if following is None else np.sqrt(bars[following]) * clean + np.sqrt(1 - bars[following]) * noise
    np.testing.assert_allclose(bridge_embeddings(settings, params, state, audio, keys), unit(x), atol=2e-5)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_unit_vectors_that_depend_on_their_own_row(form):
    settings, params, state, batch = bridge_of(words=f"debug,{form}")
    audio = batch["audio_embedding"]
    out = run(settings, params, state, audio)
    assert out.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), 1, atol=1e-5)
    other = audio.copy()
    other[3] = batch["text_embedding"][5]
    changed = run(settings, params, state, other)
    np.testing.assert_allclose(np.delete(changed, 3, axis=0), np.delete(out, 3, axis=0), atol=1e-5)
    np.testing.assert_allclose(run(settings, params, state, 2 * audio), out, atol=1e-5)


def test_rivals_by_hand():
    audio, text = (pairs(CLIPS)[name] for name in ("audio_embedding", "text_embedding"))
    found = {form: run(*bridge_of(words=f"debug,{form}")[:3], audio) for form in FITTED}
    np.testing.assert_allclose(found["none"], audio, atol=1e-6)
    np.testing.assert_allclose(found["mean_shift"], unit(audio - audio.mean(axis=0) + text.mean(axis=0)), atol=1e-5)
    memory = text[np.linspace(0, CLIPS - 1, 10).astype(int)]
    logits = 100 * audio @ memory.T
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(found["memory"], unit(weights @ memory), atol=1e-4)
    cosine = {form: (out * text).sum(axis=1).mean() for form, out in found.items()}
    assert cosine["ridge"] > cosine["mean_shift"] > cosine["none"]


@pytest.mark.parametrize("form", FITTED)
def test_texts_stay_as_they_are_without_a_network(form):
    settings, params, state, batch = bridge_of(words=f"debug,{form}")
    np.testing.assert_allclose(run(settings, params, state, batch["text_embedding"], side="text"), batch["text_embedding"], atol=1e-6)


def test_no_depth_is_no_bridge():
    settings, params, state, batch = bridge_of("bridge.start=0")
    np.testing.assert_allclose(run(settings, params, state, batch["audio_embedding"]), batch["audio_embedding"], atol=1e-6)


def test_the_seed_decides_the_noise():
    settings, params, state, batch = bridge_of()
    first, again, other = (run(settings, params, state, batch["audio_embedding"], seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other, atol=1e-3)


@pytest.mark.parametrize("centre", ["none", "per_modality"])
def test_the_way_back_is_exact_and_vectors_have_length_kappa(centre):
    settings, _, state, batch = bridge_of(f"bridge.centre={centre}", "bridge.scale=5.0")
    assert settings.kappa == pytest.approx(5 * (WIDTH / 512) ** 0.5)
    for side in ("audio", "text"):
        z = np.asarray(to_space(settings, state, batch[f"{side}_embedding"], side))
        assert np.sqrt((z**2).sum(axis=1).mean()) == pytest.approx(settings.kappa, rel=1e-3)
        if centre == "per_modality":
            np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(from_space(settings, state, z), batch["text_embedding"], atol=1e-5)


def test_shallow_noise_keeps_pairs_together_and_full_noise_does_not():
    settings = make_settings(plain("bridge.scale=5.0"), VOCAB)
    text = unit(np.random.default_rng(0).normal(size=(200, 512))).astype(np.float32)
    z = settings.bridge.scale * text

    def kept(step):
        eps = jax.random.normal(jax.random.key(step), z.shape)
        noised = np.asarray(settings.schedule.q_sample(z, step, eps))
        return np.mean(np.argmax(noised @ text.T, axis=1) == np.arange(200))

    assert kept(99) > 0.9
    assert kept(999) < 0.05


def test_noise_that_drowns_the_signal_is_warned_of():
    """At index 99 and a scale of 5 the noise is 0.77 times as long as the signal under cosine, 1.53 times under linear."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(plain("bridge.scale=5.0"))
        check(plain("noise.schedule=linear", "bridge.scale=5.0"))
    with pytest.warns(UserWarning, match="bridge.start = 100: the noise there is 7.7 times as long"):
        check(plain("noise.schedule=linear", "bridge.scale=1.0"))
    with pytest.warns(UserWarning, match="bridge.start = 400"):
        check(plain("bridge.start=400", "bridge.scale=5.0"))
