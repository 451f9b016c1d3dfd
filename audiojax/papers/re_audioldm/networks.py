"""What a config says of autoencoder and vocoder, as modules, and of the log-mel that the two share."""

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

from audiojax.audio.spectral import AUDIOLDM_16K, MelConfig
from audiojax.errors import UsageError
from audiojax.models import hifigan, patch_discriminator, vae, waveform_discriminators
from audiojax.models.hifigan import HifiGan, HifiGanConfig
from audiojax.models.patch_discriminator import PatchDiscriminator
from audiojax.models.vae import AutoencoderKl
from audiojax.models.waveform_discriminators import WaveformDiscriminators
from audiojax.papers.options import dtype_of
from audiojax.papers.task import choice


def vae_of(config: Mapping[str, Any]) -> AutoencoderKl:
    """The autoencoder that `model.vae_preset` names. UsageError for an unknown one."""
    return AutoencoderKl(vae.PRESETS[choice("model.vae_preset", config["model"]["vae_preset"], vae.PRESETS)], dtype=dtype_of(config))


def vocoder_of(config: Mapping[str, Any]) -> HifiGan:
    """The vocoder that `model.vocoder_preset` names. UsageError for an unknown one."""
    presets = hifigan.PRESETS
    return HifiGan(presets[choice("model.vocoder_preset", config["model"]["vocoder_preset"], presets)], dtype=dtype_of(config))


def mel_of(config: Mapping[str, Any]) -> MelConfig:
    """AudioLDM's log-mel, with the bins and the hop of the vocoder.

    Raises:
      UsageError: data at another rate than its 16 kHz, or as `mel_for`.
    """
    if (rate := config["data"]["sample_rate"]) != AUDIOLDM_16K.sample_rate:
        raise UsageError(f"config key 'data.sample_rate' is {rate}; AudioLDM's log-mels are of {AUDIOLDM_16K.sample_rate} Hz")
    return mel_for(vocoder_of(config).config)


def mel_for(vocoder: HifiGanConfig) -> MelConfig:
    """AudioLDM's log-mel, with the bins and the hop of a vocoder. UsageError for a vocoder at another rate than its, or with an odd hop."""
    if vocoder.sample_rate != AUDIOLDM_16K.sample_rate:
        raise UsageError(f"a vocoder for {vocoder.sample_rate} Hz; AudioLDM's log-mels are of {AUDIOLDM_16K.sample_rate} Hz")
    hop = prod(vocoder.rates)
    try:
        return replace(AUDIOLDM_16K, n_mels=vocoder.mels, hop=hop)
    except ValueError as error:
        raise UsageError(f"a vocoder of {hop} samples a frame: {error}") from error


def patch_discriminator_of(config: Mapping[str, Any]) -> PatchDiscriminator:
    """The discriminator of spectrograms that `model.patch_preset` names. UsageError for an unknown one."""
    presets = patch_discriminator.PRESETS
    return PatchDiscriminator(presets[choice("model.patch_preset", config["model"]["patch_preset"], presets)], dtype=dtype_of(config))


def waveform_discriminators_of(config: Mapping[str, Any]) -> WaveformDiscriminators:
    """The discriminators of waveforms that `model.waveform_preset` names. UsageError for an unknown one."""
    presets = waveform_discriminators.PRESETS
    name = choice("model.waveform_preset", config["model"]["waveform_preset"], presets)
    return WaveformDiscriminators(presets[name], dtype=dtype_of(config))


def clip_samples(config: Mapping[str, Any]) -> int:
    """Samples of a clip as the batches have it."""
    return round(config["data"]["seconds"] * config["data"]["sample_rate"])


def check_latent_grid(config: Mapping[str, Any], key: str, samples: int) -> None:
    """Raises UsageError unless the log-mel of so many samples makes whole latent pixels.

    Args:
      key: of the config, which says how many.
    """
    mel, stride = mel_of(config), vae_of(config).config.stride
    try:
        frames = mel.frame_count(samples)
    except ValueError as error:
        raise UsageError(f"config key '{key}': {error}") from error
    if frames % stride or mel.n_mels % stride:
        name = config["model"]["vae_preset"]
        raise UsageError(
            f"config key '{key}': {samples} samples are {frames} frames of {mel.n_mels} mel bins, and the autoencoder '{name}' takes"
            f" multiples of {stride} of both"
        )
