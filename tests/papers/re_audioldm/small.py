"""Autoencoder and vocoder of a few features with small discriminators, clips to train them on, and steps on any layout."""

from dataclasses import replace

import jax
import numpy as np

from audiojax.audio.spectral import AUDIOLDM_16K
from audiojax.config import load_config, to_dict
from audiojax.models.hifigan import HifiGan, HifiGanConfig
from audiojax.models.patch_discriminator import PatchDiscriminator, PatchDiscriminatorConfig
from audiojax.models.vae import AutoencoderKl, VaeConfig
from audiojax.models.waveform_discriminators import ScaleLayer, WaveformDiscriminatorConfig, WaveformDiscriminators
from audiojax.papers.re_audioldm import autoencoder, vocoder
from audiojax.trainer.layout import make_layout, put_batch, shardings_of, wrap_step
from audiojax.trainer.optim import make_optimizer
from audiojax.trainer.state import create_state
from audiojax.trainer.step import make_train_step

SAMPLES = 2_560
MEL = replace(AUDIOLDM_16K, n_fft=320, win_length=320, n_mels=8)
VAE = VaeConfig(channels=(4, 6), blocks=1, latent_channels=2, groups=2)
PATCHES = PatchDiscriminatorConfig(channels=3, layers=1)
HIFIGAN = HifiGanConfig(8, 8, (40, 4), (80, 8), (3,), ((1, 3),))
WAVEFORMS = WaveformDiscriminatorConfig((2, 3), (2, 3), 5, 1, (ScaleLayer(4, 15, 2, 1), ScaleLayer(4, 7, 4, 2)))
GROUPS = {"all": {"pattern": ".*", "lr": 1e-3}}


def autoencoder_settings(*, first_call: int = 0, stretch: int = 1_280, **loss: float) -> autoencoder.Settings:
    """An autoencoder that hears 8 frames of 16."""
    options = autoencoder.LossOptions(**{"kl": 3.0, "start": first_call, **loss})
    return autoencoder.Settings(AutoencoderKl(VAE), PatchDiscriminator(PATCHES), MEL, stretch, options, first_call)


def vocoder_settings(stretch: int = 1_280, **loss: float) -> vocoder.Settings:
    """A vocoder of the same log-mel."""
    return vocoder.Settings(HifiGan(HIFIGAN), WaveformDiscriminators(WAVEFORMS), MEL, stretch, vocoder.LossOptions(**loss))


def clips(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Tones of 0.16 s that fade, with noise."""
    rng, time = np.random.default_rng(seed), np.arange(SAMPLES) / 16_000
    pitch, fade = rng.uniform(300, 3_000, (count, 1)), rng.uniform(0, 20, (count, 1))
    sound = np.sin(2 * np.pi * pitch * time) * np.exp(-fade * time) + 0.01 * rng.normal(size=(count, SAMPLES))
    return {"waveform": sound.astype(np.float32)}


def plain(*overrides: str, words: str = "debug"):
    """The installed config as plain dicts."""
    return to_dict(load_config(f"re_audioldm/soundworld:{words}", overrides))


def variables_of(task):
    """Parameters and state of a task, as NumPy: a step gives away the arrays that it is handed."""
    return jax.device_get(jax.jit(task.init)(jax.random.key(0), clips(1)))


def trained(task, start, batches, *, groups=None, layout=None):
    """(state, metrics of every step) after a step on each of the batches; on one device without a layout."""
    layout = layout or make_layout("mesh", (1, 1, 1), jax.devices()[:1])
    optimizer = make_optimizer(groups or GROUPS, start["params"], 10)
    state = create_state(start["params"], start["model_state"], optimizer, jax.random.key(3))
    shardings = shardings_of(layout, (state, {}), start["params"], task.partition_rules)
    state, frozen = jax.device_put((state, {}), shardings, may_alias=False)
    step, history = wrap_step(layout, make_train_step(task, optimizer), *shardings), []
    for batch in batches:
        state, metrics = step(state, frozen, put_batch(layout, batch))
        history.append(jax.device_get(metrics))
    return jax.device_get(state.replace(key=jax.random.key_data(state.key))), history


def assert_trees_close(got, expected, tolerance=1e-4):
    """Every leaf within a share of its own length, or of a small part of the longest one's where it is nearly zero."""
    longest = max(float(np.linalg.norm(leaf)) for leaf in jax.tree.leaves(expected))
    for (path, want), have in zip(jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(got), strict=True):
        error = float(np.linalg.norm(np.asarray(have, np.float64) - np.asarray(want, np.float64)))
        assert error <= tolerance * max(float(np.linalg.norm(want)), 1e-2 * longest), jax.tree_util.keystr(path)
