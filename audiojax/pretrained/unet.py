"""AudioLDM's and AudioLDM 2's U-Nets in the layouts of diffusers (UNet2DConditionModel, AudioLDM2UNet2DConditionModel) and the authors."""

import re
from typing import Any

import numpy as np

from audiojax.errors import UsageError
from audiojax.models.unet import UNet, UNetConfig
from audiojax.pretrained.kinds import MAX_SIZE, Checkpoint, Kind, Public, Shapes, expect, size, sizes
from audiojax.pretrained.rules import Family, Row
from audiojax.towers.latent import UnetTower

PLAIN, CROSS, MIDDLE = "UNet2DConditionModel", "AudioLDM2UNet2DConditionModel", "UNetMidBlock2DCrossAttn"
TRANSFORMER_ROWS = (
    ("(norm|proj_in|proj_out)", r"\1"),
    (r"(norm\d)", r"transformer_blocks.0.\1"),
    (r"attention(\d)/query", r"transformer_blocks.0.attn\1.to_q"),
    (r"attention(\d)/key", r"transformer_blocks.0.attn\1.to_k"),
    (r"attention(\d)/value", r"transformer_blocks.0.attn\1.to_v"),
    (r"attention(\d)/out", r"transformer_blocks.0.attn\1.to_out.0"),
    ("mlp/(down)", "transformer_blocks.0.ff.net.2"),
)
MLP_IN = "transformer_blocks.0.ff.net.0.proj"  # both maps of GEGLU in one: the plain half, then the gate


def level_rows(ours: str, theirs: str) -> tuple[Row, ...]:
    r"""The rows of levels: `ours` has one group, which is \1 in `theirs`; "middle" has an empty one."""
    numbered = [(rf"{ours}/attentions_(\d+)/{tail}/(\w+)", name.replace(r"\1", r"\3")) for tail, name in TRANSFORMER_ROWS]
    return (
        Row(rf"{ours}/residuals_(\d+)/shortcut/(\w+)", rf"{theirs}.resnets.\2.conv_shortcut.\3"),
        Row(rf"{ours}/residuals_(\d+)/([a-z]+\d)/(\w+)", rf"{theirs}.resnets.\2.\3.\4"),
        Row(rf"{ours}/times_(\d+)/(\w+)", rf"{theirs}.resnets.\2.time_emb_proj.\3"),
        *(Row(path, rf"{theirs}.attentions.\2.{name}.\4") for path, name in numbered),
        Row(rf"{ours}/attentions_(\d+)/mlp/up/(\w+)", rf"{theirs}.attentions.\2.{MLP_IN}.\3", part=(0, 2)),
        Row(rf"{ours}/attentions_(\d+)/mlp/gate/(\w+)", rf"{theirs}.attentions.\2.{MLP_IN}.\3", part=(1, 2)),
    )


ROWS = (
    Row(r"(conv_in|conv_out)/(\w+)", r"\1.\2"),
    Row(r"norm_out/(\w+)", r"conv_norm_out.\1"),
    Row(r"time_in/(\w+)", r"time_embedding.linear_1.\1"),
    Row(r"time_out/(\w+)", r"time_embedding.linear_2.\1"),
    Row(r"class_projection/(\w+)", r"class_embedding.\1"),
    Row(r"(down|up)sample_(\d+)/(\w+)", r"\1_blocks.\2.\1samplers.0.conv.\3"),
    *level_rows(r"down_(\d+)", r"down_blocks.\1"),
    *level_rows(r"up_(\d+)", r"up_blocks.\1"),
    *level_rows(r"middle()", r"mid_block\1"),
)
RESIDUAL_RENAMES = (
    (r"\.in_layers\.0\.", ".norm1."),
    (r"\.in_layers\.2\.", ".conv1."),
    (r"\.emb_layers\.1\.", ".time_emb_proj."),
    (r"\.out_layers\.0\.", ".norm2."),
    (r"\.out_layers\.3\.", ".conv2."),
    (r"\.skip_connection\.", ".conv_shortcut."),
)
OTHER_RENAMES = (
    (r"^time_embed\.0\.", "time_embedding.linear_1."),
    (r"^time_embed\.2\.", "time_embedding.linear_2."),
    (r"^film_emb\.", "class_embedding."),
    (r"^input_blocks\.0\.0\.", "conv_in."),
    (r"^out\.0\.", "conv_norm_out."),
    (r"^out\.2\.", "conv_out."),
)


def family(_: UNetConfig) -> Family:
    """The table of a U-Net."""
    return Family("U-Net", ROWS)


