"""T5: the decoder writes the spans that were cut out of a caption, from what the encoder makes of the rest (arXiv 1910.10683)."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from audiojax.collectives import example_keys, local_key
from audiojax.encoders.t5 import PRESETS, T5Encoder
from audiojax.losses.tokens import token_cross_entropy, token_mean
from audiojax.models.t5_decoder import T5Decoder
from audiojax.papers.options import dtype_of
from audiojax.papers.task import Task, choice
from audiojax.papers.towers import words
from audiojax.papers.towers.inputs import caption_keys
from audiojax.papers.towers.spans import Corrupted, corrupt_spans, sentinels
from audiojax.text.tokenizer import PAD, SPECIAL
from audiojax.typing import Batch, Key, Params


def make(config: Mapping[str, Any], vocab_size: int) -> Task:
    """The task of a config whose tower is "t5"."""
    encoder = network(config, vocab_size)
    decoder = T5Decoder(encoder.config, dtype=encoder.dtype)
    return Task(
        name="towers/span_corruption",
        init=partial(init, encoder, decoder),
        loss=partial(loss, encoder, decoder, vocab_size),
        predict=partial(predict, encoder, decoder, vocab_size),
        metrics=words.metrics,
        partition_rules=(),
        select="accuracy",
    )


def network(config: Mapping[str, Any], vocab_size: int) -> T5Encoder:
    """The tower; its word table has rows for the tokenizer's words and then for the sentinels."""
    model = config["model"]
    sizes = PRESETS[choice("model.preset", model["preset"], PRESETS)]
    rows = vocab_size + sentinels(config["data"]["max_tokens"])
    return T5Encoder(replace(sizes, vocab_size=rows, dropout=model["dropout"]), dtype=dtype_of(config))


def init(encoder: T5Encoder, decoder: T5Decoder, key: Key, batch: Batch) -> dict[str, Any]:
    """Fresh parameters of the tower and of its decoder."""
    encoder_key, decoder_key = jax.random.split(key)
    ids, mask = batch["text_ids"][:1], batch["text_mask"][:1]
    tower = encoder.init(encoder_key, ids, mask, train=False)["params"]
    states = jnp.zeros((*ids.shape, encoder.config.width))
    written = decoder.init(decoder_key, ids[:, :2], states, mask, tower["word"]["embedding"], train=False)["params"]
    return {"params": {"encoder": tower, "decoder": written}, "model_state": {}}


def scores(
    encoder: T5Encoder, decoder: T5Decoder, params: Params, text: Corrupted, *, train: bool, rngs: Mapping[str, Key] | None = None
) -> Array:
    """Logits [b, t, v] of every token of the target, from the ones before it."""
    encoder_rngs, decoder_rngs = (None if rngs is None else {n: jax.random.fold_in(k, i) for n, k in rngs.items()} for i in range(2))
    states = encoder.apply({"params": params["encoder"]}, text.ids, text.mask, train=train, rngs=encoder_rngs)
    before = shifted(text.targets)
    table = params["encoder"]["word"]["embedding"]
    return decoder.apply({"params": params["decoder"]}, before, states, text.mask, table, train=train, rngs=decoder_rngs)


def shifted(targets: Int[Array, "b t"]) -> Int[Array, "b t"]:
    """What the decoder has read when it writes each token: padding, then all but the last."""
    return jnp.pad(targets[:, :-1], ((0, 0), (1, 0)), constant_values=PAD)


def loss(
    encoder: T5Encoder,
    decoder: T5Decoder,
    vocab_size: int,
    params: Params,
    model_state: Any,
    batch: Batch,
    key: Key,
    *,
    axis_name: str | None = None,
):
    """Cross entropy of the target's tokens, sentinels and end included, the mean over those of the whole batch."""
    dropout_key, span_key = jax.random.split(key)
    ids = batch["text_ids"]
    text = corrupt_spans(example_keys(span_key, len(ids), axis_name), ids, batch["text_mask"], vocab_size=vocab_size)
    logits = scores(encoder, decoder, params, text, train=True, rngs={"dropout": local_key(dropout_key, axis_name)})
    value = token_mean(token_cross_entropy(logits, text.targets), text.target_mask, axis_name)
    right = token_mean(jnp.argmax(logits, axis=-1) == text.targets, words_of(text, vocab_size), axis_name)
    return value, (model_state, {"accuracy": right})


def words_of(text: Corrupted, vocab_size: int) -> Array:
    """Where the target holds words: sentinels and the end are known beforehand and count for nothing in a score."""
    return text.target_mask & (text.targets >= len(SPECIAL)) & (text.targets < vocab_size)


def predict(encoder: T5Encoder, decoder: T5Decoder, vocab_size: int, params: Params, model_state: Any, batch: Batch) -> dict[str, Array]:
    """What the decoder says of each cut-out word given those before it, [b, c, t]; the cuts depend on the clip's number alone."""
    ids, mask = (batch[name].reshape(-1, batch[name].shape[-1]) for name in ("text_ids", "text_mask"))
    captions = batch["text_ids"].shape[1]
    text = corrupt_spans(caption_keys(batch["clip_index"], captions), ids, mask, vocab_size=vocab_size)
    logits = scores(encoder, decoder, params, text, train=False)
    return words.answers(logits, text.targets, words_of(text, vocab_size), captions)
