"""HiFi-GAN in the layout of transformers (SpeechT5HifiGan: the vocoder of AudioLDM's folders), and as AudioLDM's authors name it."""

from dataclasses import replace
from typing import Any

import numpy as np

from audiojax.errors import UsageError
from audiojax.models.hifigan import PRESETS, HifiGan, HifiGanConfig
from audiojax.pretrained.kinds import Checkpoint, Kind, Public, Shapes, number, size, sizes
from audiojax.pretrained.rules import CONV_TRANSPOSE_1D, Family, Row
from audiojax.towers.latent import HifiganTower

ROWS = (
    Row(r"(conv_pre|conv_post)/(\w+)", r"\1.\2"),
    Row(r"up_(\d+)/kernel", r"upsampler.\1.kernel", layout=CONV_TRANSPOSE_1D),
    Row(r"up_(\d+)/bias", r"upsampler.\1.bias"),
    Row(r"block_(\d+)/conv([12])_(\d+)/(\w+)", r"resblocks.\1.convs\2.\3.\4"),
    Row(r"mel_(mean|scale)", r"\1", verbatim=True),
)
NORMALISED_ROWS = (  # of training checkpoints: the weight norm of the kernels is still there
    Row(r"(conv_pre|conv_post)/kernel", r"\1.kernel", weight_norm=0),
    Row(r"(conv_pre|conv_post)/bias", r"\1.bias"),
    Row(r"up_(\d+)/kernel", r"upsampler.\1.kernel", layout=CONV_TRANSPOSE_1D, weight_norm=0),
    Row(r"up_(\d+)/bias", r"upsampler.\1.bias"),
    Row(r"block_(\d+)/conv([12])_(\d+)/kernel", r"resblocks.\1.convs\2.\3.kernel", weight_norm=0),
    Row(r"block_(\d+)/conv([12])_(\d+)/bias", r"resblocks.\1.convs\2.\3.bias"),
)
STATISTICS = (r"mean", r"scale")


def family(config: HifiGanConfig) -> Family:
    """The table of a generator; where it does not normalise, the mean and scale in the file are ignored."""
    return Family("HiFi-GAN", ROWS, ignore=() if config.normalize else STATISTICS)


def original_family(_: HifiGanConfig) -> Family:
    """The table for the authors' names; a file may hold the kernels, or their weight norm."""
    return Family("HiFi-GAN (original names)", NORMALISED_ROWS, renames=((r"^ups\.", "upsampler."),))


def config_of(checkpoint: Checkpoint) -> HifiGanConfig:
    """Sizes of a generator from config.json; what it leaves out is as in transformers."""
    facts = checkpoint.facts
    dilations = facts.get("resblock_dilation_sizes", ((1, 3, 5),) * 3)
    if not isinstance(dilations, list | tuple) or not all(isinstance(row, list | tuple) for row in dilations):
        raise UsageError(f"config.json: resblock_dilation_sizes is {dilations!a:.80}, and a list of lists is needed")
    normalize = facts.get("normalize_before", True)
    if type(normalize) is not bool:
        raise UsageError(f"config.json: normalize_before is {normalize!a:.80}; there are true and false")
    return HifiGanConfig(
        mels=size(facts, "model_in_dim", 80),
        channels=size(facts, "upsample_initial_channel", 512),
        rates=sizes(facts, "upsample_rates", (4, 4, 4, 4)),
        kernels=sizes(facts, "upsample_kernel_sizes", (8, 8, 8, 8)),
        block_kernels=sizes(facts, "resblock_kernel_sizes", (3, 7, 11)),
        block_dilations=tuple(sizes({"resblock_dilation_sizes": row}, "resblock_dilation_sizes") for row in dilations),
        slope=number(facts, "leaky_relu_slope", 0.1),
        normalize=normalize,
        sample_rate=size(facts, "sampling_rate", 16_000),
    )


def facts_of(config: HifiGanConfig) -> dict[str, Any]:
    """config.json of a generator: the inverse of `config_of`."""
    return {
        "model_type": "hifigan",
        "architectures": ["SpeechT5HifiGan"],
        "model_in_dim": config.mels,
        "upsample_initial_channel": config.channels,
        "upsample_rates": list(config.rates),
        "upsample_kernel_sizes": list(config.kernels),
        "resblock_kernel_sizes": list(config.block_kernels),
        "resblock_dilation_sizes": [list(row) for row in config.block_dilations],
        "leaky_relu_slope": config.slope,
        "normalize_before": config.normalize,
        "sampling_rate": config.sample_rate,
    }


def publish(tower: HifiganTower) -> Public:
    """A SpeechT5HifiGan of transformers, which has a mean and a scale among its tensors even where it does not normalise."""
    facts, statistics = facts_of(tower.config), {"mel_mean": np.zeros(tower.config.mels), "mel_scale": np.ones(tower.config.mels)}
    if tower.config.normalize:
        return Public(tower, facts)
    params = {**tower.params, "batch_stats": {name: value.astype(np.float32) for name, value in statistics.items()}}
    return Public(replace(tower, params=params, config=replace(tower.config, normalize=True)), facts)


def original_config_of(checkpoint: Checkpoint) -> HifiGanConfig:
    """AudioLDM's generator with the widths of the file: its names and shapes do not tell the rates."""
    name = next(name for name in ("conv_pre.weight", "conv_pre.weight_v") if name in checkpoint.shapes)
    channels, mels, _ = checkpoint.shapes[name]
    return replace(PRESETS["audioldm"], channels=channels, mels=mels)


def recognise(shapes: Shapes) -> bool:
    """The first stage has a name of its own."""
    return "ups.0.bias" in shapes and any(len(shapes.get(name, ())) == 3 for name in ("conv_pre.weight", "conv_pre.weight_v"))


def spectrogram(config: HifiGanConfig) -> tuple[np.ndarray]:
    """A spectrogram that initialises a generator."""
    return (np.zeros((1, 1, config.mels), np.float32),)


KIND = Kind(config_of, HifiGan, family, spectrogram, types=("hifigan",), tower=HifiganTower, publish=publish)
ORIGINAL = Kind(original_config_of, HifiGan, original_family, spectrogram, recognise=recognise, tower=HifiganTower)
