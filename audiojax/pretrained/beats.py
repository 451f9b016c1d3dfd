"""BEATs in the authors' layout ("microsoft/unilm beats", .pt files with the keys "cfg" and "model"), pre-trained and fine-tuned."""

from collections.abc import Mapping
from functools import partial

import numpy as np

from audiojax.encoders.beats import PRESETS, Beats, BeatsConfig
from audiojax.errors import UsageError
from audiojax.pretrained import kinds
from audiojax.pretrained.kinds import OWN, Checkpoint, Kind, Public, Shapes
from audiojax.pretrained.rules import Family, Row
from audiojax.towers.spectrogram import BeatsTower

LAYER = r"encoder.layers.\1"
ROWS = (
    Row(r"patch_conv/(\w+)", r"patch_embedding.\1"),
    Row(r"patch_norm/(\w+)", r"layer_norm.\1"),
    Row(r"project/(\w+)", r"post_extract_proj.\1"),
    Row(r"position_conv/kernel", "encoder.pos_conv.0.kernel", weight_norm=2),
    Row(r"position_conv/bias", "encoder.pos_conv.0.bias"),
    Row(r"norm/(\w+)", r"encoder.layer_norm.\1"),
    Row(r"relative_position/(\w+)", r"encoder.layers.0.self_attn.relative_attention_bias.\1"),
    Row(r"layer_(\d+)/attention/query/(\w+)", LAYER + r".self_attn.q_proj.\2"),
    Row(r"layer_(\d+)/attention/key/(\w+)", LAYER + r".self_attn.k_proj.\2"),
    Row(r"layer_(\d+)/attention/value/(\w+)", LAYER + r".self_attn.v_proj.\2"),
    Row(r"layer_(\d+)/attention/out/(\w+)", LAYER + r".self_attn.out_proj.\2"),
    Row(r"layer_(\d+)/attention/gate/(\w+)", LAYER + r".self_attn.grep_linear.\2"),
    Row(r"layer_(\d+)/attention/gate_scale", LAYER + r".self_attn.grep_a"),
    Row(r"layer_(\d+)/attention_norm/(\w+)", LAYER + r".self_attn_layer_norm.\2"),
    Row(r"layer_(\d+)/mlp/up/(\w+)", LAYER + r".fc1.\2"),
    Row(r"layer_(\d+)/mlp/down/(\w+)", LAYER + r".fc2.\2"),
    Row(r"layer_(\d+)/mlp_norm/(\w+)", LAYER + r".final_layer_norm.\2"),
    Row(r"head/(\w+)", r"predictor.\1"),
)
COPIES = (r"encoder\.layers\.[1-9]\d*\.self_attn\.relative_attention_bias\.weight",)  # of layer 0's, which all share

FORM = {
    "activation_fn": "gelu",
    "layer_norm_first": False,
    "deep_norm": True,
    "conv_bias": False,
    "relative_position_embedding": True,
    "gru_rel_pos": True,
}


def family(config: BeatsConfig) -> Family:
    """The table of a tower, with its head where the config has one."""
    return Family("BEATs", ROWS, ignore=COPIES)


def config_of(checkpoint: Checkpoint) -> BeatsConfig:
    """Sizes of a tower from the settings "cfg" that the authors' files keep; what they leave out is as in iter3+.

    Raises:
      UsageError: there are none, or they are those of another network.
    """
    facts = checkpoint.extra.get("cfg")
    if not isinstance(facts, Mapping):
        raise UsageError("BEATs: the file keeps no settings under 'cfg'; give the .pt file as its authors published it")
    size, base = partial(kinds.size, facts, where="cfg"), PRESETS["base"]
    kinds.expect(facts, where="cfg", **FORM)
    buckets = size("num_buckets", base.buckets, least=4)
    return BeatsConfig(
        mels=kinds.size(checkpoint.own, "mels", base.mels),
        patch=size("input_patch_size", base.patch),
        embed=size("embed_dim", base.embed),
        width=size("encoder_embed_dim", base.width),
        layers=size("encoder_layers", base.layers),
        heads=size("encoder_attention_heads", base.heads),
        hidden=size("encoder_ffn_embed_dim", base.hidden),
        kernel=size("conv_pos", base.kernel),
        groups=size("conv_pos_groups", base.groups),
        buckets=buckets,
        max_distance=size("max_distance", base.max_distance, least=buckets // 4 + 1),  # a quarter have a distance of their own
        classes=size("predictor_class") if facts.get("finetuned_model") else 0,
    )


def recognise(shapes: Shapes) -> bool:
    """The gates of BEATs, above a convolution over patches: WavLM has the gates too."""
    return "patch_embedding.weight" in shapes and "encoder.layers.0.self_attn.grep_a" in shapes


def one_patch(config: BeatsConfig) -> tuple[np.ndarray]:
    """A spectrogram that initialises a tower."""
    return (np.zeros((1, config.patch, config.mels), np.float32),)


def publish(tower: BeatsTower) -> Public:
    """A bare file with the authors' settings, and the number of mel bins, which they have no name for."""
    config = tower.config
    facts = {
        **FORM,
        "input_patch_size": config.patch,
        "embed_dim": config.embed,
        "encoder_embed_dim": config.width,
        "encoder_layers": config.layers,
        "encoder_attention_heads": config.heads,
        "encoder_ffn_embed_dim": config.hidden,
        "conv_pos": config.kernel,
        "conv_pos_groups": config.groups,
        "num_buckets": config.buckets,
        "max_distance": config.max_distance,
        "finetuned_model": config.classes > 0,
        "predictor_class": config.classes,
    }
    return Public(tower, extra={"cfg": facts, OWN: {"mels": config.mels}})


KIND = Kind(config_of, Beats, family, one_patch, recognise=recognise, tower=BeatsTower, publish=publish)
