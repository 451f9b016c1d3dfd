"""The losses of DAC by hand, what each term sees, and what gets a gradient (note, checks 4, 6, 8, 10)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.papers.dac.latent import caption_latents
from audiojax.papers.dac.loss import Noised, diffusion_loss, noised, position_error, silenced, terms, total
from audiojax.papers.dac.model import Sound
from audiojax.papers.dac.settings import make_settings
from audiojax.papers.dac.task import make_task
from audiojax.partition import split_params
from audiojax.schedule import make_schedule
from tests.encoders.filling import fill
from tests.papers.dac.small import CLIPS, VOCAB, clip_batch, plain


@pytest.fixture(scope="module")
def variables(small_towers):
    return fill(jax.eval_shape(make_task(plain(), "diffusion", vocab_size=VOCAB).init, jax.random.key(0), {}))


@pytest.fixture(scope="module")
def batch():
    return clip_batch()


@pytest.fixture(scope="module")
def sound():
    """Six tokens a clip, of which the first clips have only some."""
    values = np.random.default_rng(1).normal(size=(CLIPS, 6, 16)).astype(np.float32)
    return Sound(values, np.arange(6)[None] < np.minimum(np.arange(CLIPS) + 2, 6)[:, None])


def latents_of(settings, variables, batch):
    return caption_latents(settings, variables["params"], variables["model_state"], batch["text_ids"], batch["text_mask"])


def test_noise_has_the_schedule_s_variance():
    """Check 4: t = -1 is clean, the last level nearly pure noise, and dilation multiplies the noise alone."""
    schedule = make_schedule("linear", 1000)
    x0 = jnp.asarray(np.random.default_rng(0).normal(size=(400, 2, 50)) * 0.5, jnp.float32)
    keys = jax.random.split(jax.random.key(0), 400)
    clean, last, middle = (noised(schedule, keys, x0, t=jnp.full(400, t)) for t in (-1, 999, 300))
    np.testing.assert_array_equal(clean.x_t, x0)
    assert abs(np.corrcoef(np.ravel(last.x_t), np.ravel(x0))[0, 1]) < 0.05
    abar = float(schedule.alpha_bar[300])
    assert float(jnp.var(middle.x_t)) == pytest.approx(abar * float(jnp.var(x0)) + 1 - abar, rel=0.02)
    wide = noised(schedule, keys, x0, dilation=4.0, t=jnp.full(400, 300))
    np.testing.assert_allclose(wide.x_t - abar**0.5 * x0, 4 * (middle.x_t - abar**0.5 * x0), rtol=1e-4, atol=1e-5)
    drawn = noised(schedule, keys, x0)
    assert drawn.t.min() < 50
    assert drawn.t.max() > 950
    assert len(np.unique(drawn.t)) > 250


def test_both_predictions_tell_the_same_x0():
    """Check 6."""
    schedule = make_schedule("linear", 1000)
    levels = np.flatnonzero(np.asarray(schedule.alpha_bar) > 1e-4)[::37].astype(np.int32)
    x0 = jnp.asarray(np.random.default_rng(0).normal(size=(len(levels), 3, 4)), jnp.float32)
    noisy = noised(schedule, jax.random.split(jax.random.key(0), len(levels)), x0, t=jnp.asarray(levels))
    eps = schedule.convert(x0, noisy.x_t, noisy.t, "x0", "eps")
    back = schedule.convert(eps, noisy.x_t, noisy.t, "eps", "x0")
    np.testing.assert_allclose(back, x0, atol=1e-4)
    np.testing.assert_allclose(eps, noisy.eps, atol=1e-2)  # at the first levels eps is the small difference of two large numbers


def test_errors_by_hand():
    output, target = jnp.array([[[3.0, 4.0]]]), jnp.zeros((1, 1, 2))
    np.testing.assert_allclose(position_error(output, target), [[12.5]])
    np.testing.assert_allclose(position_error(output, target, "l2"), [[5.0]])
    gradient = jax.grad(lambda x: jnp.sum(position_error(x, target, "l2")))(target)
    np.testing.assert_array_equal(gradient, target)


@pytest.fixture(scope="module")
def scored(settings, variables, batch):
    """The latents of the batch, and the terms of an output at a low level."""
    latents = jax.jit(lambda: latents_of(settings, variables, batch))()
    noisy = Noised(latents.x0, jnp.zeros(CLIPS, jnp.int32), jnp.zeros_like(latents.x0))
    return latents, jax.jit(lambda output: terms(settings, variables["params"], variables["model_state"], latents, noisy, output))


def test_the_terms_by_hand(settings, scored):
    latents, of = scored
    found = of(latents.x0 + 0.5)
    np.testing.assert_allclose([found["mse"], found["valid"]], 0.25, rtol=1e-5)
    np.testing.assert_allclose(total(settings, found), 0.25 + 0.2 * found["cross_entropy"] + 0.25, rtol=1e-5)


def test_valid_tokens_alone_count_in_the_last_term(scored):
    """Check 10."""
    latents, of = scored
    changed = jnp.where(latents.words[..., None], latents.x0, latents.x0 + 7)
    np.testing.assert_allclose(of(changed)["valid"], 0, atol=1e-10)
    assert of(changed)["mse"] > 1
    np.testing.assert_allclose(of(jnp.where(latents.words[..., None], changed + 1, changed))["valid"], 1.0, rtol=1e-5)


def test_cross_entropy_reaches_the_diffuser_through_the_frozen_bert(variables, batch, sound):
    """Check 10: with the other terms off, and of the towers nothing is trained."""
    config = plain("loss.valid=0.0", "loss.cross_entropy=1.0")
    settings = make_settings(config, VOCAB)
    trainable, frozen = split_params(variables["params"], config["diffusion"]["trainable"])
    assert set(trainable) == {"head", "diffuser"}
    assert set(frozen) == {"towers"}

    def objective(trainable):
        found = diffusion_loss(settings, sound, {**trainable, **frozen}, variables["model_state"], batch, jax.random.key(0))[1]
        return found["cross_entropy"]

    gradient = jax.jit(jax.grad(objective))(trainable)
    diffuser = gradient["diffuser"]
    for part in (diffuser["projection"]["project"], diffuser["denoiser"]["project_out"], gradient["head"]["transform"]):
        assert all(np.any(np.asarray(x) != 0) for x in jax.tree.leaves(part))


@pytest.mark.slow
def test_masked_tokens_of_a_clip_get_no_gradient(settings, variables, batch, sound):
    """Check 8."""

    def objective(values):
        heard = Sound(values, sound.mask)
        return diffusion_loss(settings, heard, variables["params"], variables["model_state"], batch, jax.random.key(1))[0]

    gradient = np.asarray(jax.jit(jax.grad(objective))(sound.values))
    assert np.all(gradient[~sound.mask] == 0)
    assert np.any(gradient[sound.mask] != 0)


@pytest.mark.slow
def test_clips_that_are_not_heard_are_zeros_before_the_projection(settings, variables, batch, sound):
    """Check 8: with drop_audio 1 the clip changes nothing, and everything is as if it were zeros."""
    np.testing.assert_array_equal(silenced(sound.values, np.arange(CLIPS) > 3)[:4], 0)
    deaf = make_settings(plain("loss.drop_audio=1.0"), VOCAB)
    hearing = make_settings(plain("loss.drop_audio=0.0"), VOCAB)
    state = (variables["params"], variables["model_state"], batch, jax.random.key(2))
    zeros = Sound(np.zeros_like(sound.values), sound.mask)
    values = [float(diffusion_loss(*pair, *state)[0]) for pair in ((deaf, sound), (hearing, zeros), (hearing, sound))]
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    assert abs(values[2] - values[0]) > 1e-5


@pytest.mark.slow
def test_self_conditioning_shows_the_first_guess(variables, batch, sound):
    """A coin that always falls the same way gives another loss than one that never does."""
    state = (variables["params"], variables["model_state"], batch, jax.random.key(2))
    values = [float(diffusion_loss(make_settings(plain(f"loss.self_condition={p}"), VOCAB), sound, *state)[0]) for p in (0.0, 1.0)]
    assert abs(values[0] - values[1]) > 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("override", ["noise.prediction=eps", "loss.error=l2"])
def test_other_forms_have_finite_gradients(override, variables, batch, sound):
    settings = make_settings(plain(override), VOCAB)

    def objective(diffuser):
        params = {**variables["params"], "diffuser": diffuser}
        return diffusion_loss(settings, sound, params, variables["model_state"], batch, jax.random.key(3))[0]

    value, gradient = jax.jit(jax.value_and_grad(objective))(variables["params"]["diffuser"])
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(gradient))
