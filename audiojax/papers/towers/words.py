"""What the text tasks share: predictions about tokens of captions, and their scores."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from audiojax.errors import UsageError
from audiojax.losses.tokens import token_cross_entropy
from audiojax.text.tokenizer import SPECIAL, Tokenizer
from audiojax.typing import Key, Params


def check_tokenizer(config: Mapping[str, Any]) -> None:
    """Raises UsageError unless the config's tokenizer numbers its special tokens as one that audiojax trains."""
    folder = config["tokenizer"]["folder"]
    if not folder:
        return
    backend = Tokenizer.load(folder).backend
    if backend.convert_tokens_to_ids(list(SPECIAL.values())) != list(range(len(SPECIAL))):
        raise UsageError(f"{folder}: the towers need a tokenizer that audiojax trained, whose first ids are {', '.join(SPECIAL.values())}")


def answers(logits: Float[Array, "n k v"], targets: Int[Array, "n k"], scored: Bool[Array, "n k"], captions: int) -> dict[str, Array]:
    """For each clip and caption: whether the likeliest token is right, the targets, which of them count, and their cross entropy."""
    found = {
        "correct": jnp.argmax(logits, axis=-1) == targets,
        "target": targets,
        "scored": scored,
        "cross_entropy": token_cross_entropy(logits, targets),
    }
    return {name: x.reshape(-1, captions, x.shape[-1]) for name, x in found.items()}  # [b, c, k]


def metrics(params: Params, predictions: Mapping[str, np.ndarray], key: Key) -> dict[str, float]:
    """Share of the scored tokens that are right, and their mean cross entropy in nats."""
    scored = predictions["scored"]
    return {name: float(predictions[field][scored].mean()) for name, field in (("accuracy", "correct"), ("cross_entropy", "cross_entropy"))}


def accuracy_counts(predictions: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(right, scored) numbers of tokens of every clip, for intervals over clips."""
    scored = predictions["scored"]
    right = (predictions["correct"] & scored).sum(axis=(1, 2))
    return right.astype(np.float64), scored.sum(axis=(1, 2)).astype(np.float64)
