"""What a run is exported as, opened by diffusers: from the same first latents it makes the same sounds."""

import jax
import numpy as np
import pytest

import audiojax
from tests.api.plain_run import plain_run
from tests.encoders.filling import relative_error

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

pytestmark = [pytest.mark.parity, pytest.mark.slow]
PROMPTS, NEGATIVE, STEPS, GUIDANCE, SECONDS = ["A bell rings!", "a dog barks, then rain"], "wind", 5, 2.5, 0.64


def test_diffusers_makes_the_sounds_of_the_run(tmp_path, monkeypatch):
    run, vocoder = plain_run(tmp_path, monkeypatch)
    folder = audiojax.export(run, tmp_path / "audioldm", "safetensors", vocoder)
    maker = audiojax.load_maker(run, vocoder=vocoder, progress=False)
    plan = maker.plan(seconds=SECONDS, steps=STEPS, eta=0.0, guidance=GUIDANCE)
    samples, rows = round(SECONDS * maker.sample_rate), max(len(PROMPTS), maker.networks.layout.mesh.size)
    shape = (maker.geometry.frames(samples), maker.geometry.bins, maker.geometry.channels)
    noise = np.random.RandomState(3).standard_normal((len(PROMPTS), *shape)).astype(np.float32)
    vectors, every = maker.networks.text.embed_text([*PROMPTS, NEGATIVE]), np.resize(np.arange(len(PROMPTS)), rows)
    keys = jax.vmap(jax.random.key)(np.arange(rows, dtype=np.uint32))
    _, waveform = maker.sounds(vectors[every], np.repeat(vectors[-1:], rows, axis=0), noise[every], keys, plan)

    pipeline = diffusers.AudioLDMPipeline.from_pretrained(str(folder), local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    unasked = pipeline(prompt=PROMPTS[0], num_inference_steps=1).audios  # of no length that was asked for
    assert unasked.shape == (1, round(maker.seconds * maker.sample_rate))
    how = {"audio_length_in_s": SECONDS, "num_inference_steps": STEPS, "guidance_scale": GUIDANCE}
    latents = torch.tensor(noise.transpose(0, 3, 1, 2))
    theirs = pipeline(prompt=PROMPTS, negative_prompt=[NEGATIVE] * len(PROMPTS), latents=latents, **how).audios
    assert np.std(theirs) > 0
    assert relative_error(np.asarray(waveform)[: len(PROMPTS), :samples], theirs) < 1e-4
