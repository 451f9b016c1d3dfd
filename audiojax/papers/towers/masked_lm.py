"""BERT: 15 % of a caption's tokens are hidden, and the tower says which they were (arXiv 1810.04805, section 3.1)."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Shaped

from audiojax.collectives import example_keys, local_key
from audiojax.encoders.bert import PRESETS, BertEncoder, MaskedLmHead
from audiojax.errors import UsageError
from audiojax.losses.tokens import token_cross_entropy, token_mean
from audiojax.papers.options import dtype_of
from audiojax.papers.task import Task, choice
from audiojax.papers.towers import words
from audiojax.papers.towers.inputs import caption_keys
from audiojax.text.tokenizer import MASK, SPECIAL
from audiojax.typing import Batch, Key, Params

SHARE = 0.15  # of a caption's tokens
MASKED, REPLACED = 0.8, 0.1  # of the hidden ones become [MASK], become any token; the rest stay what they are


class Hidden(NamedTuple):
    """Captions with hidden tokens.

    Attributes:
      ids: [b, l], what the tower sees.
      positions: [b, k] of the hidden tokens.
      targets: [b, k], what they were.
      scored: [b, k], False where a caption has fewer than k.
    """

    ids: Array
    positions: Array
    targets: Array
    scored: Array


def make(config: Mapping[str, Any], vocab_size: int) -> Task:
    """The task of a config whose tower is "bert"."""
    encoder = network(config, vocab_size)
    head = MaskedLmHead(encoder.config, dtype=encoder.dtype)
    return Task(
        name="towers/masked_lm",
        init=partial(init, encoder, head),
        loss=partial(loss, encoder, head),
        predict=partial(predict, encoder, head),
        metrics=words.metrics,
        partition_rules=(),
        select="accuracy",
    )


def network(config: Mapping[str, Any], vocab_size: int) -> BertEncoder:
    """The tower, with a word table of `vocab_size` rows."""
    model = config["model"]
    sizes = PRESETS[choice("model.preset", model["preset"], PRESETS)]
    if config["data"]["max_tokens"] > sizes.max_length:
        raise UsageError(f"data.max_tokens is {config['data']['max_tokens']}, and the tower has {sizes.max_length} positions")
    sizes = replace(sizes, vocab_size=vocab_size, dropout=model["dropout"], attention_dropout=model["dropout"])
    return BertEncoder(sizes, dtype=dtype_of(config))


def hide_tokens(keys: Shaped[Array, "b"], ids: Int[Array, "b l"], mask: Bool[Array, "b l"], *, vocab_size: int) -> Hidden:
    """Hides 15 % of each caption's tokens, at least one; never padding or special tokens. Row i depends on key i alone."""
    counts = hidden_counts(ids.shape[1])  # a caption of n tokens has counts[n] hidden ones

    def of_row(key: Key, ids: Int[Array, "l"], mask: Bool[Array, "l"]) -> Hidden:
        place_key, coin_key, word_key = jax.random.split(key, 3)
        words = mask & (ids >= len(SPECIAL))
        lots = jnp.where(words, jax.random.uniform(place_key, ids.shape), -1.0)
        positions = jax.lax.top_k(lots, int(counts[-1]))[1]
        scored = jnp.arange(len(positions)) < jnp.asarray(counts)[jnp.sum(words)]
        targets = ids[positions]
        coin = jax.random.uniform(coin_key, targets.shape)
        others = jax.random.randint(word_key, targets.shape, len(SPECIAL), vocab_size, ids.dtype)
        changed = jnp.where(coin < MASKED, MASK, jnp.where(coin < MASKED + REPLACED, others, targets))
        return Hidden(ids.at[positions].set(jnp.where(scored, changed, targets)), positions, targets, scored)

    return jax.vmap(of_row)(keys, ids, mask)


def hidden_counts(length: int) -> Int[np.ndarray, " n"]:
    """How many tokens are hidden of 0, 1, ..., `length` of them: the rounded share, but at least one where there is one."""
    numbers = np.arange(length + 1)
    return np.minimum(numbers, np.maximum(1, np.round(SHARE * numbers))).astype(np.int32)


def init(encoder: BertEncoder, head: MaskedLmHead, key: Key, batch: Batch) -> dict[str, Any]:
    """Fresh parameters of the tower and of its head."""
    encoder_key, head_key = jax.random.split(key)
    tower = encoder.init(encoder_key, batch["text_ids"][:1], batch["text_mask"][:1], train=False)["params"]
    width = jnp.zeros((1, encoder.config.width))
    return {"params": {"encoder": tower, "head": head.init(head_key, width, tower["word"]["embedding"])["params"]}, "model_state": {}}


def scores(encoder: BertEncoder, head: MaskedLmHead, params: Params, hidden: Hidden, mask: Bool[Array, "b l"], **options: Any) -> Array:
    """Logits [b, k, v] at the hidden positions."""
    states = encoder.apply({"params": params["encoder"]}, hidden.ids, mask, **options).tokens
    states = jnp.take_along_axis(states, hidden.positions[..., None], axis=1)
    return head.apply({"params": params["head"]}, states, params["encoder"]["word"]["embedding"])


def loss(
    encoder: BertEncoder, head: MaskedLmHead, params: Params, model_state: Any, batch: Batch, key: Key, *, axis_name: str | None = None
):
    """Cross entropy of the hidden tokens, the mean over those of the whole batch."""
    dropout_key, hide_key = jax.random.split(key)
    ids, mask = batch["text_ids"], batch["text_mask"]
    hidden = hide_tokens(example_keys(hide_key, len(ids), axis_name), ids, mask, vocab_size=encoder.config.vocab_size)
    rngs = {"dropout": local_key(dropout_key, axis_name)}
    logits = scores(encoder, head, params, hidden, mask, train=True, rngs=rngs)
    value = token_mean(token_cross_entropy(logits, hidden.targets), hidden.scored, axis_name)
    right = token_mean(jnp.argmax(logits, axis=-1) == hidden.targets, hidden.scored, axis_name)
    return value, (model_state, {"accuracy": right})


def predict(encoder: BertEncoder, head: MaskedLmHead, params: Params, model_state: Any, batch: Batch) -> dict[str, Array]:
    """What the tower says of hidden tokens of every caption, [b, c, k]; which are hidden depends on the clip's number alone."""
    ids, mask = (batch[name].reshape(-1, batch[name].shape[-1]) for name in ("text_ids", "text_mask"))
    captions = batch["text_ids"].shape[1]
    hidden = hide_tokens(caption_keys(batch["clip_index"], captions), ids, mask, vocab_size=encoder.config.vocab_size)
    logits = scores(encoder, head, params, hidden, mask, train=False)
    return words.answers(logits, hidden.targets, hidden.scored, captions)
