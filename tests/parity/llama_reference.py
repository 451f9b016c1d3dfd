"""transformers' LlamaForCausalLM at the sizes of a `LlamaConfig`."""

from transformers import LlamaConfig as ReferenceConfig
from transformers import LlamaForCausalLM


def rope_parameters(config):
    """What config.json of transformers 5 says of the rotary positions."""
    parameters, scaling = {"rope_theta": config.rope_theta, "rope_type": "default"}, config.rope_scaling
    if scaling is not None:
        parameters |= {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling is not None and scaling.kind == "llama3":
        parameters |= {"low_freq_factor": scaling.low, "high_freq_factor": scaling.high}
        parameters |= {"original_max_position_embeddings": scaling.pretrained}
    return parameters


def reference_llama(config):
    """A torch model with random weights; biases as in transformers' LLaMA, on all maps of the attention or on none."""
    assert config.qkv_bias == config.out_bias
    sizes = ReferenceConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.width,
        intermediate_size=config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads,
        head_dim=config.head_width,
        max_position_embeddings=config.max_positions,
        rms_norm_eps=config.norm_eps,
        tie_word_embeddings=config.tie_embeddings,
        attention_bias=config.qkv_bias,
        mlp_bias=config.mlp_bias,
        rope_parameters=rope_parameters(config),
        bos_token_id=None,
        eos_token_id=None,
        attn_implementation="eager",
    )
    return LlamaForCausalLM(sizes)
