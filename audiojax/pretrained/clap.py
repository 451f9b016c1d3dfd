"""CLAP in the layout of transformers: ClapModel (`laion/clap-htsat-*`, `laion/larger_clap_*`) and the text half alone (AudioLDM's folders).

config.json is sparse in the published folders: what it leaves out is as the classes of transformers have it. preprocessor_config.json says
how the log-mels are made, and the tokenizer lies beside it. The way back, for towers of our own, is in `clap_publish`.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from audiojax.audio.spectral import MelConfig
from audiojax.encoders.bert import BertConfig
from audiojax.encoders.clap import ACTIVATIONS, Clap, ClapConfig, ClapText, ClapTextConfig
from audiojax.encoders.htsat import HtsatConfig
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.pretrained import bert
from audiojax.pretrained.clap_publish import PREPROCESSOR, publish, publish_text
from audiojax.pretrained.kinds import Checkpoint, Kind, expect, number, overridden, section, size, sizes
from audiojax.pretrained.rules import Family, Row, below
from audiojax.text.tokenizer import Tokenizer, has_vocabulary
from audiojax.towers.clap import ClapTextTower, ClapTower
from audiojax.towers.clap_features import ClapFrontEnd

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
PROJECTION_ROWS = (
    Row(r"projection/up/(\w+)", r"projection.linear1.\1"),
    Row(r"projection/down/(\w+)", r"projection.linear2.\1"),
)
TEXT_ROWS = below("encoder/", "text_model.", bert.ROWS) + below("", "text_", PROJECTION_ROWS)
ROWS = (
    *below("audio/encoder/", "audio_model.audio_encoder.", AUDIO_ROWS),
    *below("audio/", "audio_", PROJECTION_ROWS),
    *below("text/", "", TEXT_ROWS),
    Row(r"(logit_scale_[at])", r"\1"),
)
MAX_IMAGE, MAX_SIDE, MAX_WINDOW = 4096, 256, 32  # far beyond any HTSAT: pixels, tokens, tokens
BUFFERS = (r".*\.num_batches_tracked", r".*\.relative_position_index", r".*\.position_ids", r".*\.token_type_ids")


def audio_family(config: HtsatConfig) -> Family:
    """The table of the audio tower alone, for names below `audio_model.audio_encoder`."""
    return Family("HTSAT", AUDIO_ROWS, ignore=BUFFERS, renames=((r"^audio_model\.audio_encoder\.", ""),))


def family(config: ClapConfig) -> Family:
    """The table of ClapModel."""
    return Family("CLAP", ROWS, ignore=BUFFERS)


def text_family(config: ClapTextConfig) -> Family:
    """The table of ClapTextModelWithProjection."""
    return Family("CLAP text", TEXT_ROWS, ignore=BUFFERS)


def config_of(checkpoint: Checkpoint) -> ClapConfig:
    """Sizes of a ClapModel; `audio_config.depths` decides how many blocks there are."""
    facts = checkpoint.facts
    rate = size(preprocessor(checkpoint), "sampling_rate", 48_000, where=PREPROCESSOR)
    rate = size(section(checkpoint.own, "mel"), "sample_rate", rate)
    audio = audio_config_of(section(facts, "audio_config"), rate)
    text = text_encoder_of(section(facts, "text_config"))
    scale = number(facts, "logit_scale_init_value", 1 / 0.07)
    if scale <= 0:
        raise UsageError(f"config.json: logit_scale_init_value is {scale:g}, and a positive number is needed")
    return ClapConfig(text=text, audio=audio, logit_scale=scale, **joint_space_of(facts))


def text_config_of(checkpoint: Checkpoint) -> ClapTextConfig:
    """Sizes of a ClapTextModelWithProjection."""
    return ClapTextConfig(text=text_encoder_of(checkpoint.facts), **joint_space_of(checkpoint.facts))


def joint_space_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Width and activation of the perceptrons."""
    activation = facts.get("projection_hidden_act", "relu")
    if activation not in ACTIVATIONS:
        raise UsageError(f"config.json: projection_hidden_act is {activation!a:.80}; there are {', '.join(ACTIVATIONS)}")
    return {"projection": size(facts, "projection_dim", 512), "activation": activation}


