"""What the U-Net of the SoundWorld configs costs, by the operations that its lowered call counts."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from audiojax.config import load_config, to_dict
from audiojax.papers.re_audioldm.diffusion_settings import make_diffusion_settings


def test_a_call_costs_little_and_the_plain_form_trains_as_much():
    """Of the U-Net for two cores: at most 0.25 GFLOP a call, and steps times FLOPs within 5 % with and without retrieval."""
    work = {}
    for form in ("diffusion", "plain"):
        config = to_dict(load_config(f"re_audioldm/soundworld:base,{form}"))
        settings = make_diffusion_settings(config, 1_000)
        frames = settings.samples // (settings.mel.hop * settings.vae.config.stride)
        bins = settings.mel.n_mels // settings.vae.config.stride
        latents = jnp.zeros((1, frames, bins, settings.vae.config.latent_channels))
        labels = jnp.zeros((1, settings.clap_text.config.projection))
        tokens = [(count, width) for count, width in (settings.audio_tokens, settings.text_tokens) if count]
        contexts = tuple((jnp.zeros((1, 3 * count, width)), jnp.ones((1, 3 * count), bool)) for count, width in tokens)
        example = (latents, jnp.zeros(1, jnp.int32), labels, contexts)
        variables = jax.eval_shape(partial(settings.unet.init, train=False), jax.random.key(0), *example)
        call = jax.jit(partial(settings.unet.apply, train=False)).lower(variables, *example)
        flops = call.cost_analysis()["flops"]
        assert flops < 0.25e9
        work[form] = flops * config["diffusion"]["steps"]
    assert work["plain"] == pytest.approx(work["diffusion"], rel=0.05)
