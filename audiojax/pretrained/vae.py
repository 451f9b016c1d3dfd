"""AudioLDM's autoencoder in the layout of diffusers (AutoencoderKL), also with the names of its first versions, and in the authors'."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from audiojax.models.vae import AutoencoderKl, VaeConfig
from audiojax.pretrained.kinds import Checkpoint, Kind, Public, Shapes, expect, number, size, sizes
from audiojax.pretrained.rules import Family, Layout, Row
from audiojax.towers.latent import VaeTower


class PointwiseLayout(Layout):
    """Linear map stored as a 1x1 convolution: theirs [out, in, 1, 1], ours [in, out]."""

    def __init__(self):
        super().__init__(axes=(1, 0))

    def to_ours(self, theirs: np.ndarray) -> np.ndarray:
        return theirs[:, :, 0, 0].T

    def to_theirs(self, ours: np.ndarray) -> np.ndarray:
        return ours.T[:, :, None, None]

    def their_shape(self, ours: Sequence[int]) -> tuple[int, ...]:
        return (ours[1], ours[0], 1, 1)


ROWS = (
    Row(r"((?:post_)?quant_conv)/(\w+)", r"\1.\2"),
    Row(r"(encoder|decoder)/(conv_in|conv_out)/(\w+)", r"\1.\2.\3"),
    Row(r"(encoder|decoder)/norm_out/(\w+)", r"\1.conv_norm_out.\2"),
    Row(r"(encoder|decoder)/(down|up)_(\d+)_(\d+)/shortcut/(\w+)", r"\1.\2_blocks.\3.resnets.\4.conv_shortcut.\5"),
    Row(r"(encoder|decoder)/(down|up)_(\d+)_(\d+)/([a-z]+\d)/(\w+)", r"\1.\2_blocks.\3.resnets.\4.\5.\6"),
    Row(r"(encoder|decoder)/(down|up)sample_(\d+)/(\w+)", r"\1.\2_blocks.\3.\2samplers.0.conv.\4"),
    Row(r"(encoder|decoder)/middle/residual_(\d)/([a-z]+\d)/(\w+)", r"\1.mid_block.resnets.\2.\3.\4"),
    Row(r"(encoder|decoder)/middle/attention_norm/(\w+)", r"\1.mid_block.attentions.0.group_norm.\2"),
)
PLACES = {"query": "to_q", "key": "to_k", "value": "to_v", "out": "to_out.0"}
ATTENTION = r"(encoder|decoder)/middle/attention"
OLD_NAMES = tuple(
    (rf"(\.mid_block\.attentions\.0)\.{'proj_attn' if ours == 'out' else ours}\.", rf"\1.{theirs}.") for ours, theirs in PLACES.items()
)
FIXED: Mapping[str, Any] = {  # what config.json may say of which ours has one form alone
    "in_channels": 1,
    "out_channels": 1,
    "act_fn": "silu",
    "mid_block_add_attention": True,
    "use_quant_conv": True,
    "use_post_quant_conv": True,
    "shift_factor": None,
    "latents_mean": None,
    "latents_std": None,
}
BESIDE = (r"vocoder\..*", r"loss\..*")  # what the authors keep in the same module


def attention_rows(layout: Layout | None) -> tuple[Row, ...]:
    """The middle's attention, with kernels laid out so."""
    kernels = tuple(
        Row(rf"{ATTENTION}/{ours}/kernel", rf"\1.mid_block.attentions.0.{theirs}.kernel", layout) for ours, theirs in PLACES.items()
    )
    return kernels + tuple(Row(rf"{ATTENTION}/{ours}/bias", rf"\1.mid_block.attentions.0.{theirs}.bias") for ours, theirs in PLACES.items())


def family(_: VaeConfig) -> Family:
    """The table of an autoencoder."""
    return Family("AutoencoderKL", ROWS + attention_rows(None), renames=OLD_NAMES)


