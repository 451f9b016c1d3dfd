"""Sounds beside diffusers' AudioLDMPipeline, which opens the same folder of random weights, from the same first latents."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from audiojax.api.making import maker_parts
from audiojax.api.making.wishes import Plan
from audiojax.encoders.clap import ClapTextConfig
from audiojax.models import hifigan, unet, vae
from audiojax.papers.re_audioldm.settings import Sampling
from audiojax.trainer.layout import make_layout
from tests.api.maker_folder import write_pipeline
from tests.encoders.filling import relative_error

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

pytestmark = pytest.mark.parity
PROMPTS, NEGATIVE = ["a dog barks twice", "rain"], "a bell rings"
BOUND = 1e-4


def reference(folder, noise, seconds, steps, guidance):
    """(log-mels, waveforms) of diffusers; noise as in our layout."""
    pipeline = diffusers.AudioLDMPipeline.from_pretrained(str(folder), local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    mels, decode = [], pipeline.decode_latents
    pipeline.decode_latents = lambda latents: mels.append(decode(latents)) or mels[-1]
    texts = {"prompt": PROMPTS, "negative_prompt": [NEGATIVE] * len(PROMPTS)} if guidance > 1 else {"prompt": PROMPTS}
    latents = torch.tensor(noise.transpose(0, 3, 1, 2))
    out = pipeline(**texts, audio_length_in_s=seconds, num_inference_steps=steps, guidance_scale=guidance, latents=latents)
    return mels[0][:, 0].numpy(), out.audios


def compare(folder, seconds, steps, guidance):
    maker = maker_parts.open_maker(folder, heads="diffusers", progress=False)
    samples, rows = round(seconds * maker.sample_rate), max(len(PROMPTS), maker.networks.layout.mesh.size)
    shape = (maker.geometry.frames(samples), maker.geometry.bins, maker.geometry.channels)
    noise = np.random.RandomState(3).standard_normal((len(PROMPTS), *shape)).astype(np.float32)
    vectors = maker.networks.text.embed_text([*PROMPTS, NEGATIVE])
    every = np.resize(np.arange(len(PROMPTS)), rows)  # as many rows as there are devices
    plan = Plan(Sampling(steps=steps, eta=0.0), guidance)
    keys = jax.vmap(jax.random.key)(np.arange(rows, dtype=np.uint32))
    null = np.repeat(vectors[-1:], rows, axis=0)
    mel, waveform = maker.sounds(vectors[every], null, noise[every], keys, plan)
    mel, waveform = np.asarray(mel)[: len(PROMPTS)], np.asarray(waveform)[: len(PROMPTS), :samples]
    their_mel, their_waveform = reference(folder, noise, seconds, steps, guidance)
    errors = relative_error(mel, their_mel), relative_error(waveform, their_waveform)
    print("relative errors of log-mel and waveform:", errors)
    assert max(errors) < BOUND
    assert np.std(their_mel) > 0.01
    assert np.std(their_waveform) > 1e-3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_pipeline(tmp_path_factory.mktemp("audioldm") / "pipeline")


@pytest.mark.parametrize("guidance", [3.5, pytest.param(1.0, marks=pytest.mark.slow)])
def test_a_narrow_pipeline(folder, guidance):
    compare(folder, 0.24, 20, guidance)


@pytest.mark.slow
def test_the_published_size(tmp_path, monkeypatch):
    monkeypatch.setattr(maker_parts, "make_layout", partial(make_layout, devices=jax.devices()[:1]))  # eight copies would be 9 GB
    text = ClapTextConfig()
    text = replace(text, text=replace(text.text, layers=2, vocab_size=None))
    parts = (unet.PRESETS["audioldm-s"], replace(vae.PRESETS["audioldm"], scaling_factor=0.9228), hifigan.PRESETS["audioldm"])
    compare(write_pipeline(tmp_path / "pipeline", text, *parts), 0.64, 20, 3.5)
