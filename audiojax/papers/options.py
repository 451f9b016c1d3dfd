"""Values of a config that several papers turn into the same objects."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax.numpy as jnp

from audiojax.encoders.bert import PRESETS, BertConfig
from audiojax.errors import UsageError
from audiojax.papers.task import choice
from audiojax.towers.clap_features import PRESETS as FRONT_ENDS
from audiojax.towers.clap_features import ClapFrontEnd

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


def clap_front_end_of(config: Mapping[str, Any], *, in_time: bool = False) -> tuple[ClapFrontEnd, int]:
    """(CLAP's front end of `model.front_end`, samples of a window, which are those that it takes).

    Args:
      in_time: what it gives has to have a place in time.

    Raises:
      UsageError: an unknown preset, a fused one where places are needed, or other windows in the config's data.
    """
    name, data = config["model"]["front_end"], config["data"]
    front_end = FRONT_ENDS[choice("model.front_end", name, FRONT_ENDS)]
    if in_time and front_end.fusion:
        raise UsageError(f"config key 'model.front_end' is '{name}'; the segments of a fused CLAP have no place in time")
    samples = round(data["seconds"] * data["sample_rate"])
    if (front_end.mel.sample_rate, front_end.samples) != (data["sample_rate"], samples):
        raise UsageError(
            f"model.front_end '{name}' takes windows of {front_end.samples} samples at {front_end.mel.sample_rate} Hz;"
            f" data.seconds and data.sample_rate give {samples} at {data['sample_rate']} Hz"
        )
    return front_end, samples
