"""BERT and RoBERTa in the layout of transformers (`bert-base-uncased`, `roberta-base`: model.safetensors or pytorch_model.bin)."""

from typing import Any

import numpy as np

from audiojax.encoders.bert import BertConfig, BertEncoder
from audiojax.pretrained.kinds import Checkpoint, Kind, Public, expect, number, size
from audiojax.pretrained.rules import Family, Row
from audiojax.towers.text import TextTower

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
BERT_HEAD_ROWS = (
    Row(r"dense/(\w+)", r"cls.predictions.transform.dense.\1"),
    Row(r"norm/(\w+)", r"cls.predictions.transform.LayerNorm.\1"),
    Row(r"bias", "cls.predictions.bias"),
)
ROBERTA_HEAD_ROWS = (
    Row(r"dense/(\w+)", r"lm_head.dense.\1"),
    Row(r"norm/(\w+)", r"lm_head.layer_norm.\1"),
    Row(r"bias", "lm_head.bias"),
)
RENAMES = (
    (r"^(bert|roberta)\.", ""),  # files of models with a head
    (r"LayerNorm\.gamma$", "LayerNorm.weight"),  # files converted from TensorFlow in 2018
    (r"LayerNorm\.beta$", "LayerNorm.bias"),
)
HEADS = (r"(cls|lm_head)\..*",)
BUFFERS = (r"embeddings\.(position_ids|token_type_ids)",)


def family(config: BertConfig) -> Family:
    """The table of an encoder; heads of pre-training, and the pooler where the config has none, are ignored in a file."""
    pooler = () if config.pooler else (r"pooler\..*",)
    return Family("BERT" if config.padding_id is None else "RoBERTa", ROWS, ignore=BUFFERS + HEADS + pooler, renames=RENAMES)


def masked_lm_family(config: BertConfig) -> Family:
    """The table of `MaskedLmHead` in the same file; its output matrix is the word table."""
    encoder = (r"(bert|roberta|embeddings|encoder|pooler)\..*", r"cls\.seq_relationship\..*")
    copies = (r"cls\.predictions\.decoder\..*", r"lm_head\.decoder\..*")
    rows = BERT_HEAD_ROWS if config.padding_id is None else ROBERTA_HEAD_ROWS
    return Family("masked LM head", rows, ignore=encoder + copies, renames=RENAMES[1:])


def config_of(checkpoint: Checkpoint) -> BertConfig:
    """Sizes of a BERT or RoBERTa encoder from config.json; what it leaves out is as in transformers."""
    facts = checkpoint.facts
    roberta = facts["model_type"] == "roberta"
    expect(facts, hidden_act="gelu", position_embedding_type="absolute")
    return BertConfig(
        vocab_size=size(facts, "vocab_size"),
        width=size(facts, "hidden_size"),
        layers=size(facts, "num_hidden_layers"),
        heads=size(facts, "num_attention_heads"),
        hidden=size(facts, "intermediate_size"),
        max_positions=size(facts, "max_position_embeddings"),
        segments=size(facts, "type_vocab_size", 2),
        padding_id=size(facts, "pad_token_id", 1, least=0) if roberta else None,
        norm_eps=number(facts, "layer_norm_eps", 1e-12),
    )


def facts_of(config: BertConfig) -> dict[str, Any]:
    """config.json of an encoder, without its architecture: the inverse of `config_of`."""
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.hidden,
        "max_position_embeddings": config.max_positions,
        "type_vocab_size": config.segments,
        "pad_token_id": config.padding_id or 0,
        "layer_norm_eps": config.norm_eps,
        "hidden_act": "gelu",
        "position_embedding_type": "absolute",
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.attention_dropout,
    }


def publish(tower: TextTower) -> Public:
    """A BertModel or RobertaModel."""
    name, model = ("bert", "BertModel") if tower.config.padding_id is None else ("roberta", "RobertaModel")
    return Public(tower, {"model_type": name, "architectures": [model], **facts_of(tower.config)})


def one_token(_: object) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask that initialise a text tower."""
    return np.zeros((1, 1), np.int32), np.ones((1, 1), bool)


KIND = Kind(config_of, BertEncoder, family, one_token, types=("bert", "roberta"), tower=TextTower, publish=publish)
