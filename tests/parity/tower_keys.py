"""Names of our tower parameters in public torch checkpoints, as small tables, and the layout of each kind of array."""

import re

import jax
import numpy as np

BERT = (
    (r"word/embedding", "embeddings.word_embeddings.weight"),
    (r"position/embedding", "embeddings.position_embeddings.weight"),
    (r"segment/embedding", "embeddings.token_type_embeddings.weight"),
    (r"norm/(\w+)", r"embeddings.LayerNorm.\1"),
    (r"layer_(\d+)/attention/out/(\w+)", r"encoder.layer.\1.attention.output.dense.\2"),
    (r"layer_(\d+)/attention/(query|key|value)/(\w+)", r"encoder.layer.\1.attention.self.\2.\3"),
    (r"layer_(\d+)/attention_norm/(\w+)", r"encoder.layer.\1.attention.output.LayerNorm.\2"),
    (r"layer_(\d+)/mlp/up/(\w+)", r"encoder.layer.\1.intermediate.dense.\2"),
    (r"layer_(\d+)/mlp/down/(\w+)", r"encoder.layer.\1.output.dense.\2"),
    (r"layer_(\d+)/mlp_norm/(\w+)", r"encoder.layer.\1.output.LayerNorm.\2"),
    (r"pooler/(\w+)", r"pooler.dense.\1"),
)  # RoBERTa's names are the same
BERT_MASKED_LM = (  # `MaskedLmHead` in BertForMaskedLM; the decoder's weight is the word table
    (r"dense/(\w+)", r"cls.predictions.transform.dense.\1"),
    (r"norm/(\w+)", r"cls.predictions.transform.LayerNorm.\1"),
    (r"bias", "cls.predictions.bias"),
)
ROBERTA_MASKED_LM = (
    (r"dense/(\w+)", r"lm_head.dense.\1"),
    (r"norm/(\w+)", r"lm_head.layer_norm.\1"),
    (r"bias", "lm_head.bias"),
)
T5_SHARED = (
    (r"word/embedding", "shared.weight"),
    (r"relative_position/embedding", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"),
    (r"layer_(\d+)/attention_norm/(\w+)", r"encoder.block.\1.layer.0.layer_norm.\2"),
    (r"layer_(\d+)/attention/query/(\w+)", r"encoder.block.\1.layer.0.SelfAttention.q.\2"),
    (r"layer_(\d+)/attention/key/(\w+)", r"encoder.block.\1.layer.0.SelfAttention.k.\2"),
    (r"layer_(\d+)/attention/value/(\w+)", r"encoder.block.\1.layer.0.SelfAttention.v.\2"),
    (r"layer_(\d+)/attention/out/(\w+)", r"encoder.block.\1.layer.0.SelfAttention.o.\2"),
    (r"layer_(\d+)/mlp_norm/(\w+)", r"encoder.block.\1.layer.1.layer_norm.\2"),
    (r"layer_(\d+)/mlp/down/(\w+)", r"encoder.block.\1.layer.1.DenseReluDense.wo.\2"),
    (r"norm/(\w+)", r"encoder.final_layer_norm.\1"),
)
T5 = (*T5_SHARED, (r"layer_(\d+)/mlp/up/(\w+)", r"encoder.block.\1.layer.1.DenseReluDense.wi.\2"))
FLAN_T5 = (  # gated
    *T5_SHARED,
    (r"layer_(\d+)/mlp/gate/(\w+)", r"encoder.block.\1.layer.1.DenseReluDense.wi_0.\2"),
    (r"layer_(\d+)/mlp/up/(\w+)", r"encoder.block.\1.layer.1.DenseReluDense.wi_1.\2"),
)
PANNS = (
    (r"layer(\d+)_(\d+)/downsample_conv/(\w+)", r"resnet.layer\1.\2.downsample.1.\3"),
    (r"layer(\d+)_(\d+)/downsample_bn/(\w+)", r"resnet.layer\1.\2.downsample.2.\3"),
    (r"layer(\d+)_(\d+)/([a-z]+\d)/(\w+)", r"resnet.layer\1.\2.\3.\4"),
    (r"(conv_block\w+)/(\w+)/(\w+)", r"\1.\2.\3"),
    (r"(bn0|fc1|fc_audioset)/(\w+)", r"\1.\2"),
)
LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}


def to_torch(variables, table):
    """State dict of arrays with torch's names and layouts; a leaf that no row or several rows of `table` name is an error."""
    state = {}
    for collection in variables.values():
        for path, value in jax.tree_util.tree_leaves_with_path(collection):
            ours = "/".join(part.key for part in path)
            names = [match.expand(theirs) for pattern, theirs in table if (match := re.fullmatch(pattern, ours))]
            assert len(names) == 1, f"{ours}: torch names {names}"
            stem, leaf = names[0].rsplit(".", 1)
            name = f"{stem}.{LEAVES.get(leaf, leaf)}"
            assert name not in state, f"{name} is named twice"
            state[name] = _layout(np.asarray(value), ours)
    return state


def _layout(value, name):
    if not name.endswith("kernel"):
        return value
    return value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T  # HWIO -> OIHW, IO -> OI
