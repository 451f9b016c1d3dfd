"""LLaMA in the layout of transformers (`meta-llama/Llama-*`, TinyLlama), with the Mistral and Qwen2 models that are the same network."""

import json
from collections.abc import Mapping
from typing import Any

from audiojax.errors import UsageError
from audiojax.models.llama import PARTITION_RULES, Llama, LlamaConfig
from audiojax.nn.rope import RopeScaling
from audiojax.pretrained.bert import one_token
from audiojax.pretrained.kinds import Checkpoint, Kind, Public, expect, number, size
from audiojax.pretrained.rules import Family, Row
from audiojax.text.tokenizer import Tokenizer, has_vocabulary
from audiojax.towers.llama import LlamaTower

NAMES = (("query", "self_attn.q_proj"), ("key", "self_attn.k_proj"), ("value", "self_attn.v_proj"), ("out", "self_attn.o_proj"))
ROWS = (
    Row(r"word/embedding", "model.embed_tokens.embedding"),
    *(Row(rf"layer_(\d+)/attention/{ours}/(kernel|bias)", rf"model.layers.\1.{theirs}.\2") for ours, theirs in NAMES),
    Row(r"layer_(\d+)/mlp/(gate|up|down)/(kernel|bias)", r"model.layers.\1.mlp.\2_proj.\3"),
    Row(r"layer_(\d+)/attention_norm/(\w+)", r"model.layers.\1.input_layernorm.\2"),
    Row(r"layer_(\d+)/mlp_norm/(\w+)", r"model.layers.\1.post_attention_layernorm.\2"),
    Row(r"norm/(\w+)", r"model.norm.\1"),
    Row(r"head/(kernel)", r"lm_head.\1"),
)
FREQUENCIES = (r"model\..*rotary_emb\.inv_freq",)  # older files keep them; they follow from config.json


def family(config: LlamaConfig) -> Family:
    """The table of a model."""
    tied = (("lm_head.weight", "model.embed_tokens.weight"),) if config.tie_embeddings else ()
    return Family("LLaMA", ROWS, ignore=FREQUENCIES, tied=tied)


def config_of(checkpoint: Checkpoint) -> LlamaConfig:
    """Sizes from config.json; what it leaves out is as in transformers.

    Raises:
      UsageError: a Mistral or Qwen2 that attends to a sliding window, rotary positions of another kind, or sizes that make no model.
    """
    facts = checkpoint.facts
    name = facts["model_type"]
    expect(facts, hidden_act="silu")
    positions = size(facts, "max_position_embeddings", 32_768 if name == "qwen2" else 131_072 if name == "mistral" else 2048)
    _refuse_windows(facts, positions)
    width, heads = size(facts, "hidden_size"), size(facts, "num_attention_heads")
    if facts.get("head_dim") is None and width % heads:
        raise UsageError(f"config.json: hidden_size {width} is not divisible by num_attention_heads {heads}")
    kv_heads = heads if facts.get("num_key_value_heads") is None else size(facts, "num_key_value_heads")
    attention_bias = name == "llama" and flag(facts, "attention_bias")
    return LlamaConfig(
        vocab_size=size(facts, "vocab_size"),
        width=width,
        layers=size(facts, "num_hidden_layers"),
        heads=heads,
        kv_heads=kv_heads,
        head_width=width // heads if facts.get("head_dim") is None else size(facts, "head_dim"),
        hidden=size(facts, "intermediate_size"),
        max_positions=positions,
        rope_theta=_rope(facts)[0],
        rope_scaling=_rope(facts)[1],
        norm_eps=number(facts, "rms_norm_eps", 1e-6),
        tie_embeddings=flag(facts, "tie_word_embeddings"),
        qkv_bias=attention_bias or name == "qwen2",
        out_bias=attention_bias,
        mlp_bias=name == "llama" and flag(facts, "mlp_bias"),
    )


def flag(facts: Mapping[str, Any], key: str) -> bool:
    """A yes or no of config.json, no by default. UsageError where it is something else."""
    value = facts.get(key, False)
    if type(value) is not bool:
        raise UsageError(f"config.json: {key} is {value!a:.80}, and true or false is needed")
    return value


