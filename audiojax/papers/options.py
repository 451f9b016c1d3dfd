"""Values of a config that several papers turn into the same objects."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax.numpy as jnp

from audiojax.encoders.bert import PRESETS, BertConfig
from audiojax.errors import UsageError
from audiojax.papers.task import choice

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def dtype_of(config: Mapping[str, Any]) -> jnp.dtype:
    """The dtype of the computation that the config names. UsageError for an unknown one."""
    return DTYPES[choice("model.dtype", config["model"]["dtype"], DTYPES)]


def text_tower_of(config: Mapping[str, Any], vocab_size: int) -> BertConfig:
    """The BERT or RoBERTa of `model.text_preset`, with a word table of `vocab_size` rows and `model.text_dropout`, 0 where it is frozen.

    Raises:
      UsageError: an unknown preset, or captions longer than its positions.
    """
    model, tokens = config["model"], config["data"]["max_tokens"]
    text = PRESETS[choice("model.text_preset", model["text_preset"], PRESETS)]
    if tokens > text.max_length:
        raise UsageError(f"data.max_tokens is {tokens}, and the text tower has {text.max_length} positions")
    dropout = model.get("text_dropout", 0.0)
    return replace(text, vocab_size=vocab_size, dropout=dropout, attention_dropout=dropout)
