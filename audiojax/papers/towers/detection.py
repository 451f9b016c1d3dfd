"""Detection: which classes sound when. What BEATs learns, and the audio half of CLAP before it meets captions.

A label for every 0.16 s says far more than one for the whole clip: small transformers learn from one pass over the data what labels of
clips do not teach them in two. The published HTSAT too was trained on AudioSet's tags before CLAP (arXiv 2211.06687).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from audiojax.audio.spectral import MelConfig
from audiojax.collectives import example_keys, local_key
from audiojax.data.soundworld.classes import CLASSES
from audiojax.encoders import beats
from audiojax.encoders.htsat import Htsat
from audiojax.nn.attention import NORMAL_002
from audiojax.papers.options import dtype_of
from audiojax.papers.task import Task, choice
from audiojax.papers.towers import contrastive
from audiojax.papers.towers.inputs import check_rate, hear, stripes_of
from audiojax.papers.towers.tagging import metrics, tag_loss, tags
from audiojax.typing import Batch, Key, Params


@dataclass(frozen=True)
class Detector:
    """A tower with a linear map from its tokens to classes.

    Attributes:
      mel: its front end.
      init: (key, batch) -> {"params": ..., "model_state": ...}; the linear map is "head" in the parameters.
      hear: (params, model_state, mel [b, frames, mels], axis_name, **options of a module) -> (states [b, t, d], model_state); t equal runs
        of the clip.
    """

    mel: MelConfig
    init: Callable[[Key, Batch], Mapping[str, Any]]
    hear: Callable[..., tuple[Array, Any]]


def make(config: Mapping[str, Any], vocab_size: int) -> Task:
    """The task of a config whose tower is "beats" or "clap"."""
    detector = _of_beats(config) if config["model"]["tower"] == "beats" else _of_clap(config, vocab_size)
    return Task(
        name="towers/detection",
        init=detector.init,
        loss=partial(loss, detector, stripes_of(config)),
        predict=partial(predict, detector),
        metrics=metrics,
        partition_rules=(),
        select="mAP",
    )


def beats_network(config: Mapping[str, Any]) -> beats.Beats:
    """BEATs with a head for SoundWorld's classes."""
    model, dropout = config["model"], config["model"]["dropout"]
    sizes = beats.PRESETS[choice("model.preset", model["preset"], beats.PRESETS)]
    check_rate(config, sizes.front_end)
    return beats.Beats(replace(sizes, classes=len(CLASSES), dropout=dropout, attention_dropout=dropout), dtype=dtype_of(config))


def loss(
    detector: Detector,
    stripes: Mapping[str, int],
    params: Params,
    model_state: Any,
    batch: Batch,
    key: Key,
    *,
    axis_name: str | None = None,
):
    """Binary cross entropy summed over classes, the mean over the runs of a clip and over the local rows."""
    dropout_key, stripe_key = jax.random.split(key)
    mel = hear(batch["waveform"], detector.mel, example_keys(stripe_key, batch["waveform"].shape[0], axis_name), stripes)
    rngs = {"dropout": local_key(dropout_key, axis_name)}
    states, state = detector.hear(params, model_state, mel, axis_name, train=True, rngs=rngs)
    chance = probabilities(params, states)  # [b, t, classes]
    labels = at_rate(batch["labels"], chance.shape[1])
    value = jnp.mean(tag_loss(chance.reshape(-1, chance.shape[-1]), labels.reshape(-1, chance.shape[-1])))
    return value, (state, {"per_class": value / chance.shape[-1]})


def predict(detector: Detector, params: Params, model_state: Any, batch: Batch) -> dict[str, Array]:
    """Probabilities [b, classes], of each class where it is likeliest, beside the truth."""
    states, _ = detector.hear(params, model_state, hear(batch["waveform"], detector.mel), None, train=False)
    return {"probability": jnp.max(probabilities(params, states), axis=1), "labels": tags(batch)}


def probabilities(params: Params, states: Float[Array, "b t d"]) -> Float[Array, "b t classes"]:
    """The probability of every class in each run, float32."""
    head = jax.tree.map(lambda x: x.astype(jnp.float32), params["head"])
    return jax.nn.sigmoid(jnp.einsum("btd,dc->btc", states.astype(jnp.float32), head["kernel"]) + head["bias"][None, None])


def at_rate(labels: Float[Array, "b s c"], runs: int) -> Float[Array, "b t c"]:
    """Labels of s steps for `runs` runs of as many whole steps: 1 where any of them has it; what is left over at the end is dropped."""
    b, steps, classes = labels.shape
    if runs > steps:
        raise ValueError(f"labels of {steps} steps, and the tower tells {runs} apart")
    each = steps // runs
    return jnp.max(labels[:, : runs * each].reshape(b, runs, each, classes), axis=2)


def _of_beats(config: Mapping[str, Any]) -> Detector:
    """Its own head, on the mean of the tokens of a column of patches."""
    module = beats_network(config)
    bands = module.config.mels // module.config.patch

    def init(key, batch):
        return {"params": module.init(key, hear(batch["waveform"][:1], module.config.front_end), train=False)["params"], "model_state": {}}

    def listen(params, model_state, mel, axis_name, **options):
        tokens = module.apply({"params": params}, mel, **options).tokens
        return jnp.mean(tokens.reshape(len(tokens), -1, bands, tokens.shape[-1]), axis=2), model_state

    return Detector(module.config.front_end, init, listen)


def _of_clap(config: Mapping[str, Any], vocab_size: int) -> Detector:
    """CLAP's tree with a head on HTSAT, which has no part in what follows."""
    clap, front_end = contrastive.network(config, vocab_size), contrastive.front_end_of(config)
    htsat = Htsat(clap.config.audio, dtype=clap.dtype)

    def init(key, batch):
        clap_key, head_key = jax.random.split(key)
        made = contrastive.init(clap, front_end, clap_key, batch)
        kernel = NORMAL_002(head_key, (clap.config.audio.width, len(CLASSES)), np.float32)
        return made | {"params": {**made["params"], "head": {"kernel": kernel, "bias": jnp.zeros(len(CLASSES))}}}

    def listen(params, model_state, mel, axis_name, **options):
        statistics = model_state["batch_stats"]["audio"]["encoder"]
        variables = {"params": params["audio"]["encoder"], "batch_stats": statistics}
        out, updated = htsat.clone(axis_name=axis_name).apply(variables, mel[:, None], mutable=["batch_stats"], **options)
        if options["train"]:
            audio = {**model_state["batch_stats"]["audio"], "encoder": updated["batch_stats"]}
            model_state = {"batch_stats": {**model_state["batch_stats"], "audio": audio}}
        return jnp.mean(out.tokens, axis=2), model_state

    return Detector(front_end.mel, init, listen)
