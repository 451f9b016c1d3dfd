"""HiFi-GAN: the published size and lengths, transformers' outputs from a golden file, and what batch, jit and padding must not change."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.models.hifigan import PRESETS, HifiGan
from tests.encoders.filling import relative_error
from tests.models.latent_facts import HIFIGANS, hifigan_example

GOLDEN = Path(__file__).parents[1] / "golden" / "latent.npz"


@pytest.fixture(scope="module", params=HIFIGANS)
def vocoder(request):
    module, variables, mel = hifigan_example(HIFIGANS[request.param])
    return request.param, module, variables, mel, jax.jit(lambda v, x: module.apply(v, x, train=False))


def test_published_size_and_lengths():
    config = PRESETS["audioldm"]
    module = HifiGan(config)
    out, variables = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), jnp.zeros((2, 512, 64)), train=False))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 55_264_897
    assert out.shape == (2, 81_952)
    assert [config.samples(frames) for frames in (1, 512, 1024)] == [192, 81_952, 163_872]


def test_outputs_of_transformers(vocoder):
    """The golden file holds what transformers' SpeechT5HifiGan gives for these numbers; see tests/golden/make_latent.py."""
    name, module, variables, mel, generate = vocoder
    waveform = generate(variables, mel)
    assert waveform.shape == (2, module.config.samples(11))
    assert np.median(np.abs(waveform)) < 0.95  # not lost in the ends of tanh
    assert relative_error(waveform, np.load(GOLDEN)[f"hifigan/{name}"]) < 1e-4


def test_rows_are_independent(vocoder):
    _, _, variables, mel, generate = vocoder
    np.testing.assert_allclose(generate(variables, mel[::-1]), generate(variables, mel)[::-1], atol=1e-5)


def test_mean_and_scale_are_those_of_the_spectrogram(vocoder):
    _, module, variables, mel, generate = vocoder
    if not module.config.normalize:
        assert set(variables) == {"params"}
        return
    level = variables | {"batch_stats": {"mel_mean": np.zeros(6, np.float32), "mel_scale": np.ones(6, np.float32)}}
    mean, scale = (variables["batch_stats"][name][None, None] for name in ("mel_mean", "mel_scale"))
    np.testing.assert_allclose(generate(level, (mel - mean) / scale), generate(variables, mel), atol=1e-5)


def test_jit_equals_no_jit():
    module, variables, mel = hifigan_example(HIFIGANS["audioldm"], 1, 3)
    jitted = jax.jit(lambda v: module.apply(v, mel, train=False))(variables)
    np.testing.assert_allclose(module.apply(variables, mel, train=False), jitted, atol=1e-5)


@pytest.mark.slow
def test_gradients_are_finite():
    module, variables, mel = hifigan_example(HIFIGANS["audioldm"], 1, 4)
    gradients = jax.jit(jax.grad(lambda v: jnp.sum(module.apply(v, mel, train=True) ** 2)))(variables)
    for leaf in jax.tree.leaves(gradients):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 0


def test_other_mel_bins_are_refused():
    with pytest.raises(ValueError, match="80 mel bins, and this vocoder takes 64"):
        jax.eval_shape(lambda: HifiGan().init(jax.random.key(0), jnp.zeros((1, 4, 80)), train=False))
