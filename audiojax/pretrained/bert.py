"""BERT in the layout of transformers (`bert-base-uncased`: model.safetensors or pytorch_model.bin)."""

from audiojax.encoders.bert import BertConfig
from audiojax.pretrained.rules import Family, Row

ROWS = (
    Row(r"word/embedding", r"embeddings.word_embeddings.embedding"),
    Row(r"position/embedding", r"embeddings.position_embeddings.embedding"),
    Row(r"segment/embedding", r"embeddings.token_type_embeddings.embedding"),
    Row(r"norm/(\w+)", r"embeddings.LayerNorm.\1"),
    Row(r"layer_(\d+)/attention/out/(\w+)", r"encoder.layer.\1.attention.output.dense.\2"),
    Row(r"layer_(\d+)/attention/(query|key|value)/(\w+)", r"encoder.layer.\1.attention.self.\2.\3"),
    Row(r"layer_(\d+)/attention_norm/(\w+)", r"encoder.layer.\1.attention.output.LayerNorm.\2"),
    Row(r"layer_(\d+)/mlp/up/(\w+)", r"encoder.layer.\1.intermediate.dense.\2"),
    Row(r"layer_(\d+)/mlp/down/(\w+)", r"encoder.layer.\1.output.dense.\2"),
    Row(r"layer_(\d+)/mlp_norm/(\w+)", r"encoder.layer.\1.output.LayerNorm.\2"),
    Row(r"pooler/(\w+)", r"pooler.dense.\1"),
)
RENAMES = (
    (r"^bert\.", ""),  # files of BertForPreTraining and of fine-tuned models
    (r"LayerNorm\.gamma$", "LayerNorm.weight"),  # files converted from TensorFlow in 2018
    (r"LayerNorm\.beta$", "LayerNorm.bias"),
)


def family(config: BertConfig) -> Family:
    """The table of an encoder; heads of pre-training, and the pooler where the config has none, are ignored in a file."""
    ignore = (r"embeddings\.position_ids", r"cls\..*") + (() if config.pooler else (r"pooler\..*",))
    return Family("BERT", ROWS, ignore=ignore, renames=RENAMES)
