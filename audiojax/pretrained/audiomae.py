"""AudioMAE in the authors' layout ("facebookresearch/AudioMAE", files with the key "model") and its ports in timm's, which is the same.

`pretrained.pth` normalises tokens ("norm"); `finetuned.pth` has a norm after the mean ("fc_norm") and a head. The sizes come from the
tensors: a port's config.json names an architecture of timm and no sizes.
"""

import re

import numpy as np

from audiojax.encoders.audiomae import AudioMae, AudioMaeConfig
from audiojax.errors import UsageError
from audiojax.pretrained.kinds import OWN, Checkpoint, Kind, Public, Shapes, size
from audiojax.pretrained.rules import Family, Row, renamed
from audiojax.towers.spectrogram import AudioMaeTower

HEAD_WIDTH = 64  # features of an attention head in ViT-S, B and L
BANDS = 8  # patches along frequency in every published size

ROWS = (
    Row(r"class_token", "cls_token"),
    Row(r"position", "pos_embed"),
    Row(r"patch_conv/(\w+)", r"patch_embed.proj.\1"),
    Row(r"layer_(\d+)/attention/query/(\w+)", r"blocks.\1.attn.qkv.\2", part=(0, 3)),
    Row(r"layer_(\d+)/attention/key/(\w+)", r"blocks.\1.attn.qkv.\2", part=(1, 3)),
    Row(r"layer_(\d+)/attention/value/(\w+)", r"blocks.\1.attn.qkv.\2", part=(2, 3)),
    Row(r"layer_(\d+)/attention/out/(\w+)", r"blocks.\1.attn.proj.\2"),
    Row(r"layer_(\d+)/attention_norm/(\w+)", r"blocks.\1.norm1.\2"),
    Row(r"layer_(\d+)/mlp_norm/(\w+)", r"blocks.\1.norm2.\2"),
    Row(r"layer_(\d+)/mlp/up/(\w+)", r"blocks.\1.mlp.fc1.\2"),
    Row(r"layer_(\d+)/mlp/down/(\w+)", r"blocks.\1.mlp.fc2.\2"),
    Row(r"norm/(\w+)", r"norm.\1"),
    Row(r"clip_norm/(\w+)", r"fc_norm.\1"),
    Row(r"head/(\w+)", r"head.\1"),
)
DECODER = ("mask_token", r"decoder_.*")
PREFIXES = ((r"^(module|encoder)\.", ""),)  # of parallel training, and of a port to transformers


def family(config: AudioMaeConfig) -> Family:
    """The table of a tower; the decoder of pre-training is ignored in a file."""
    return Family("AudioMAE", ROWS, ignore=DECODER, renames=PREFIXES)


def config_of(checkpoint: Checkpoint, *, heads: int | None = None, bands: int | None = None) -> AudioMaeConfig:
    """Sizes of a tower from the shapes of its tensors, which tell all but three of them: `publish` writes those beside the tensors.

    Args:
      heads: attention heads; one for 64 features by default.
      bands: patches along frequency; 8 by default.

    Raises:
      UsageError: the tensors that tell the sizes are missing or are no vision transformer's, or the options do not go with them.
    """
    shapes = {renamed(name, PREFIXES): shape for name, shape in checkpoint.shapes.items()}
    try:
        width, _, patch, _ = shapes["patch_embed.proj.weight"]
        _, positions, _ = shapes["pos_embed"]
        hidden, _ = shapes["blocks.0.mlp.fc1.weight"]
        classes = shapes["head.weight"][0] if "head.weight" in shapes else 0
    except (KeyError, ValueError, IndexError) as error:
        raise UsageError("no weights of AudioMAE: patch_embed.proj, pos_embed, blocks.0.mlp.fc1 or head are not as there") from error
    own = checkpoint.own
    if heads is None:
        heads = size(own, "heads") if "heads" in own else width // HEAD_WIDTH
    bands = size(own, "bands", BANDS) if bands is None else bands
    if heads < 1 or patch < 1 or width % heads or hidden % width:
        raise UsageError(
            f"{heads} heads do not go with width {width}, patches of {patch} and {hidden} features in a block; say how many it has (heads=)"
        )
    if bands < 1 or positions < 2 or (positions - 1) % bands:
        raise UsageError(f"{positions - 1} positions are no grid of patches with {bands} along frequency; say how many (bands=)")
    return AudioMaeConfig(
        frames=(positions - 1) // bands * patch,
        mels=bands * patch,
        patch=patch,
        width=width,
        layers=sum(bool(re.fullmatch(r"blocks\.\d+\.norm1\.weight", name)) for name in shapes),
        heads=heads,
        mlp_ratio=hidden // width,
        blocks=size(own, "blocks", AudioMaeConfig.blocks),
        clip_norm="fc_norm.weight" in shapes,
        classes=classes,
    )


def recognise(shapes: Shapes) -> bool:
    """A vision transformer that looks at one channel: pictures have three."""
    return any(renamed(name, PREFIXES) == "patch_embed.proj.weight" and shape[1:2] == (1,) for name, shape in shapes.items())


def one_clip(config: AudioMaeConfig) -> tuple[np.ndarray]:
    """A spectrogram that initialises a tower."""
    return (np.zeros((1, config.frames, config.mels), np.float32),)


def publish(tower: AudioMaeTower) -> Public:
    """A bare file, with what its tensors do not tell."""
    config = tower.config
    return Public(tower, extra={OWN: {"heads": config.heads, "bands": config.grid[1], "blocks": config.blocks}})


KIND = Kind(
    config_of,
    AudioMae,
    family,
    one_clip,
    types=("audiomae",),
    recognise=recognise,
    options=("heads", "bands"),
    tower=AudioMaeTower,
    publish=publish,
)