def text_encoder_of(facts: Mapping[str, Any]) -> BertConfig:
    """Sizes of the text encoder, with the defaults of ClapTextConfig."""
    expect(facts, hidden_act="gelu", position_embedding_type="absolute")
    return BertConfig(
        vocab_size=size(facts, "vocab_size", 50_265),
        width=size(facts, "hidden_size", 768),
        layers=size(facts, "num_hidden_layers", 12),
        heads=size(facts, "num_attention_heads", 12),
        hidden=size(facts, "intermediate_size", 3072),
        max_positions=size(facts, "max_position_embeddings", 514),
        segments=size(facts, "type_vocab_size", 1),
        padding_id=size(facts, "pad_token_id", 1, least=0),
        norm_eps=number(facts, "layer_norm_eps", 1e-12),
        pooler=True,
    )


def audio_config_of(facts: Mapping[str, Any], sample_rate: int) -> HtsatConfig:
    """Sizes of the audio encoder, with the defaults of ClapAudioConfig."""
    expect(facts, hidden_act="gelu", enable_patch_layer_norm=True, flatten_patch_embeds=True, qkv_bias=True, patch_embed_input_channels=1)
    fusion = facts.get("enable_fusion", False)
    if fusion not in (False, True) or (fusion and facts.get("fusion_type") not in (None, "aff_2d")):
        raise UsageError(f"config.json: enable_fusion {fusion!a:.80} of type {facts.get('fusion_type')!a:.80}; there is aff_2d alone")
    ratio = number(facts, "mlp_ratio", 4.0)
    if ratio < 1 or ratio != int(ratio):
        raise UsageError(f"config.json: mlp_ratio is {ratio:g}, and a whole number is needed")
    patch = side(facts, "patch_size")
    config = HtsatConfig(
        mels=size(facts, "num_mel_bins", 64),
        image=size(facts, "spec_size", 256),
        patch=patch,
        channels=size(facts, "patch_embeds_hidden_size", 96),
        depths=sizes(facts, "depths", (2, 2, 6, 2)),
        heads=sizes(facts, "num_attention_heads", (4, 8, 16, 32)),
        window=size(facts, "window_size", 8),
        mlp_ratio=int(ratio),
        norm_eps=number(facts, "layer_norm_eps", 1e-5),
        fusion=bool(fusion),
        fusion_reduction=size(facts, "aff_block_r", 4),
        sample_rate=sample_rate,
    )
    if (stride := side(facts, "patch_stride")) != patch:
        raise UsageError(f"config.json: patch_stride {stride} is not patch_size {patch}, and patches never overlap here")
    if (width := size(facts, "hidden_size", 768)) != config.width:
        raise UsageError(f"config.json: hidden_size {width} is not {config.width}, which {config.channels} channels end in")
    check_geometry(config)
    return config


def check_geometry(config: HtsatConfig) -> None:
    """Masks and indices of windows are made in memory before a weight is read, so that their sizes have limits.

    Raises:
      UsageError: an image, a map of tokens or a window beyond them.
    """
    side = config.image // config.patch
    if config.image > MAX_IMAGE or side > MAX_SIDE or config.window > MAX_WINDOW:
        found = f"an image of {config.image} pixels, {side} tokens and windows of {config.window}"
        raise UsageError(f"an HTSAT with {found}: at most {MAX_IMAGE}, {MAX_SIDE} and {MAX_WINDOW} can be read")


def side(facts: Mapping[str, Any], key: str) -> int:
    """One number where transformers allows two equal ones. UsageError where they differ."""
    pair = facts.get(key, 4)
    if isinstance(pair, list) and len(pair) == 2 and pair[0] == pair[1]:
        pair = pair[0]
    return size({key: pair}, key)


def preprocessor(checkpoint: Checkpoint) -> Mapping[str, Any]:
    """Settings of the feature extractor: preprocessor_config.json, or a part of processor_config.json; empty where there is neither.

    Raises:
      UsageError: they cannot be read.
    """
    for name, part in ((PREPROCESSOR, None), ("processor_config.json", "feature_extractor")):
        file = checkpoint.folder / name
        if not file.is_file():
            continue
        try:
            facts = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{shown(file)}: is no JSON") from error
        if part and isinstance(facts, dict):
            facts = facts.get(part, {})
        if not isinstance(facts, dict):
            raise UsageError(f"{shown(file)}: a table is needed")
        if facts:
            return facts
    return {}