def original_family(config: UNetConfig) -> Family:
    """The table for the authors' names, where blocks are counted through all levels and their modules within each block."""
    places = {}
    for level, attended in enumerate(config.attended):
        start = level * (config.blocks + 1)
        for block in range(config.blocks):
            places |= _block_places(f"input_blocks.{start + 1 + block}", f"down_blocks.{level}", block, attended, config)
        places[f"input_blocks.{start + config.blocks + 1}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
    for level, attended in enumerate(reversed(config.attended)):
        start = level * (config.blocks + 1)
        for block in range(config.blocks + 1):
            places |= _block_places(f"output_blocks.{start + block}", f"up_blocks.{level}", block, attended, config)
        after = 1 + attended * len(config.contexts)
        places[f"output_blocks.{start + config.blocks}.{after}.conv"] = f"up_blocks.{level}.upsamplers.0.conv"
    places |= _block_places("middle_block", "mid_block", 0, True, config)
    places[f"middle_block.{1 + len(config.contexts)}"] = "mid_block.resnets.1"
    renames = tuple((rf"^{re.escape(theirs)}\.", f"{name}.") for theirs, name in places.items())
    return Family("U-Net (original names)", ROWS, renames=OTHER_RENAMES + renames + RESIDUAL_RENAMES)


def _block_places(theirs: str, level: str, block: int, attended: bool, config: UNetConfig) -> dict[str, str]:
    places = {f"{theirs}.0": f"{level}.resnets.{block}"}
    if attended:
        count = len(config.contexts)
        places |= {f"{theirs}.{1 + i}": f"{level}.attentions.{block * count + i}" for i in range(count)}
    return places


def config_of(checkpoint: Checkpoint, heads: str = "trained") -> UNetConfig:
    """Sizes of a U-Net from config.json.

    Args:
      heads: "trained": heads of 32 channels, of 64 in AudioLDM-L, as the authors trained them; "diffusers": as many heads at every level as
        config.json says, to have diffusers' outputs. config.json does not tell which were trained.
    """
    facts = checkpoint.facts
    channels = sizes(facts, "block_out_channels")
    attended = _attended(facts, len(channels))
    expect(
        facts,
        mid_block_type=MIDDLE,
        act_fn="silu",
        center_input_sample=False,
        class_embeddings_concat=facts.get("class_embed_type") is not None,
        conv_in_kernel=3,
        conv_out_kernel=3,
        downsample_padding=1,
        dual_cross_attention=False,
        flip_sin_to_cos=True,
        freq_shift=0,
        mid_block_scale_factor=1,
        norm_eps=1e-5,
        num_class_embeds=None,
        only_cross_attention=False,
        resnet_time_scale_shift="default",
        time_cond_proj_dim=None,
        time_embedding_type="positional",
        timestep_post_act=None,
        transformer_layers_per_block=1,
        up_block_types=["CrossAttnUpBlock2D" if level else "UpBlock2D" for level in reversed(attended)],
        use_linear_projection=False,
        out_channels=facts.get("in_channels"),
    )
    if facts.get("class_embed_type") not in (None, "simple_projection"):
        raise UsageError(f"config.json: class_embed_type is {facts['class_embed_type']!a:.80}; there are simple_projection and null")
    return UNetConfig(
        channels=channels,
        blocks=size(facts, "layers_per_block"),
        attended=attended,
        contexts=_contexts(facts, channels),
        class_width=size(facts, "projection_class_embeddings_input_dim") if facts.get("class_embed_type") else None,
        **_heads(facts, channels, _checked(heads)),
        latent_channels=size(facts, "in_channels"),
        groups=size(facts, "norm_num_groups", 32),
    )


def _attended(facts: dict[str, Any], levels: int) -> tuple[bool, ...]:
    kinds = {"CrossAttnDownBlock2D": True, "DownBlock2D": False}
    types = facts.get("down_block_types")
    if not isinstance(types, list) or len(types) != levels or any(name not in kinds for name in types):
        raise UsageError(f"config.json: down_block_types is {types!a:.120}, and {levels} of {', '.join(kinds)} are needed")
    return tuple(kinds[name] for name in types)


def _contexts(facts: dict[str, Any], channels: tuple[int, ...]) -> tuple[int | None, ...]:
    """Widths of the contexts: AudioLDM gives each level its own width, which means the image itself; AudioLDM 2 the same list to all."""
    widths = facts.get("cross_attention_dim")
    if facts["_class_name"] == PLAIN:
        if widths != list(channels):
            raise UsageError(f"config.json: cross_attention_dim is {widths!a:.80}, and this tower has AudioLDM's {list(channels)} alone")
        return (None,)
    rows = widths if isinstance(widths, list) and widths and isinstance(widths[0], list) else [widths]
    known = all(width is None or type(width) is int and 0 < width <= MAX_SIZE for width in rows[0] or ())
    if not isinstance(rows[0], list) or not 0 < len(rows[0]) <= 4 or not known or any(row != rows[0] for row in rows):
        raise UsageError(f"config.json: cross_attention_dim is {widths!a:.80}, and the same widths or nulls for every level are needed")
    return tuple(rows[0])


def _heads(facts: dict[str, Any], channels: tuple[int, ...], heads: str) -> dict[str, Any]:
    """How attention is split. A list of counts, one for every level, is what was trained; one count is what diffusers takes it for."""
    counts = facts.get("attention_head_dim")
    if not isinstance(counts, list):
        return {"heads": heads, "head_width": _head_width(channels), "head_count": size(facts, "attention_head_dim")}
    counts = sizes(facts, "attention_head_dim")
    widths = {width // count for width, count in zip(channels, counts, strict=False) if width % count == 0}
    if len(counts) != len(channels) or [count * width for count in counts for width in widths] != list(channels):
        raise UsageError(f"config.json: attention_head_dim is {list(counts)!a:.80}, and heads of one width for {list(channels)} are needed")
    return {"heads": "trained", "head_width": widths.pop()}


def facts_of(config: UNetConfig) -> dict[str, Any]:
    """config.json for diffusers, of AudioLDM's U-Net or, where it attends to contexts, of AudioLDM 2's: the inverse of `config_of`.

    Raises:
      UsageError: one attention to all contexts at once, for which no public layout has a place.
    """
    if config.joint:
        raise UsageError("this U-Net attends to sounds and texts at once (context_mode 'joint'), and no public layout has a place for that")
    levels, labelled, plain = len(config.channels), config.class_width is not None, config.contexts == (None,)
    counts = [width // config.head_width for width in config.channels] if config.heads == "trained" else config.head_count
    return {
        "_class_name": PLAIN if plain else CROSS,
        "act_fn": "silu",
        "attention_head_dim": counts,
        "block_out_channels": list(config.channels),
        "class_embed_type": "simple_projection" if labelled else None,
        "class_embeddings_concat": labelled,
        "cross_attention_dim": list(config.channels) if plain else [list(config.contexts)] * levels,
        "down_block_types": ["CrossAttnDownBlock2D" if attended else "DownBlock2D" for attended in config.attended],
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "in_channels": config.latent_channels,
        "layers_per_block": config.blocks,
        "mid_block_type": MIDDLE,
        "norm_eps": 1e-5,
        "norm_num_groups": config.groups,
        "out_channels": config.latent_channels,
        "projection_class_embeddings_input_dim": config.class_width,
        "sample_size": 8 * 2 ** (levels - 1),
        "up_block_types": ["CrossAttnUpBlock2D" if attended else "UpBlock2D" for attended in reversed(config.attended)],
    }


def publish(tower: UnetTower) -> Public:
    """A UNet2DConditionModel of diffusers, or an AudioLDM2UNet2DConditionModel. UsageError where neither has a place for it."""
    return Public(tower, facts_of(tower.config))


def _head_width(channels: tuple[int, ...]) -> int:
    return 64 if channels[0] >= 256 else 32


def _checked(heads: str) -> str:
    if heads not in ("trained", "diffusers"):
        raise UsageError(f"heads are 'trained' or 'diffusers', and not {heads!a:.80}")
    return heads


def original_config_of(checkpoint: Checkpoint, heads: str = "trained") -> UNetConfig:
    """Sizes by the tensors' shapes; see `config_of`."""
    shapes = checkpoint.shapes
    channels, attended, contexts, blocks, index = [], [], [], [0], 1
    while (name := f"input_blocks.{index}.0.out_layers.3.weight") in shapes or f"input_blocks.{index}.0.op.weight" in shapes:
        if name in shapes:
            if not blocks[-1]:
                channels.append(shapes[name][0])
                attended.append(f"input_blocks.{index}.1.norm.weight" in shapes)
            blocks[-1] += 1
        else:
            blocks.append(0)
        index += 1
    while (name := f"middle_block.{len(contexts) + 1}.transformer_blocks.0.attn2.to_k.weight") in shapes:
        width = shapes[name][1]
        contexts.append(None if width == channels[-1] else width)
    return UNetConfig(
        channels=tuple(channels),
        blocks=blocks[0],
        attended=tuple(attended),
        contexts=tuple(contexts),
        class_width=shapes["film_emb.weight"][1] if "film_emb.weight" in shapes else None,
        heads=_checked(heads),
        head_width=_head_width(tuple(channels)),
        latent_channels=shapes["input_blocks.0.0.weight"][1],
    )


def recognise(shapes: Shapes) -> bool:
    """The authors' files begin so, and have a transformer in the middle."""
    return all(len(shapes.get(name, ())) == 4 for name in ("input_blocks.0.0.weight", "middle_block.1.proj_in.weight"))


def inputs(config: UNetConfig) -> tuple[Any, ...]:
    """Latents, timesteps, class labels and contexts that initialise a U-Net."""
    labels = None if config.class_width is None else np.zeros((1, config.class_width), np.float32)
    contexts = tuple((np.zeros((1, 1, width), np.float32), None) for width in config.contexts if width is not None)
    latents = np.zeros((1, config.stride, config.stride, config.latent_channels), np.float32)
    return latents, np.zeros((1,), np.int32), labels, contexts


KIND = Kind(config_of, UNet, family, inputs, types=(PLAIN, CROSS), options=("heads",), tower=UnetTower, publish=publish)
ORIGINAL = Kind(original_config_of, UNet, original_family, inputs, recognise=recognise, options=("heads",), tower=UnetTower)
