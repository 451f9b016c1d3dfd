"""The latent space of captions: standardised states of BERT's lower half, with one filler where a caption has no word; and the way back.

There is no length predictor. [CLS], [SEP] and padding all become one filler token, whose latent is the state of that token alone, so a
caption of any length is N latents and the filler is written like a word. Mean and standard deviation of every channel are measured once
over words of training captions and kept in model_state["latent"].
"""

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from audiojax.papers.dac.settings import Settings
from audiojax.typing import Array, Batch, Params

LEAST_STD = 1e-5  # of a channel that never changes


class Latents(NamedTuple):
    """Captions in the latent space.

    Attributes:
      x0: [b, n, c], standardised.
      words: [b, n], True where a token of the caption stands.
      targets: [b, n], token ids with the filler everywhere else.
    """

    x0: Array
    words: Array
    targets: Array


def word_mask(mask: Bool[Array, "*b n"]) -> Bool[Array, "*b n"]:
    """The positions between the first and the last token of each caption, which are [CLS] and [SEP]."""
    inner = jnp.roll(mask, -1, axis=-1)
    return inner.at[..., 0].set(False).at[..., -1].set(False)


def caption_latents(settings: Settings, params: Params, model_state: Any, ids: Int[Array, "b n"], mask: Bool[Array, "b n"]) -> Latents:
    """x_0 of captions, given with their special tokens."""
    words = word_mask(mask)
    states = encode(settings, params, ids, mask)
    alone = encode(settings, params, jnp.full((1, 1), settings.filler, ids.dtype), jnp.ones((1, 1), bool))
    x0 = standardise(model_state, jnp.where(words[..., None], states, alone))
    return Latents(x0, words, jnp.where(words, ids, settings.filler))


def encode(settings: Settings, params: Params, ids: Int[Array, "b n"], mask: Bool[Array, "b n"]) -> Float[Array, "b n c"]:
    """States of captions after the lower half of BERT."""
    return settings.towers.apply({"params": params["towers"]}, ids, mask, method="encode")


def standardise(model_state: Any, states: Float[Array, "b n c"]) -> Float[Array, "b n c"]:
    """(h - mu) / sigma."""
    latent = model_state["latent"]
    return (states - latent["mean"][None, None]) / latent["std"][None, None]


def token_logits(settings: Settings, params: Params, model_state: Any, x0: Float[Array, "b n c"]) -> Float[Array, "b n v"]:
    """Logits of every position, float32: the head on the upper half of BERT on sigma x_0 + mu."""
    latent = model_state["latent"]
    states = x0 * latent["std"][None, None] + latent["mean"][None, None]
    upper = settings.towers.apply({"params": params["towers"]}, states, method="transition")
    return settings.head.apply({"params": params["head"]}, upper, params["towers"]["text"]["word"]["embedding"])


def measure(settings: Settings, params: Params, batches: Iterable[Batch]) -> dict[str, Any]:
    """Mean and standard deviation of every channel over the words of training captions: {"latent": {"mean": [c], "std": [c]}}.

    Sums are taken around the mean of the first batch in float64, so that BERT's outlying channels keep their digits.
    """

    @jax.jit
    def sums(ids: Any, mask: Any, about: Any) -> Any:
        states, words = encode(settings, params, ids, mask) - about[None, None], word_mask(mask)[..., None]
        states = jnp.where(words, states, 0.0)
        return jnp.sum(states, axis=(0, 1)), jnp.sum(jnp.square(states), axis=(0, 1)), jnp.sum(words)

    about = np.zeros(settings.towers.text_config.width, np.float32)
    total = None
    for batch in batches:
        run = partial(sums, batch["text_ids"], batch["text_mask"])
        if total is None:
            first, _, count = run(about)
            about = np.asarray(first / count)
        found = [np.asarray(x, np.float64) for x in run(about)]
        total = found if total is None else [x + y for x, y in zip(total, found, strict=True)]
    first, second, count = total
    offset = first / count
    std = np.sqrt(np.maximum(second / count - offset**2, LEAST_STD**2))
    return {"latent": {"mean": (about + offset).astype(np.float32), "std": std.astype(np.float32)}}
