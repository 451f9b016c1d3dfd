"""T5 and FLAN-T5 encoders in the layout of transformers (`t5-*`, `flan-t5-*`); the decoder in such a file is ignored."""

from audiojax.encoders.t5 import T5Config, T5Encoder
from audiojax.errors import UsageError
from audiojax.pretrained.bert import one_token
from audiojax.pretrained.kinds import Checkpoint, Kind, Public, number, size
from audiojax.pretrained.rules import Family, Row
from audiojax.towers.text import TextTower

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


def config_of(checkpoint: Checkpoint) -> T5Config:
    """Sizes of the encoder of a T5 or FLAN-T5 from config.json."""
    facts = checkpoint.facts
    form = facts.get("feed_forward_proj", "relu")
    if form not in ("relu", "gated-gelu"):
        raise UsageError(f"config.json: feed_forward_proj is {form!a:.80}; there are relu and gated-gelu")
    buckets = size(facts, "relative_attention_num_buckets", 32, least=4)
    return T5Config(
        vocab_size=size(facts, "vocab_size"),
        width=size(facts, "d_model"),
        layers=size(facts, "num_layers"),
        heads=size(facts, "num_heads"),
        head_width=size(facts, "d_kv"),
        hidden=size(facts, "d_ff"),
        gated=form == "gated-gelu",
        buckets=buckets,
        max_distance=size(facts, "relative_attention_max_distance", 128, least=buckets // 4 + 1),  # a quarter have a distance of their own
        norm_eps=number(facts, "layer_norm_epsilon", 1e-6),
    )


def publish(tower: TextTower) -> Public:
    """A T5EncoderModel."""
    config = tower.config
    facts = {
        "model_type": "t5",
        "architectures": ["T5EncoderModel"],
        "vocab_size": config.vocab_size,
        "d_model": config.width,
        "num_layers": config.layers,
        "num_heads": config.heads,
        "d_kv": config.head_width,
        "d_ff": config.hidden,
        "feed_forward_proj": "gated-gelu" if config.gated else "relu",
        "relative_attention_num_buckets": config.buckets,
        "relative_attention_max_distance": config.max_distance,
        "layer_norm_epsilon": config.norm_eps,
        "dropout_rate": config.dropout,
        "is_encoder_decoder": False,
        "use_cache": False,
        "pad_token_id": 0,
    }
    return Public(tower, facts)


KIND = Kind(config_of, T5Encoder, family, one_token, types=("t5",), tower=TextTower, publish=publish)
