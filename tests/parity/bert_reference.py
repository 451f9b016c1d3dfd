"""transformers' BertModel at the sizes of a `BertConfig`."""

from transformers import BertConfig as ReferenceConfig
from transformers import BertModel


def reference_bert(config):
    """A torch model with random weights."""
    return BertModel(
        ReferenceConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=config.hidden,
            max_position_embeddings=config.max_positions,
            type_vocab_size=config.segments,
            layer_norm_eps=config.norm_eps,
        )
    )
