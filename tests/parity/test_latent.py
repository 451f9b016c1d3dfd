"""AudioLDM's autoencoder, U-Nets and vocoder beside diffusers' and transformers' with random weights, in float32 and bfloat16."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from audiojax.models import hifigan as hifigan_model
from audiojax.models import unet as unet_model
from audiojax.models import vae as vae_model
from audiojax.pretrained import hifigan, unet, vae
from audiojax.pretrained.rules import export
from tests.encoders.filling import filled_variables, relative_error
from tests.models.latent_facts import HIFIGANS, UNETS, VAE, hifigan_example, unet_inputs, vae_inputs, with_gain

pytest.importorskip("torch")
from tests.parity import latent_reference as reference  # noqa: E402

pytestmark = pytest.mark.parity
BOUNDS = {jnp.float32: 1e-4, jnp.bfloat16: 2e-2}
GAINS = {jnp.float32: 1.0, jnp.bfloat16: 0.5}  # of a random U-Net's kernels


def assert_close(module, variables, theirs, function, dtype):
    """`function` of a module computing in `dtype`, and its variables, against torch's outputs, name by name."""
    ours = jax.jit(lambda v: function(module.clone(dtype=dtype), v))(variables)
    for name, want in theirs.items():
        assert relative_error(ours[name], want) < BOUNDS[dtype], (name, dtype)


def compare_vae(config, mel, latents):
    module = vae_model.AutoencoderKl(config)

    def ours(module, variables):
        moments = module.apply(variables, mel, train=False, method="encode")
        return moments._asdict() | {"decoded": module.apply(variables, latents, train=False, method="decode")}

    variables = filled_variables(module, mel)
    theirs = reference.vae_outputs(reference.reference_vae(config, export(variables, vae.family(config))), mel, latents)
    for dtype in BOUNDS:
        assert_close(module, variables, theirs, ours, dtype)


def compare_unet(config, inputs, gains=GAINS):
    module = unet_model.UNet(config)
    for gain in set(gains.values()):
        variables = with_gain(filled_variables(module, *inputs), gain)
        model = reference.reference_unet(config, export(variables, unet.family(config)))
        theirs = {"noise": reference.unet_outputs(model, *inputs)}
        for dtype in (dtype for dtype in gains if gains[dtype] == gain):
            assert_close(module, variables, theirs, lambda m, v: {"noise": m.apply(v, *inputs, train=False)}, dtype)


def compare_hifigan(config, frames):
    module, variables, mel = hifigan_example(config, frames=frames)
    model = reference.reference_hifigan(config, export(variables, hifigan.family(config)))
    theirs = {"waveform": reference.waveforms(model, mel)}
    for dtype in BOUNDS:
        assert_close(module, variables, theirs, lambda m, v: {"waveform": m.apply(v, mel, train=False)}, dtype)


def test_vae_small():
    compare_vae(VAE, *vae_inputs(VAE))


def test_vae_tiny_preset():
    config = vae_model.PRESETS["tiny"]
    compare_vae(config, *vae_inputs(config, 2, 96, 64))


@pytest.mark.parametrize("heads", ["trained", "diffusers"])
@pytest.mark.parametrize("name", UNETS)
def test_unet_small(name, heads):
    config = replace(UNETS[name], heads=heads, head_width=4)
    compare_unet(config, unet_inputs(config))


def test_unet_tiny_preset():
    config = unet_model.PRESETS["tiny"]
    compare_unet(config, unet_inputs(config, 2, 16, 16, (20, 7)))


@pytest.mark.parametrize("name", HIFIGANS)
def test_hifigan_small(name):
    compare_hifigan(HIFIGANS[name], 11)


def test_hifigan_tiny_preset():
    compare_hifigan(hifigan_model.PRESETS["tiny"], 20)


@pytest.mark.slow
def test_vae_published_size():
    config = vae_model.PRESETS["audioldm"]
    compare_vae(config, *vae_inputs(config, 1, 128, 64))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dtypes"), [("audioldm-s", tuple(GAINS)), ("re-audioldm", (jnp.float32,))])
def test_unet_published_size(name, dtypes):
    config = unet_model.PRESETS[name]
    compare_unet(config, unet_inputs(config, 2, 32, 16, (24, 50)), dict.fromkeys(dtypes, 0.5))  # one drawing of so many weights is enough


@pytest.mark.slow
@pytest.mark.parametrize("name", ["audioldm", "speecht5"])
def test_hifigan_published_size(name):
    compare_hifigan(hifigan_model.PRESETS[name], 40)
