"""T5 and FLAN-T5 encoders in the layout of transformers (`t5-*`, `flan-t5-*`); the decoder in such a file is ignored."""

from audiojax.encoders.t5 import T5Config
from audiojax.pretrained.rules import Family, Row

ROWS = (
    Row(r"word/embedding", "shared.embedding"),
    Row(r"relative_position/(\w+)", r"encoder.block.0.layer.0.SelfAttention.relative_attention_bias.\1"),
    Row(r"layer_(\d+)/attention_norm/(\w+)", r"encoder.block.\1.layer.0.layer_norm.\2"),
    Row(r"layer_(\d+)/attention/query/(\w+)", r"encoder.block.\1.layer.0.SelfAttention.q.\2"),
    Row(r"layer_(\d+)/attention/key/(\w+)", r"encoder.block.\1.layer.0.SelfAttention.k.\2"),
    Row(r"layer_(\d+)/attention/value/(\w+)", r"encoder.block.\1.layer.0.SelfAttention.v.\2"),
    Row(r"layer_(\d+)/attention/out/(\w+)", r"encoder.block.\1.layer.0.SelfAttention.o.\2"),
    Row(r"layer_(\d+)/mlp_norm/(\w+)", r"encoder.block.\1.layer.1.layer_norm.\2"),
    Row(r"layer_(\d+)/mlp/down/(\w+)", r"encoder.block.\1.layer.1.DenseReluDense.wo.\2"),
    Row(r"norm/(\w+)", r"encoder.final_layer_norm.\1"),
)
PLAIN_ROWS = (Row(r"layer_(\d+)/mlp/up/(\w+)", r"encoder.block.\1.layer.1.DenseReluDense.wi.\2"),)
GATED_ROWS = (
    Row(r"layer_(\d+)/mlp/gate/(\w+)", r"encoder.block.\1.layer.1.DenseReluDense.wi_0.\2"),
    Row(r"layer_(\d+)/mlp/up/(\w+)", r"encoder.block.\1.layer.1.DenseReluDense.wi_1.\2"),
)


def family(config: T5Config) -> Family:
    """The table of an encoder."""
    rows = ROWS + (GATED_ROWS if config.gated else PLAIN_ROWS)
    return Family("T5", rows, ignore=(r"decoder\..*", r"lm_head\..*"), tied=(("encoder.embed_tokens.weight", "shared.weight"),))