def tower_fields(checkpoint: Checkpoint, config: LlamaConfig) -> dict[str, Any]:
    """The folder's tokenizer, if it has one, and the tokens that begin and end a text."""
    tokenizer = Tokenizer.load(checkpoint.folder) if has_vocabulary(checkpoint.folder) else None
    facts = dict(checkpoint.facts)
    try:  # what generation reads stands here in newer folders: the chat models of LLaMA 3 have several ends
        facts |= json.loads((checkpoint.folder / "generation_config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        pass
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"{checkpoint.folder / 'generation_config.json'}: is no config of transformers") from error
    return {"tokenizer": tokenizer, "bos_id": _ids(facts, "bos_token_id", config), "eos_ids": _ids(facts, "eos_token_id", config)}


def _ids(facts: Mapping[str, Any], key: str, config: LlamaConfig) -> tuple[int, ...]:
    value = facts.get(key)
    ids = tuple(value) if isinstance(value, list) else () if value is None else (value,)
    if len(ids) > 100 or any(type(i) is not int or not 0 <= i < config.vocab_size for i in ids):
        raise UsageError(f"config.json: {key} is {value!a:.80}, and ids below {config.vocab_size} are needed")
    return ids


def publish(tower: LlamaTower) -> Public:
    """A LlamaForCausalLM. ValueError for what its config has no words for here: scaled positions, biases of one map alone."""
    c = tower.config
    if c.rope_scaling is not None or c.qkv_bias != c.out_bias:
        raise ValueError("only a LLaMA with plain rotary positions, and with biases in all maps of attention or in none, is written")
    facts = {
        "vocab_size": c.vocab_size,
        "hidden_size": c.width,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads,
        "head_dim": c.head_width,
        "intermediate_size": c.hidden,
        "max_position_embeddings": c.max_positions,
        "rope_theta": c.rope_theta,
        "rms_norm_eps": c.norm_eps,
        "tie_word_embeddings": c.tie_embeddings,
        "attention_bias": c.qkv_bias,
        "mlp_bias": c.mlp_bias,
        "hidden_act": "silu",
        "bos_token_id": tower.bos_id[0] if tower.bos_id else None,
        "eos_token_id": list(tower.eos_ids) or None,
        "pad_token_id": tower.tokenizer.pad_id if tower.tokenizer else None,
    }
    return Public(tower, {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **facts})


def _rope(facts: Mapping[str, Any]) -> tuple[float, RopeScaling | None]:
    """(theta, scaling) from `rope_parameters` of transformers 5, or `rope_theta` and `rope_scaling` of older folders."""
    found = facts.get("rope_parameters") or facts.get("rope_scaling") or {}
    if not isinstance(found, Mapping):
        raise UsageError(f"config.json: the rotary positions are {found!a:.80}, and names with values are needed")
    theta = number(found if "rope_theta" in found else facts, "rope_theta", 10_000.0)
    if theta <= 0 or found.get("partial_rotary_factor", 1.0) != 1.0:
        raise UsageError("config.json: rotary positions need a positive rope_theta, and turn whole heads (partial_rotary_factor 1)")
    kind = found.get("rope_type", found.get("type", "default"))
    if kind == "default":
        return theta, None
    if kind not in ("linear", "llama3"):
        raise UsageError(f"config.json: rotary positions of type {kind!a:.80} are not known; there are default, linear, llama3")
    factor = number(found, "factor")
    if factor < 1:
        raise UsageError(f"config.json: rotary positions with factor {factor}, and at least 1 is needed")
    if kind == "linear":
        return theta, RopeScaling("linear", factor)
    low, high = number(found, "low_freq_factor"), number(found, "high_freq_factor")
    if not 0 < low < high:
        raise UsageError(f"config.json: low_freq_factor {low} and high_freq_factor {high}: the first must be the smaller, both positive")
    return theta, RopeScaling("llama3", factor, low, high, size(found, "original_max_position_embeddings"))


def _refuse_windows(facts: Mapping[str, Any], positions: int) -> None:
    """A window is no difference where it is off or holds every position; transformers' Mistral has one of 4096 unless it says null."""
    kinds, name = facts.get("layer_types") or [], facts["model_type"]
    has_window = name == "mistral" or (name == "qwen2" and facts.get("use_sliding_window"))
    window = facts.get("sliding_window", 4096) if has_window else None
    if window is not None and not (type(window) is int and window >= positions):
        raise UsageError(f"config.json: a sliding window of {window!a:.80} for {positions} positions, and this model attends to all")
    if not isinstance(kinds, list) or any(kind != "full_attention" for kind in kinds):
        raise UsageError(f"config.json: layer_types is {kinds!a:.80}; this model has full_attention alone")


KIND = Kind(
    config_of,
    Llama,
    family,
    one_token,
    types=("llama", "mistral", "qwen2"),
    tower=LlamaTower,
    rules=PARTITION_RULES,
    fields=tower_fields,
    publish=publish,
)
