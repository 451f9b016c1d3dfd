"""CLAP in the authors' own layout ("LAION-AI/CLAP code": 630k-audioset-best.pt and its like, {"state_dict": ...}, names below `module.`).

A bare file has no config: its sizes are read off the shapes of its tensors.
"""

import re

from audiojax.encoders.bert import BertConfig
from audiojax.encoders.clap import Clap, ClapConfig
from audiojax.encoders.htsat import HtsatConfig
from audiojax.errors import UsageError
from audiojax.pretrained import bert, clap
from audiojax.pretrained.kinds import Checkpoint, Kind, Shapes
from audiojax.pretrained.rules import Family, Row, below
from audiojax.towers.clap import ClapTower
from audiojax.towers.clap_features import PRESETS as FRONT_ENDS

HEAD_WIDTH = 64  # of RoBERTa: the number of heads shows in no shape
BLOCK = r"stage_(\d+)_(\d+)"
THEIR_BLOCK = r"layers.\1.blocks.\2"
AUDIO_ROWS = (
    Row(r"bn0/(\w+)", r"bn0.\1"),
    *(row for row in clap.AUDIO_ROWS if row.theirs.startswith(("patch_embed.", "layers.\\1.downsample.", "norm."))),
    Row(BLOCK + r"/attention_norm/(\w+)", THEIR_BLOCK + r".norm1.\3"),
    *(
        Row(BLOCK + rf"/attention/{name}/(\w+)", THEIR_BLOCK + r".attn.qkv.\3", part=(i, 3))
        for i, name in enumerate(("query", "key", "value"))
    ),
    Row(BLOCK + r"/attention/relative_bias", THEIR_BLOCK + r".attn.relative_position_bias_table"),
    Row(BLOCK + r"/attention/out/(\w+)", THEIR_BLOCK + r".attn.proj.\3"),
    Row(BLOCK + r"/mlp_norm/(\w+)", THEIR_BLOCK + r".norm2.\3"),
    Row(BLOCK + r"/mlp/up/(\w+)", THEIR_BLOCK + r".mlp.fc1.\3"),
    Row(BLOCK + r"/mlp/down/(\w+)", THEIR_BLOCK + r".mlp.fc2.\3"),
)
ROWS = (
    *below("audio/encoder/", "audio_branch.", AUDIO_ROWS),
    *below("text/encoder/", "text_branch.", bert.ROWS),
    Row(r"(audio|text)/projection/up/(\w+)", r"\1_projection.0.\2"),
    Row(r"(audio|text)/projection/down/(\w+)", r"\1_projection.2.\2"),
    Row(r"(logit_scale_[at])", r"\1"),
)
IGNORED = (
    r"audio_branch\.(spectrogram_extractor|logmel_extractor|tscam_conv|head)\..*",  # the spectrogram is ours, and no tags are predicted
    r"(audio|text)_transform\..*",  # perceptrons of a second loss
    r".*\.attn_mask",
)
WEIGHTS = "audio_branch.patch_embed.proj.weight"


def family(config: ClapConfig) -> Family:
    """The table of a whole file."""
    return Family("CLAP of LAION", ROWS, ignore=clap.BUFFERS + IGNORED, renames=((r"^module\.", ""),))


def recognise(shapes: Shapes) -> bool:
    """Every file with HTSAT as its audio half has these patches."""
    return any(name.removeprefix("module.") == WEIGHTS for name in shapes)


def config_of(checkpoint: Checkpoint) -> ClapConfig:
    """Sizes from the shapes of the tensors; RoBERTa's epsilon is 1e-5, with which the authors trained.

    Raises:
      UsageError: the text half is not RoBERTa, or a tensor that a size is read from is not there.
    """
    shapes = {name.removeprefix("module."): shape for name, shape in checkpoint.shapes.items()}

    def extent(name, axis, dimensions):
        shape = shapes.get(name, ())
        if len(shape) != dimensions or not shape[axis]:
            raise UsageError(f"a file of CLAP's authors without a usable '{name}': only HTSAT with RoBERTa can be read")
        return shape[axis]

    def count(pattern):
        return len({match[0] for name in shapes if (match := re.match(pattern, name))})

    stages = range(count(r"audio_branch\.layers\.\d+\."))
    tables = [f"audio_branch.layers.{i}.blocks.0.attn.relative_position_bias_table" for i in stages]
    channels = extent(WEIGHTS, 0, 4)
    fusion = "audio_branch.patch_embed.mel_conv2d.weight" in shapes
    audio = HtsatConfig(
        mels=extent("audio_branch.bn0.weight", 0, 1),
        patch=extent(WEIGHTS, 2, 4),
        channels=channels,
        depths=tuple(count(rf"audio_branch\.layers\.{i}\.blocks\.\d+\.") for i in stages),
        heads=tuple(extent(table, 1, 2) for table in tables),
        window=(round(extent(tables[0], 0, 2) ** 0.5) + 1) // 2 if tables else HtsatConfig.window,
        fusion=fusion,
        fusion_reduction=channels // extent("audio_branch.patch_embed.fusion_model.local_att.0.weight", 0, 4) if fusion else 4,
    )
    clap.check_geometry(audio)
    words = "text_branch.embeddings.word_embeddings.weight"
    text = BertConfig(
        vocab_size=extent(words, 0, 2),
        width=extent(words, 1, 2),
        layers=count(r"text_branch\.encoder\.layer\.\d+\."),
        heads=max(extent(words, 1, 2) // HEAD_WIDTH, 1),
        hidden=extent("text_branch.encoder.layer.0.intermediate.dense.weight", 0, 2),
        max_positions=extent("text_branch.embeddings.position_embeddings.weight", 0, 2),
        segments=extent("text_branch.embeddings.token_type_embeddings.weight", 0, 2),
        padding_id=1,
        norm_eps=1e-5,
        pooler=True,
    )
    if text.segments != 1:
        raise UsageError("a file of CLAP's authors whose text half is BERT: only RoBERTa can be read")
    return ClapConfig(text=text, audio=audio, projection=extent("text_projection.0.weight", 0, 2))


def fields(checkpoint: Checkpoint, config: ClapConfig) -> dict[str, object]:
    """The published front end, and no tokenizer: the authors take roberta-base's."""
    return {"front_end": FRONT_ENDS["fusion" if config.audio.fusion else "rand_trunc"], "tokenizer": None}


KIND = Kind(config_of, Clap, family, clap.example, recognise=recognise, tower=ClapTower, fields=fields)