def original_family(config: VaeConfig) -> Family:
    """The table for the authors' names: levels of the decoder are numbered from the shallowest, the attention is 1x1 convolutions."""
    last = len(config.channels) - 1
    levels = [(rf"^decoder\.up\.{i}\.", rf"decoder.up_blocks.{last - i}.") for i in range(last + 1)]
    renames = (
        *levels,
        (r"^encoder\.down\.(\d+)\.", r"encoder.down_blocks.\1."),
        (r"(_blocks\.\d+)\.block\.", r"\1.resnets."),
        (r"\.nin_shortcut\.", ".conv_shortcut."),
        (r"\.(down|up)sample\.conv\.", r".\1samplers.0.conv."),
        (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
        (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
        (r"\.mid\.attn_1\.norm\.", ".mid_block.attentions.0.group_norm."),
        (r"\.mid\.attn_1\.([qkv])\.", r".mid_block.attentions.0.to_\1."),
        (r"\.mid\.attn_1\.proj_out\.", ".mid_block.attentions.0.to_out.0."),
        (r"^(encoder|decoder)\.norm_out\.", r"\1.conv_norm_out."),
    )
    return Family("AutoencoderKL (original names)", ROWS + attention_rows(PointwiseLayout()), ignore=BESIDE, renames=renames)


def config_of(checkpoint: Checkpoint) -> VaeConfig:
    """Sizes of an autoencoder from config.json."""
    facts = checkpoint.facts
    channels = sizes(facts, "block_out_channels")
    kinds = {"down_block_types": ["DownEncoderBlock2D"] * len(channels), "up_block_types": ["UpDecoderBlock2D"] * len(channels)}
    expect(facts, **FIXED, **kinds)
    return VaeConfig(
        channels=channels,
        blocks=size(facts, "layers_per_block"),
        latent_channels=size(facts, "latent_channels"),
        groups=size(facts, "norm_num_groups", 32),
        scaling_factor=number(facts, "scaling_factor"),
    )


def facts_of(config: VaeConfig) -> dict[str, Any]:
    """config.json of an autoencoder: the inverse of `config_of`."""
    levels = len(config.channels)
    return {
        "_class_name": "AutoencoderKL",
        **FIXED,
        "block_out_channels": list(config.channels),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": config.blocks,
        "latent_channels": config.latent_channels,
        "norm_num_groups": config.groups,
        "scaling_factor": config.scaling_factor,
    }


def publish(tower: VaeTower) -> Public:
    """An AutoencoderKL of diffusers."""
    return Public(tower, facts_of(tower.config))


def original_config_of(checkpoint: Checkpoint) -> VaeConfig:
    """Sizes by the tensors' shapes; the scaling factor is that of the pipeline the file holds, 1 in a file without one."""
    shapes = checkpoint.shapes
    blocks, channels = 0, []
    while f"encoder.down.0.block.{blocks}.conv1.weight" in shapes:
        blocks += 1
    while (name := f"encoder.down.{len(channels)}.block.0.conv1.weight") in shapes:
        channels.append(shapes[name][0])
    return VaeConfig(tuple(channels), blocks, shapes["decoder.conv_in.weight"][1], scaling_factor=checkpoint.extra.get("scale_factor", 1.0))


def recognise(shapes: Shapes) -> bool:
    """The encoder begins so in the authors' files."""
    names = ("encoder.down.0.block.0.conv1.weight", "encoder.mid.attn_1.q.weight", "decoder.conv_in.weight")
    return all(len(shapes.get(name, ())) == 4 for name in names)


def spectrogram(config: VaeConfig) -> tuple[np.ndarray]:
    """A spectrogram that initialises an autoencoder."""
    return (np.zeros((1, config.stride, config.stride), np.float32),)


KIND = Kind(config_of, AutoencoderKl, family, spectrogram, types=("AutoencoderKL",), tower=VaeTower, publish=publish)
ORIGINAL = Kind(original_config_of, AutoencoderKl, original_family, spectrogram, recognise=recognise, tower=VaeTower)
