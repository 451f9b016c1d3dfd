"""Text from a LLaMA under one jit: prompt, soft prefix, cache and the loop over tokens. One compilation per shape of the inputs."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, Key

from audiojax.models.decoding import Decoding, Generated, decode, seen_tokens
from audiojax.models.llama import Llama
from audiojax.typing import Array, Params


def put_prefix(
    embeds: Float[Array, "b l d"],
    mask: Bool[Array, "b l"],
    prefix: Float[Array, "b p d"],
    prefix_mask: Bool[Array, "b p"] | None = None,
    at: int = 0,
) -> tuple[Float[Array, "b l+p d"], Bool[Array, "b l+p"]]:
    """(embeddings, mask) with the prefix in front of token `at`; the same in training and in generation.

    Diffusion-Link and DAC put it behind the first token, at=1. The tokens before it must not be padding: pad on the right then.
    """
    if prefix_mask is None:
        prefix_mask = jnp.ones(prefix.shape[:2], bool)
    embeds = jnp.concatenate([embeds[:, :at], prefix.astype(embeds.dtype), embeds[:, at:]], axis=1)
    return embeds, jnp.concatenate([mask[:, :at], prefix_mask, mask[:, at:]], axis=1)


@partial(jax.jit, static_argnames=("module", "decoding", "prefix_at"))
def generate(
    module: Llama,
    variables: Params,
    ids: Int[Array, "b l"],
    mask: Bool[Array, "b l"],
    decoding: Decoding,
    *,
    prefix: Float[Array, "b p d"] | None = None,
    prefix_mask: Bool[Array, "b p"] | None = None,
    prefix_at: int = 0,
    keys: Key[Array, "b"] | None = None,
) -> Generated:
    """Continues every prompt; see `decode`.

    Args:
      variables: of the module, {"params": ...}.
      ids: prompts, padded on either side; each row holds a token, or a prefix stands with it.
      mask: True = token.
      prefix: embeddings that stand in front of token `prefix_at` of each prompt.
      prefix_mask: True = valid; all by default.
      keys: one a row, where tokens are drawn.
    """
    embeds, whole = module.apply(variables, ids, method="embed").astype(jnp.float32), mask
    if prefix is not None:
        embeds, whole = put_prefix(embeds, mask, prefix, prefix_mask, prefix_at)
    length = embeds.shape[1]
    logits, cache = module.apply(variables, embeds, whole, decoding.max_new_tokens - 1, method="prefill")

    def step(tokens, cache, index):
        return module.apply(variables, tokens, cache, length + index, method="step")

    return decode(logits, cache, step, decoding, keys=keys, seen=seen_tokens(ids, mask, module.config.vocab_size))
