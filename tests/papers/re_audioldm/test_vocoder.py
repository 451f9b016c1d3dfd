"""The phase "vocoder": whose gradient is whose, layouts, learning, plain kernels for public layouts, bad config."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.audio.spectral import log_mel
from audiojax.errors import UsageError
from audiojax.papers import PAPERS
from audiojax.papers.re_audioldm import vocoder
from audiojax.papers.re_audioldm.hearing import levelled
from audiojax.papers.re_audioldm.vocoder import discriminator_params, generator_params
from audiojax.trainer.layout import make_layout
from tests.papers.re_audioldm.small import HIFIGAN, SAMPLES, assert_trees_close, clips, plain, trained, variables_of, vocoder_settings

SGD = {"all": {"pattern": ".*", "lr": 1e-3, "name": "sgd"}}


@cache
def start():
    return variables_of(vocoder.task_of(vocoder_settings(SAMPLES)))


def loss_terms(params, *, mel=0.0, features=0.0):
    """(loss, what it reports) on two whole clips, whose stretch is not drawn."""
    settings = vocoder_settings(SAMPLES, mel=mel, features=features)
    value, (_, found) = vocoder.loss(settings, params, start()["model_state"], clips(2), jax.random.key(1))
    return value, found


def sides(params):
    """[adversarial loss of the generator, loss of the discriminators, feature matching], from their formulas."""
    settings = vocoder_settings(SAMPLES)

    y = levelled(clips(2)["waveform"])
    y_hat = settings.vocoder.apply({"params": generator_params(params)}, log_mel(y, settings.mel), train=True)
    judges, _ = discriminator_params(params, start()["model_state"])
    real, made = (settings.discriminators.apply({"params": judges}, x) for x in (y, y_hat))
    pairs = list(zip(real, made, strict=True))
    return jnp.stack(
        [
            sum(jnp.mean((m.logits - 1) ** 2) for _, m in pairs),
            sum(jnp.mean((r.logits - 1) ** 2) + jnp.mean(m.logits**2) for r, m in pairs),
            sum(jnp.mean(jnp.abs(a - b)) for r, m in pairs for a, b in zip(r.features, m.features, strict=True)),
        ]
    )


@cache
def by_hand():
    """Their values, and their gradients with respect to all parameters, nothing being held fixed."""
    values, jacobian = jax.jit(lambda p: (sides(p), jax.jacrev(sides)(p)))(start()["params"])
    return values, [jax.tree.map(lambda x, i=i: x[i], jacobian) for i in range(3)]


def test_each_side_has_the_gradient_of_its_own_loss():
    grads, found = jax.jit(jax.grad(lambda p: loss_terms(p, features=2.0), has_aux=True))(start()["params"])
    values, (generator, discriminators, features) = by_hand()
    expected = jax.tree.map(lambda a, b: a + 2.0 * b, generator["vocoder"], features["vocoder"])
    assert_trees_close(grads["vocoder"], expected, 1e-3)
    assert_trees_close(grads["discriminators"], discriminators["discriminators"], 1e-3)
    reported = [float(found[name]) for name in ("generator", "discriminators", "features")]
    np.testing.assert_allclose(reported, values, rtol=1e-4)


def test_plain_kernels_are_those_of_the_start_and_have_the_generators_shapes():
    params = start()["params"]["vocoder"]
    for ours, theirs in zip(jax.tree.leaves(generator_params(start()["params"])), jax.tree.leaves(params["direction"]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-8)
    assert params["gain"]["up_0"]["kernel"].shape == (1, HIFIGAN.channels, 1)
    assert params["gain"]["conv_pre"]["kernel"].shape == (1, 1, HIFIGAN.channels)
    judges = start()["params"]["discriminators"]
    assert set(judges["direction"]) == {"period_2", "period_3", "scale_0"}
    assert set(judges["gain"]) == {"period_2", "period_3"}
    assert set(start()["model_state"]["spectral"]) == {"scale_0"}


@pytest.mark.slow
@pytest.mark.parametrize(("parallel", "sizes"), [("pmap", (-1, 1, 1)), ("mesh", (2, 2, 2)), ("mesh", (1, 8, 1))])
def test_layouts_agree(parallel, sizes):
    task, batches = vocoder.task_of(vocoder_settings()), [clips(8)]
    expected, history = trained(task, start(), batches, groups=SGD)
    got, other = trained(task, start(), batches, groups=SGD, layout=make_layout(parallel, sizes))
    moved = [jax.tree.map(lambda a, b: a - b, state.params, start()["params"]) for state in (got, expected)]
    assert_trees_close(*moved, 1e-2)
    assert_trees_close(got.model_state, expected.model_state)
    assert float(other[0]["loss"]) == pytest.approx(float(history[0]["loss"]), rel=1e-4)


@pytest.mark.slow
def test_a_clip_is_learned():
    task = vocoder.task_of(vocoder_settings(SAMPLES))
    groups = {"all": {"pattern": ".*", "lr": 3e-3, "b1": 0.8, "b2": 0.99}}
    state, history = trained(task, start(), [clips(1)] * 60, groups=groups)
    assert history[-1]["mel_error"] < 0.5 * history[0]["mel_error"]
    before, after = (
        task.metrics(None, jax.device_get(jax.jit(task.predict)(params, {}, clips(1))), None)
        for params in (start()["params"], state.params)
    )
    assert after["mel/error"] < 0.5 * before["mel/error"]
    assert after["mel/explained"] > before["mel/explained"]


def test_predictions_of_a_clip_are_its_own():
    task, params = vocoder.task_of(vocoder_settings()), start()["params"]
    together = jax.jit(task.predict)(params, {}, clips(3))
    alone = task.predict(params, {}, {"waveform": clips(3)["waveform"][1:2]})
    for name, values in together.items():
        assert values.shape == (3,)
        np.testing.assert_allclose(values[1:2], alone[name], rtol=1e-3)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.vocoder_preset=big", "config key 'model.vocoder_preset' is 'big'"),
        ("model.vocoder_preset=speecht5", "model.vocoder_preset': this one normalises log-mels by statistics, and none are measured"),
        ("model.waveform_preset=big", "config key 'model.waveform_preset' is 'big'; it takes one of hifigan, tiny"),
        ("loss.vocoder.mel=-45.0", "config key 'loss.vocoder.mel' is -45.0; it takes 0 or more"),
        ("stretch.vocoder=0", "stretch.vocoder' is 0; it takes 1 to the 61440 samples of a clip"),
        ("stretch.vocoder=300", "stretch.vocoder': a clip of 300 samples is too short"),
        ("stretch.vocoder=8_250", "stretch.vocoder' is 8250, and its 51 frames become 8192 samples; take 8192"),
    ],
)
def test_bad_config_is_refused(override, message):
    with pytest.raises(UsageError, match=message):
        PAPERS["re_audioldm"].check(plain(override, words="debug,vocoder"))
