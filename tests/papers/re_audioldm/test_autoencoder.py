"""The phase "autoencoder": whose gradient is whose, the adaptive weight, layouts, learning, the scale of the latents, bad config."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiojax.audio.spectral import log_mel
from audiojax.collectives import example_keys
from audiojax.errors import UsageError
from audiojax.losses.adversarial import hinge_discriminator_loss
from audiojax.models.patch_discriminator import judge
from audiojax.models.vae import Moments
from audiojax.papers import PAPERS
from audiojax.papers.re_audioldm import autoencoder
from audiojax.papers.re_audioldm.autoencoder import drawn, latent_scale
from audiojax.papers.re_audioldm.hearing import levelled, random_stretch
from audiojax.trainer.layout import make_layout
from tests.papers.re_audioldm.small import (
    GROUPS,
    SAMPLES,
    assert_trees_close,
    autoencoder_settings,
    clips,
    plain,
    trained,
    variables_of,
)

SGD = {"all": {"pattern": ".*", "lr": 1e-3, "name": "sgd"}}


@cache
def start():
    return variables_of(autoencoder.task_of(autoencoder_settings()))


def gradients(settings, model_state):
    """(gradients, metrics, state afterwards) of the loss on four clips."""

    def objective(params):
        return autoencoder.loss(settings, params, model_state, clips(4), jax.random.key(1))

    (_, (after, found)), grads = jax.jit(jax.value_and_grad(objective, has_aux=True))(start()["params"])
    return grads, found, after


@cache
def started():
    return gradients(autoencoder_settings(adversarial=0.5), start()["model_state"])


@cache
def by_hand():
    """The same losses, one by one, differentiated through the whole decoder."""
    settings, params = autoencoder_settings(), start()["params"]
    stretch_keys, noise_keys = (example_keys(key, 4) for key in jax.random.split(jax.random.key(1)))
    x = log_mel(random_stretch(stretch_keys, levelled(clips(4)["waveform"]), settings.stretch), settings.mel)

    def parts(trained):
        moments = settings.vae.apply({"params": trained["vae"]}, x, train=True, method="encode")
        z = drawn(moments, noise_keys)
        return settings.vae.apply({"params": trained["vae"]}, z, train=True, method="decode"), moments

    def nll(trained):
        x_hat, s = parts(trained)[0], trained["loss"]["log_scale"]
        return jnp.sum(jnp.abs(x - x_hat) / jnp.exp(s) + s) / 4

    def kl(trained):
        mean, logvar = parts(trained)[1]
        return jnp.mean(0.5 * (mean**2 + jnp.exp(logvar) - 1 - logvar))

    def deceived(trained):
        return -jnp.mean(judge(settings.discriminator, params["discriminator"], parts(trained)[0]))

    def caught(discriminator):
        logits = [judge(settings.discriminator, discriminator, mel) for mel in (x, parts(params)[0])]
        return jnp.mean(hinge_discriminator_loss(*logits))

    generator = {name: params[name] for name in ("vae", "loss")}
    terms = {"nll": nll, "kl": kl, "deceived": deceived}

    def all_of_them():
        found = {name: jax.grad(term)(generator) for name, term in terms.items()}
        return found | {"caught": jax.grad(caught)(params["discriminator"])}

    return jax.jit(all_of_them)()


def test_the_adaptive_weight_is_the_ratio_at_the_last_layer():
    nll, deceived = (np.linalg.norm(by_hand()[name]["vae"]["decoder"]["conv_out"]["kernel"]) for name in ("nll", "deceived"))
    assert float(started()[1]["weight"]) == pytest.approx(0.5 * nll / (deceived + 1e-4), rel=1e-3)


def test_each_side_has_the_gradient_of_its_own_loss():
    grads, found, after = started()
    found, terms = jax.device_get(found), by_hand()
    expected = jax.tree.map(lambda a, b, c: a + 3.0 * b + found["weight"] * c, terms["nll"], terms["kl"], terms["deceived"])
    assert_trees_close({name: grads[name] for name in ("vae", "loss")}, expected, 1e-3)
    assert_trees_close(grads["discriminator"], terms["caught"], 1e-3)
    assert int(after["calls"]) == 1


@pytest.mark.slow
def test_the_discriminator_waits_for_its_step():
    settings = autoencoder_settings(first_call=5)
    grads, found, _ = gradients(settings, {"calls": jnp.int32(4)})
    assert float(found["weight"]) == 0.0
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(grads["discriminator"]))
    expected = jax.tree.map(lambda a, b: a + 3.0 * b, by_hand()["nll"], by_hand()["kl"])
    assert_trees_close({name: grads[name] for name in ("vae", "loss")}, expected, 1e-3)
    value, (_, found) = jax.jit(lambda calls: autoencoder.loss(settings, start()["params"], {"calls": calls}, clips(4), jax.random.key(1)))(
        5
    )
    assert float(found["weight"]) > 0
    nll = autoencoder_settings().mel.frame_count(settings.stretch) * 8 * float(found["reconstruction"])
    parts = 3.0 * found["kl"] + found["weight"] * found["generator"] + found["discriminator"]
    assert float(value) == pytest.approx(nll + float(parts), rel=1e-4)


def test_accumulated_steps_are_counted_as_one():
    config = plain("train.accumulate=4", "loss.autoencoder.start=10")
    assert autoencoder.make_settings(config).first_call == 40


@pytest.mark.slow
@pytest.mark.parametrize(("parallel", "sizes"), [("pmap", (-1, 1, 1)), ("mesh", (2, 2, 2)), ("mesh", (1, 8, 1))])
def test_layouts_agree(parallel, sizes):
    """The weight and the norms of the discriminator are those of the global batch."""
    task, batches = autoencoder.task_of(autoencoder_settings()), [clips(8)]
    kinds = jax.tree.map(lambda x: x.dtype, start()["model_state"])
    expected, history = trained(task, start(), batches, groups=SGD)
    got, other = trained(task, start(), batches, groups=SGD, layout=make_layout(parallel, sizes))
    assert kinds == jax.tree.map(lambda x: x.dtype, got.model_state)
    moved = [jax.tree.map(lambda a, b: a - b, state.params, start()["params"]) for state in (got, expected)]
    assert_trees_close(*moved, 1e-3)
    assert {name: float(value) for name, value in other[0].items()} == pytest.approx(
        {name: float(value) for name, value in history[0].items()}, rel=1e-3, abs=1e-5
    )


@pytest.mark.slow
def test_a_clip_is_learned_and_the_same_steps_give_the_same_numbers():
    task = autoencoder.task_of(autoencoder_settings(first_call=20, stretch=SAMPLES))
    groups = {"all": {**GROUPS["all"], "lr": 1e-2}}
    state, history = trained(task, start(), [clips(1)] * 40, groups=groups)
    assert history[-1]["reconstruction"] < 0.5 * history[0]["reconstruction"]
    assert history[19]["weight"] == 0 < history[20]["weight"]
    before, after = (
        task.metrics(None, jax.device_get(jax.jit(task.predict)(params, {}, clips(1))), None)
        for params in (start()["params"], state.params)
    )
    assert after["reconstruction/error"] < 0.5 * before["reconstruction/error"]
    assert after["reconstruction/explained"] > before["reconstruction/explained"]
    again, _ = trained(task, start(), [clips(1)] * 40, groups=groups)
    jax.tree.map(np.testing.assert_array_equal, again.params, state.params)


def test_predictions_of_a_clip_are_its_own():
    task, params = autoencoder.task_of(autoencoder_settings()), start()["params"]
    together = jax.jit(task.predict)(params, {}, clips(3))
    alone = task.predict(params, {}, {"waveform": clips(3)["waveform"][1:2]})
    for name, values in together.items():
        assert values.shape == (3,)
        np.testing.assert_allclose(values[1:2], alone[name], rtol=1e-4, atol=1e-6)


def test_metrics_are_those_of_the_latents_that_are_drawn():
    """From the formulas: moments all alike, KL of two channels a pixel."""
    predictions = {"error": np.array([0.2, 0.4]), "blind": np.array([1.0, 0.5]), "kl": np.array([1.0, 2.0])}
    predictions |= {"latent_mean": np.array([1.0, 3.0]), "latent_square": np.array([5.0, 11.0])}
    found = autoencoder.metrics(None, predictions, None)
    assert found == pytest.approx(
        {"reconstruction/error": 0.3, "reconstruction/explained": 0.6, "latents/kl": 1.5, "latents/std": 2.0}, rel=1e-6
    )


@given(st.floats(0.05, 20.0), st.floats(-3.0, 3.0), st.floats(-8.0, 2.0))
def test_scaled_latents_have_unit_deviation(deviation, offset, logvar):
    rng = np.random.default_rng(0)
    mean = jnp.asarray(offset + deviation * rng.normal(size=(40, 25, 10, 2)), jnp.float32)
    moments = Moments(mean, jnp.full_like(mean, logvar))
    z = np.asarray(moments.sample(jnp.asarray(rng.normal(size=mean.shape), jnp.float32)))
    assert np.std(float(latent_scale(moments)) * z) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("phases=('autoencoder','vocoder')", "each is a run of its own"),
        ("phases=('vae',)", "config key 'phases' is 'vae'; it takes one of autoencoder, vocoder"),
        ("model.vae_preset=big", "config key 'model.vae_preset' is 'big'; it takes one of audioldm"),
        ("model.patch_preset=big", "model.patch_preset"),
        ("loss.autoencoder.kl=-1.0", "config key 'loss.autoencoder.kl' is -1.0; it takes 0 or more"),
        ("loss.autoencoder.start=-1", "loss.autoencoder.start"),
        ("stretch.autoencoder=61_441", "stretch.autoencoder' is 61441; it takes 1 to the 61440 samples of a clip"),
        ("stretch.autoencoder=400", "stretch.autoencoder': a clip of 400 samples is too short"),
        (
            "stretch.autoencoder=20_000",
            "20000 samples are 125 frames of 64 mel bins, and the autoencoder 'soundworld' takes multiples of 8",
        ),
        ("data.seconds=3.85", "data.seconds': 61600 samples are 385 frames"),
        ("data.sample_rate=32_000", "'data.sample_rate' is 32000; AudioLDM's log-mels are of 16000 Hz"),
    ],
)
def test_bad_config_is_refused(override, message):
    with pytest.raises(UsageError, match=message):
        PAPERS["re_audioldm"].check(plain(override))


@pytest.mark.parametrize("arg", ["big", "mini,base", "mini,autoencoder,vocoder"])
def test_a_bad_argument_names_the_good_ones(arg):
    with pytest.raises(UsageError, match="takes one of mini, base, debug"):
        plain(words=arg)
