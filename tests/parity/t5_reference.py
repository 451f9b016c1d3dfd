"""transformers' T5EncoderModel at the sizes of a `T5Config`."""

from transformers import T5Config as ReferenceConfig
from transformers import T5EncoderModel


def reference_t5(config):
    """A torch model with random weights."""
    return T5EncoderModel(
        ReferenceConfig(
            vocab_size=config.vocab_size,
            d_model=config.width,
            d_kv=config.head_width,
            d_ff=config.hidden,
            num_layers=config.layers,
            num_heads=config.heads,
            relative_attention_num_buckets=config.buckets,
            relative_attention_max_distance=config.max_distance,
            layer_norm_epsilon=config.norm_eps,
            feed_forward_proj="gated-gelu" if config.gated else "relu",
        )
    )
