"""transformers' T5ForConditionalGeneration with the weights of our encoder and decoder."""

import numpy as np
import torch
from transformers import T5Config as ReferenceConfig
from transformers import T5ForConditionalGeneration

from audiojax.pretrained.rules import export
from audiojax.pretrained.t5 import family

LAYERS = {"attention": (0, "SelfAttention"), "cross": (1, "EncDecAttention"), "mlp": (2, "DenseReluDense")}
MAPS = {"query": "q", "key": "k", "value": "v", "out": "o", "gate": "wi_0", "up": "wi_1", "down": "wo"}


def reference(config, encoder, decoder):
    """A torch model in evaluation mode; `encoder` and `decoder` are variables."""
    model = T5ForConditionalGeneration(
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
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
        )
    )
    model.lm_head = torch.nn.Linear(
        config.width, config.vocab_size, bias=False
    )  # transformers 5 shares it with the word table whatever is asked
    state = export(encoder, family(config)) | decoder_state(config, decoder["params"])
    state |= {f"{part}.embed_tokens.weight": state["shared.weight"] for part in ("encoder", "decoder")}
    model.load_state_dict({name: torch.tensor(np.ascontiguousarray(value)) for name, value in state.items()})
    return model.eval()


def decoder_state(config, params):
    """name of transformers -> array."""
    state = {
        "decoder.final_layer_norm.weight": params["norm"]["scale"],
        "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": params["relative_position"]["embedding"],
        "lm_head.weight": params["head"]["kernel"].T,
    }
    for i in range(config.layers):
        for part, (number, name) in LAYERS.items():
            layer = f"decoder.block.{i}.layer.{number}"
            state[f"{layer}.layer_norm.weight"] = params[f"layer_{i}"][f"{part}_norm"]["scale"]
            for ours, leaf in params[f"layer_{i}"][part].items():
                state[f"{layer}.{name}.{MAPS[ours]}.weight"] = leaf["kernel"].T
    return state


def logits(model, ids, mask, written):
    """Logits of the tokens after `written`, [b, t, v]."""
    with torch.no_grad():
        ids, mask, written = (torch.tensor(x.astype(np.int64)) for x in (ids, mask, written))
        return model(input_ids=ids, attention_mask=mask, decoder_input_ids=written).logits.numpy()
