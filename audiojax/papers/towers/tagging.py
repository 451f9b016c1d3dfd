"""Tagging: which classes sound in a clip. The evaluation tagger, a small CNN14 (arXiv 1912.10211).

Several classes may sound at once, so each has a probability of its own and the loss is binary cross entropy, summed over classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from audiojax.audio.spectral import PRESETS as MELS
from audiojax.audio.spectral import MelConfig
from audiojax.collectives import example_keys, local_key
from audiojax.data.soundworld.classes import CLASSES
from audiojax.encoders import panns
from audiojax.metrics.tagging import average_precisions
from audiojax.papers.options import dtype_of
from audiojax.papers.task import Task, choice
from audiojax.papers.towers.inputs import check_rate, hear, stripes_of
from audiojax.typing import Batch, Key, Params

SMALLEST = 1e-7  # a probability of exactly 0 or 1 would make the loss infinite


@dataclass(frozen=True)
class Tagger:
    """A CNN14 with its head of tags, and what it hears.

    Attributes:
      module: without an axis name.
      mel: convention of the log-mel.
    """

    module: panns.Panns
    mel: MelConfig


def make(config: Mapping[str, Any], vocab_size: int) -> Task:
    """The task of a config whose tower is "tagger"."""
    tagger = network(config)
    return Task(
        name="towers/tagging",
        init=partial(init, tagger),
        loss=partial(loss, tagger, stripes_of(config)),
        predict=partial(predict, tagger),
        metrics=metrics,
        partition_rules=(),
        select="mAP",
    )


def network(config: Mapping[str, Any]) -> Tagger:
    """The tower with a head for SoundWorld's classes."""
    model, dropout, presets = config["model"], config["model"]["dropout"], panns.PRESETS["cnn14"]
    sizes = presets[choice("model.preset", model["preset"], presets)]
    mel = MELS[choice("model.mel", model["mel"], MELS)]
    check_rate(config, mel)
    sizes = replace(sizes, head=True, classes=len(CLASSES), dropout=dropout, head_dropout=dropout)
    return Tagger(panns.Panns(sizes, dtype=dtype_of(config)), mel)


def init(tagger: Tagger, key: Key, batch: Batch) -> dict[str, Any]:
    """Fresh parameters, and running statistics where there are any."""
    variables = dict(tagger.module.init(key, hear(batch["waveform"][:1], tagger.mel), train=False))
    return {"params": variables.pop("params"), "model_state": variables}


def loss(
    tagger: Tagger,
    stripes: Mapping[str, int],
    params: Params,
    model_state: Any,
    batch: Batch,
    key: Key,
    *,
    axis_name: str | None = None,
):
    """Binary cross entropy summed over classes, the mean over the local rows."""
    dropout_key, stripe_key = jax.random.split(key)
    mel = hear(batch["waveform"], tagger.mel, example_keys(stripe_key, batch["waveform"].shape[0], axis_name), stripes)
    rngs = {"dropout": local_key(dropout_key, axis_name)}
    out, state = tagger.module.clone(axis_name=axis_name).apply(
        {"params": params, **model_state}, mel, train=True, mutable=list(model_state), rngs=rngs
    )
    value = jnp.mean(tag_loss(out.clipwise, tags(batch)))
    return value, (state, {"per_class": value / out.clipwise.shape[1]})


def tags(batch: Batch) -> Float[Array, "b classes"]:
    """1 for every class that sounds anywhere in the clip."""
    return jnp.max(batch["labels"], axis=1)


def tag_loss(probability: Float[Array, "b classes"], labels: Float[Array, "b classes"]) -> Float[Array, "b"]:
    """-sum_c (y_c log p_c + (1 - y_c) log(1 - p_c)), one value a clip."""
    p = jnp.clip(probability, SMALLEST, 1 - SMALLEST)
    return -jnp.sum(labels * jnp.log(p) + (1 - labels) * jnp.log1p(-p), axis=1)


def predict(tagger: Tagger, params: Params, model_state: Any, batch: Batch) -> dict[str, Array]:
    """Probabilities [b, classes], beside the truth."""
    out = tagger.module.apply({"params": params, **model_state}, hear(batch["waveform"], tagger.mel), train=False)
    return {"probability": out.clipwise, "labels": tags(batch)}


def metrics(params: Params, predictions: Mapping[str, np.ndarray], key: Key) -> dict[str, float]:
    """Mean average precision over the classes that occur."""
    return {"mAP": float(average_precisions(predictions["probability"], predictions["labels"]).mean())}
