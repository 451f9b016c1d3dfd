"""CLAP in the layout of transformers (`laion/clap-htsat-*`, `laion/larger_clap_*`)."""

from audiojax.encoders.htsat import HtsatConfig
from audiojax.pretrained.rules import Family, Row

AUDIO_ROWS = (
    Row(r"bn0/(\w+)", r"batch_norm.\1"),
    Row(r"patch_conv/(\w+)", r"patch_embed.proj.\1"),
    Row(r"patch_norm/(\w+)", r"patch_embed.norm.\1"),
    Row(r"crop_conv/(\w+)", r"patch_embed.mel_conv2d.\1"),
    Row(r"fusion/local_conv1/(\w+)", r"patch_embed.fusion_model.local_att.0.\1"),
    Row(r"fusion/local_bn1/(\w+)", r"patch_embed.fusion_model.local_att.1.\1"),
    Row(r"fusion/local_conv2/(\w+)", r"patch_embed.fusion_model.local_att.3.\1"),
    Row(r"fusion/local_bn2/(\w+)", r"patch_embed.fusion_model.local_att.4.\1"),
    Row(r"fusion/global_conv1/(\w+)", r"patch_embed.fusion_model.global_att.1.\1"),
    Row(r"fusion/global_bn1/(\w+)", r"patch_embed.fusion_model.global_att.2.\1"),
    Row(r"fusion/global_conv2/(\w+)", r"patch_embed.fusion_model.global_att.4.\1"),
    Row(r"fusion/global_bn2/(\w+)", r"patch_embed.fusion_model.global_att.5.\1"),
    Row(r"stage_(\d+)_(\d+)/attention_norm/(\w+)", r"layers.\1.blocks.\2.layernorm_before.\3"),
    Row(r"stage_(\d+)_(\d+)/attention/(query|key|value)/(\w+)", r"layers.\1.blocks.\2.attention.self.\3.\4"),
    Row(r"stage_(\d+)_(\d+)/attention/relative_bias", r"layers.\1.blocks.\2.attention.self.relative_position_bias_table"),
    Row(r"stage_(\d+)_(\d+)/attention/out/(\w+)", r"layers.\1.blocks.\2.attention.output.dense.\3"),
    Row(r"stage_(\d+)_(\d+)/mlp_norm/(\w+)", r"layers.\1.blocks.\2.layernorm_after.\3"),
    Row(r"stage_(\d+)_(\d+)/mlp/up/(\w+)", r"layers.\1.blocks.\2.intermediate.dense.\3"),
    Row(r"stage_(\d+)_(\d+)/mlp/down/(\w+)", r"layers.\1.blocks.\2.output.dense.\3"),
    Row(r"merge_(\d+)/(\w+)", r"layers.\1.downsample.reduction.\2"),
    Row(r"merge_(\d+)_norm/(\w+)", r"layers.\1.downsample.norm.\2"),
    Row(r"norm/(\w+)", r"norm.\1"),
)
BUFFERS = (r".*\.num_batches_tracked", r".*\.relative_position_index", r".*\.position_ids", r".*\.token_type_ids")


def audio_family(config: HtsatConfig) -> Family:
    """The table of the audio tower alone, for names below `audio_model.audio_encoder`."""
    return Family("HTSAT", AUDIO_ROWS, ignore=BUFFERS, renames=((r"^audio_model\.audio_encoder\.", ""),))
