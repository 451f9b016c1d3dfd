"""LLaMA: every token of a caption from those before it, the end among them (arXiv 2302.13971)."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from audiojax.errors import UsageError
from audiojax.losses.tokens import token_cross_entropy, token_mean
from audiojax.models.llama import PARTITION_RULES, PRESETS, Llama
from audiojax.papers.options import dtype_of
from audiojax.papers.task import Task, choice
from audiojax.papers.towers import words
from audiojax.typing import Array, Batch, Key, Params


def make(config: Mapping[str, Any], vocab_size: int) -> Task:
    """The task of a config whose tower is "llama"."""
    llama = network(config, vocab_size)
    return Task(
        name="towers/causal_lm",
        init=partial(init, llama),
        loss=partial(loss, llama),
        predict=partial(predict, llama),
        metrics=words.metrics,
        partition_rules=PARTITION_RULES,
        select="accuracy",
    )


def network(config: Mapping[str, Any], vocab_size: int) -> Llama:
    """The tower, with a word table of `vocab_size` rows."""
    sizes = PRESETS[choice("model.preset", config["model"]["preset"], PRESETS)]
    if config["data"]["max_tokens"] > sizes.max_positions:
        raise UsageError(f"data.max_tokens is {config['data']['max_tokens']}, and the tower has {sizes.max_positions} positions")
    return Llama(replace(sizes, vocab_size=vocab_size), dtype=dtype_of(config))


def init(llama: Llama, key: Key, batch: Batch) -> dict[str, Any]:
    """Fresh parameters."""
    return {"params": llama.init(key, batch["text_ids"][:1], batch["text_mask"][:1], train=False)["params"], "model_state": {}}


def next_tokens(
    llama: Llama, params: Params, ids: Int[Array, "b l"], mask: Bool[Array, "b l"], *, train: bool
) -> tuple[Float[Array, "b k v"], Int[Array, "b k"], Bool[Array, "b k"]]:
    """(logits at all positions but the last, the tokens that follow, which of these there are); k = l - 1, and [CLS] is given."""
    return llama.apply({"params": params}, ids[:, :-1], mask[:, :-1], train=train), ids[:, 1:], mask[:, 1:]


def loss(llama: Llama, params: Params, model_state: Any, batch: Batch, key: Key, *, axis_name: str | None = None):
    """Cross entropy of every token after the first, the mean over those of the whole batch."""
    logits, targets, counted = next_tokens(llama, params, batch["text_ids"], batch["text_mask"], train=True)
    value = token_mean(token_cross_entropy(logits, targets), counted, axis_name)
    right = token_mean(jnp.argmax(logits, axis=-1) == targets, counted, axis_name)
    return value, (model_state, {"accuracy": right})


def predict(llama: Llama, params: Params, model_state: Any, batch: Batch) -> dict[str, Array]:
    """What the tower says of every token of every caption given those before it, [b, c, k]."""
    ids, mask = (batch[name].reshape(-1, batch[name].shape[-1]) for name in ("text_ids", "text_mask"))
    return words.answers(*next_tokens(llama, params, ids, mask, train=False), batch["text_ids"].shape[1])
