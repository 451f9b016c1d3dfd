"""AudioLDM's autoencoder: the published size, diffusers' outputs from a golden file, sampling, and what batch and jit must not change."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.models.vae import PRESETS, AutoencoderKl, Moments
from tests.encoders.filling import filled_variables, relative_error
from tests.models.latent_facts import VAE, vae_inputs

GOLDEN = Path(__file__).parents[1] / "golden" / "latent.npz"


@pytest.fixture(scope="module")
def vae():
    module, (mel, latents) = AutoencoderKl(VAE), vae_inputs(VAE)
    variables = filled_variables(module, mel)
    encode = jax.jit(lambda x: module.apply(variables, x, train=False, method="encode"))
    decode = jax.jit(lambda x: module.apply(variables, x, train=False, method="decode"))
    return module, variables, mel, latents, encode, decode


def test_published_size():
    module, mel = AutoencoderKl(PRESETS["audioldm"]), jnp.zeros((2, 512, 64))
    variables = jax.eval_shape(lambda: module.init(jax.random.key(0), mel[:1, :4, :4], train=False))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 55_376_873
    moments = jax.eval_shape(lambda v: module.apply(v, mel, train=False, method="encode"), variables)
    assert moments.mean.shape == moments.logvar.shape == (2, 128, 16, 8)
    decoded = jax.eval_shape(lambda v, x: module.apply(v, x, train=False, method="decode"), variables, moments.mean)
    assert decoded.shape == (2, 512, 64)


def test_tiny_preset_takes_a_scene_to_96_frames_of_latents():
    module, mel = AutoencoderKl(PRESETS["tiny"]), jnp.zeros((1, 384, 64))
    _, moments = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), mel, train=False)[0])
    assert moments.mean.shape == (1, 96, 16, 8)


def test_outputs_of_diffusers(vae):
    """The golden file holds what diffusers' AutoencoderKL gives for these numbers; see tests/golden/make_latent.py."""
    _, _, mel, latents, encode, decode = vae
    golden, moments = np.load(GOLDEN), encode(mel)
    assert relative_error(moments.mean, golden["vae/mean"]) < 1e-4
    assert relative_error(moments.logvar, golden["vae/logvar"]) < 1e-4
    assert relative_error(decode(latents), golden["vae/decoded"]) < 1e-4


def test_rows_are_independent(vae):
    _, _, mel, latents, encode, decode = vae
    np.testing.assert_allclose(encode(mel[::-1]).mean, encode(mel).mean[::-1], atol=1e-5)
    np.testing.assert_allclose(decode(latents[::-1]), decode(latents)[::-1], atol=1e-5)


def test_samples():
    mean, logvar = np.full((1, 2, 2, 1), 3.0, np.float32), np.full((1, 2, 2, 1), np.log(4.0), np.float32)
    moments, noise = Moments(mean, logvar), np.arange(4, dtype=np.float32).reshape(1, 2, 2, 1)
    np.testing.assert_allclose(moments.sample(noise), 3 + 2 * noise, rtol=1e-6)
    np.testing.assert_array_equal(moments.mode(), mean)
    key = jax.random.key(0)
    np.testing.assert_allclose(moments.sample(key), 3 + 2 * jax.random.normal(key, mean.shape), rtol=1e-6)


def test_reconstruction_is_of_a_sample_where_noise_is_given(vae):
    module, variables, mel, latents, encode, decode = vae
    out, moments = jax.jit(lambda noise: module.apply(variables, mel, noise, train=False))(latents)
    np.testing.assert_allclose(moments.mean, encode(mel).mean, atol=1e-5)
    np.testing.assert_allclose(out, decode(encode(mel).sample(latents)), atol=1e-4)


def test_log_variances_are_clipped(vae):
    module, variables, mel, *_ = vae
    loud = jax.tree_util.tree_map_with_path(lambda path, x: 1e4 * x if "quant_conv" in str(path[1]) else x, variables)
    logvar = np.asarray(jax.jit(lambda v: module.apply(v, mel, train=False, method="encode").logvar)(loud))
    assert (logvar.min(), logvar.max()) == (-30, 20)


def test_odd_sizes_are_refused():
    module = AutoencoderKl(PRESETS["tiny"])
    with pytest.raises(ValueError, match="382 frames of 64 mel bins, and both have to be multiples of 4"):
        jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, 382, 64)), train=False))


@pytest.mark.slow
def test_gradients_are_finite():
    module = AutoencoderKl(VAE)
    mel, noise = vae_inputs(VAE)

    def loss(variables):
        out, moments = module.apply(variables, mel, noise, train=True)
        return jnp.mean((out - mel) ** 2) + jnp.mean(moments.mean**2 + jnp.exp(moments.logvar) - moments.logvar)

    for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(filled_variables(module, mel))):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 0
