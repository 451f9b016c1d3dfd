"""config.json of AudioLDM's parts as diffusers and transformers write them, for any of our configs; narrow configs and their inputs."""

import jax
import numpy as np

from audiojax.models.hifigan import HifiGan, HifiGanConfig
from audiojax.models.unet import UNetConfig
from audiojax.models.vae import VaeConfig
from tests.encoders.filling import filled_variables, mel_batch

VAE = VaeConfig(channels=(4, 8), blocks=1, latent_channels=3, groups=2, scaling_factor=0.5)
UNETS = {
    "audioldm": UNetConfig((8, 16), 1, (False, True), class_width=6, head_width=4, head_count=2, latent_channels=3, groups=4),
    "audioldm2": UNetConfig((8, 16), 1, (False, True), (None, 5, 7), None, head_width=4, head_count=2, latent_channels=3, groups=4),
    "re-audioldm": UNetConfig((8, 16), 1, (False, True), (None, 5, 7), 6, "diffusers", head_count=2, latent_channels=3, groups=4),
}
HIFIGANS = {
    "audioldm": HifiGanConfig(6, 16, (5, 4), (16, 16), (3, 5), ((1, 3), (1, 2))),
    "speecht5": HifiGanConfig(6, 16, (4, 2), (8, 4), (3, 5), ((1, 3), (1, 2)), normalize=True),
}


def with_gain(variables, gain):
    """The variables with all kernels multiplied by `gain`: at 0.5 random networks neither saturate nor magnify the rounding of bfloat16."""

    def scaled(path, leaf):
        return leaf * np.float32(gain) if path[-1].key == "kernel" else leaf

    return jax.tree_util.tree_map_with_path(scaled, variables)


def vae_facts(config):
    levels = len(config.channels)
    return {
        "_class_name": "AutoencoderKL",
        "in_channels": 1,
        "out_channels": 1,
        "act_fn": "silu",
        "block_out_channels": list(config.channels),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": config.blocks,
        "latent_channels": config.latent_channels,
        "norm_num_groups": config.groups,
        "scaling_factor": config.scaling_factor,
    }


def unet_facts(config):
    cross = config.contexts != (None,)
    attended = list(config.attended)
    facts = {
        "_class_name": "AudioLDM2UNet2DConditionModel" if cross else "UNet2DConditionModel",
        "attention_head_dim": config.head_count,
        "block_out_channels": list(config.channels),
        "cross_attention_dim": [list(config.contexts)] * len(config.channels) if cross else list(config.channels),
        "down_block_types": ["CrossAttnDownBlock2D" if level else "DownBlock2D" for level in attended],
        "up_block_types": ["CrossAttnUpBlock2D" if level else "UpBlock2D" for level in attended[::-1]],
        "mid_block_type": "UNetMidBlock2DCrossAttn",
        "in_channels": config.latent_channels,
        "out_channels": config.latent_channels,
        "layers_per_block": config.blocks,
        "norm_num_groups": config.groups,
    }
    if config.class_width:
        facts |= {
            "class_embed_type": "simple_projection",
            "class_embeddings_concat": True,
            "projection_class_embeddings_input_dim": config.class_width,
        }
    return facts


def hifigan_facts(config):
    return {
        "model_type": "hifigan",
        "model_in_dim": config.mels,
        "sampling_rate": config.sample_rate,
        "upsample_initial_channel": config.channels,
        "upsample_rates": list(config.rates),
        "upsample_kernel_sizes": list(config.kernels),
        "resblock_kernel_sizes": list(config.block_kernels),
        "resblock_dilation_sizes": [list(row) for row in config.block_dilations],
        "leaky_relu_slope": config.slope,
        "normalize_before": config.normalize,
    }


def vae_inputs(config, clips=2, frames=12, mels=8):
    """(mel, latents)."""
    size = (clips, frames // config.stride, mels // config.stride, config.latent_channels)
    return mel_batch(clips, frames, mels), np.random.RandomState(1).standard_normal(size).astype(np.float32)


def hifigan_example(config, clips=2, frames=11):
    """(module, variables, mel) whose waveforms stay away from -1 and 1."""
    module, mel = HifiGan(config), mel_batch(clips, frames, config.mels) / 4
    return module, with_gain(filled_variables(module, mel), 0.5), mel


def unet_inputs(config, rows=3, time=8, frequency=4, tokens=(5, 4)):
    """(latents, timesteps, class labels, contexts); row i of each context ends in up to i masked tokens."""
    rng = np.random.RandomState(2)

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    latents = normal(rows, time, frequency, config.latent_channels)
    timesteps = np.linspace(1, 981, rows).astype(np.int32)
    labels = normal(rows, config.class_width or 1)
    labels /= np.linalg.norm(labels, axis=1, keepdims=True)
    widths = [width for width in config.contexts if width]
    masks = [np.arange(n)[None] < np.maximum(n - np.arange(rows), 1)[:, None] for n in tokens]
    contexts = tuple((normal(rows, n, width), mask) for n, width, mask in zip(tokens, widths, masks, strict=False))
    return latents, timesteps, labels if config.class_width else None, contexts
