"""transformers' BERT and RoBERTa at the sizes of a `BertConfig`."""

import transformers


def reference_bert(config, masked_lm=False):
    """A torch model with random weights: BertModel or RobertaModel, or the one with the masked-LM head and without the pooler."""
    family, padding = ("Bert", {}) if config.padding_id is None else ("Roberta", {"pad_token_id": config.padding_id})
    sizes = getattr(transformers, f"{family}Config")(
        vocab_size=config.vocab_size,
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=config.hidden,
        max_position_embeddings=config.max_positions,
        type_vocab_size=config.segments,
        layer_norm_eps=config.norm_eps,
        **padding,
    )
    return getattr(transformers, f"{family}{'ForMaskedLM' if masked_lm else 'Model'}")(sizes)
