"""Checks 13 and 14 of the note on latents, as a program, for it needs optimised code: python -m tests.papers.re_audioldm.overfit

A small U-Net learns eight clips by heart. Printed as JSON: its last losses, how far latents and log-mels drawn from noise correlate with
those of the clips, and how much the latents change when each clip is given what was retrieved for another.
"""

import json
import os

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np
import pytest

from audiojax.papers import PAPERS
from audiojax.papers.re_audioldm.autoencoder import latent_scale
from audiojax.papers.re_audioldm.conditioning import condition_of
from audiojax.papers.re_audioldm.diffusion_settings import make_diffusion_settings
from audiojax.papers.re_audioldm.inference import Rows, sample_latents
from audiojax.papers.re_audioldm.loss import moments_of
from audiojax.papers.re_audioldm.settings import Sampling
from audiojax.partition import split_params
from audiojax.trainer.optim import make_optimizer
from audiojax.trainer.state import create_state
from audiojax.trainer.step import make_train_step
from tests.papers.re_audioldm.latent_small import CLIPS, LATENTS, VOCAB, batch_of, plain, shrink, variables_of

STEPS, DOUBLED = 800, 2  # times that a clip is in a batch, at as many levels of noise
ADAM = {"pattern": ".*", "lr": 3e-3, "name": "adam", "schedule": "cosine"}


def main() -> None:
    config = plain("model.unet.channels=32", "diffusion_loss.drop=0.0")
    task, settings = PAPERS["re_audioldm"].make_task(config, "diffusion", vocab_size=VOCAB), make_diffusion_settings(config, VOCAB)
    batch, model_state = batch_of(), variables_of(config)["model_state"]
    batch["audio_moments"][..., LATENTS[2] :] = -12.0  # one latent a clip, and hardly any spread around it
    model_state["latent"]["scale"] = np.asarray(latent_scale(moments_of(batch)))
    trainable, frozen = split_params(jax.jit(task.init)(jax.random.key(0), {})["params"], "^unet/")
    optimizer = make_optimizer({"all": ADAM}, trainable, STEPS)
    step = jax.jit(make_train_step(task, optimizer), donate_argnums=0)
    many = {name: np.concatenate([x] * DOUBLED) for name, x in batch.items()}
    state, losses = create_state(trainable, model_state, optimizer, jax.random.key(1)), []
    for _ in range(STEPS):
        state, metrics = step(state, frozen, many)
        losses.append(metrics["loss"])

    params, condition = {"params": state.params["unet"]}, condition_of(settings, model_state, batch)
    noise, keys = jax.random.normal(jax.random.key(5), (CLIPS, *LATENTS)), jax.random.split(jax.random.key(6), CLIPS)
    draw = jax.jit(lambda told: sample_latents(settings.unet, Sampling(steps=50, eta=0.0), params, settings.schedule, told))
    made = np.asarray(draw(Rows(noise, keys, condition)))
    (heard, mask), text = condition.contexts
    swapped = np.asarray(draw(Rows(noise, keys, condition._replace(contexts=((heard[::-1], mask[::-1]), text)))))
    target = batch["audio_moments"][..., : LATENTS[2]]
    drawn = made / model_state["latent"]["scale"], target
    mels = [np.asarray(settings.vae.apply({"params": frozen["vae"]}, latents, train=False, method="decode")) for latents in drawn]
    mel, target_mel = (each - mels[1].mean(axis=0) for each in mels)  # without what all clips share
    found = {
        "loss": float(np.mean(losses[-100:])),
        "correlation": float(np.corrcoef(made.ravel(), target.ravel())[0, 1]),
        "mel correlation": float(np.corrcoef(mel.ravel(), target_mel.ravel())[0, 1]),
        "change": float(np.std(swapped - made) / np.std(made)),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        main()