def front_end_of(checkpoint: Checkpoint, config: ClapConfig) -> ClapFrontEnd:
    """How log-mels are made for a checkpoint: as preprocessor_config.json or `publish` says, or as published where neither does.

    Truncation "rand_trunc" goes with the Slaney bank, "fusion" with the HTK bank. What the file leaves out is as in ClapFeatureExtractor.

    Raises:
      UsageError: settings that make no log-mel, or not the one that the tower takes.
    """
    fusion = config.audio.fusion
    truncation = "fusion" if fusion else "rand_trunc"
    facts = preprocessor(checkpoint) or {"truncation": truncation, "frequency_min": 50}
    needed = {"truncation": (truncation, "fusion"), "feature_size": (config.audio.mels, 64), "padding": ("repeatpad", "repeatpad")}
    for key, (value, default) in needed.items():
        if facts.get(key, default) != value:
            raise UsageError(f"{PREPROCESSOR}: {key} is {facts.get(key, default)!a:.80}, and this tower needs {value!a}")

    def whole(key, default):
        return size(facts, key, default, where=PREPROCESSOR)

    window, rate = whole("fft_window_size", 1024), whole("sampling_rate", 48_000)
    try:
        mel = MelConfig(
            sample_rate=rate,
            n_fft=window,
            win_length=window,
            hop=whole("hop_length", 480),
            n_mels=config.audio.mels,
            f_min=number(facts, "frequency_min", 0, where=PREPROCESSOR),
            f_max=number(facts, "frequency_max", 14_000, where=PREPROCESSOR),
            filter_bank="htk" if fusion else "slaney",
        )
        mel = overridden(mel, section(checkpoint.own, "mel"), "config.json")
        front_end = ClapFrontEnd(mel, size(checkpoint.own, "samples", rate * whole("max_length_s", 10)), fusion)
    except ValueError as error:
        raise UsageError(f"{PREPROCESSOR}: {error}") from error
    if mel.n_mels != config.audio.mels:
        raise UsageError(f"config.json: log-mels of {mel.n_mels} bands, and this tower takes {config.audio.mels}")
    if front_end.frames > config.audio.frames:
        raise UsageError(f"{PREPROCESSOR}: clips of {front_end.frames} frames, and this tower takes {config.audio.frames} at most")
    return front_end


def fields(checkpoint: Checkpoint, config: ClapConfig) -> dict[str, Any]:
    """Front end, tokenizer and length of texts of a `ClapTower`; the tokenizer is None where the folder has none.

    Raises:
      UsageError: a tokenizer that cannot be read, or whose vocabulary is larger than the word table.
    """
    tokenizer = None
    if has_vocabulary(checkpoint.folder):
        tokenizer = Tokenizer.load(checkpoint.folder)
        if tokenizer.vocab_size > config.text.vocab_size:
            words = f"{tokenizer.vocab_size} entries, and the model has {config.text.vocab_size}"
            raise UsageError(f"{shown(checkpoint.folder)}: the tokenizer has {words}: they do not belong together")
    length = size(checkpoint.own, "max_tokens", ClapTower.max_tokens)
    return {"front_end": front_end_of(checkpoint, config), "tokenizer": tokenizer, "max_tokens": length}


def example(config: ClapConfig) -> tuple[np.ndarray, ...]:
    """Log-mel, ids, mask and is_longer that initialise the module."""
    audio = config.audio
    mel = np.zeros((1, 4 if audio.fusion else 1, audio.frames, audio.mels), np.float32)
    return mel, *bert.one_token(config), np.ones(1, bool)


KIND = Kind(config_of, Clap, family, example, types=("clap",), tower=ClapTower, fields=fields, publish=publish)
TEXT_KIND = Kind(
    text_config_of, ClapText, text_family, bert.one_token, types=("clap_text_model",), tower=ClapTextTower, publish=publish_text
)
