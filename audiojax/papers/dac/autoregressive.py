"""The rival of the diffuser: a causal decoder on the same tokens of clips, trained by teacher forcing. Parameters: "autoregressive"."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from audiojax.collectives import local_key
from audiojax.losses.tokens import token_cross_entropy, token_mean
from audiojax.models.caption_decoder import generate
from audiojax.models.decoding import Decoding, Generated
from audiojax.papers.dac.model import Sound
from audiojax.papers.dac.settings import Rival
from audiojax.typing import Batch, Key, Params


def init(rival: Rival, key: Key, sound: Sound, ids: Int[Array, "b n"], mask: Bool[Array, "b n"]) -> dict[str, Any]:
    """Fresh parameters: {"projection", "decoder"}."""
    projection_key, decoder_key = jax.random.split(key)
    audio, projection = rival.projection.init_with_output(projection_key, *sound, train=False)
    decoder = rival.decoder.init(decoder_key, ids, mask, audio, sound.mask, train=False)
    return {"projection": projection["params"], "decoder": decoder["params"]}


def next_word_logits(
    rival: Rival, params: Params, sound: Sound, batch: Batch, *, train: bool, rngs: dict[str, Key] | None = None
) -> Float[Array, "b m v"]:
    """Logits at all positions but the last of the token that follows, given the true ones before."""
    audio = rival.projection.apply({"params": params["projection"]}, *sound, train=train, rngs=rngs)
    words = (batch["text_ids"][:, :-1], batch["text_mask"][:, :-1])
    return rival.decoder.apply({"params": params["decoder"]}, *words, audio, sound.mask, train=train, rngs=rngs)


def autoregressive_loss(
    rival: Rival, smoothing: float, sound: Sound, params: Params, batch: Batch, key: Key, *, axis_name: str | None = None
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """(cross entropy of the next token with label smoothing, and without it), means over the tokens of the whole batch."""
    rngs = {"dropout": local_key(key, axis_name)}
    logits = next_word_logits(rival, params["autoregressive"], sound, batch, train=True, rngs=rngs)
    targets, counted = batch["text_ids"][:, 1:], batch["text_mask"][:, 1:]
    found = {
        "cross_entropy": token_mean(token_cross_entropy(logits, targets), counted, axis_name),
        "words_right": token_mean(jnp.argmax(logits, axis=-1) == targets, counted, axis_name),
    }
    return token_mean(token_cross_entropy(logits, targets, smoothing), counted, axis_name), found


def narrate(rival: Rival, params: Params, sound: Sound, keys: Shaped[Array, "b"], decoding: Decoding) -> Generated:
    """One caption a key, several captions of a clip standing together; [CLS] is left out."""
    audio = rival.projection.apply({"params": params["projection"]}, *sound, train=False)
    return generate(rival.decoder, {"params": params["decoder"]}, audio, sound.mask, decoding, begin_id=rival.begin, keys=keys)
