"""CLAP: sounds and their captions near each other, all others of the batch apart (arXiv 2211.06687, section 2.1).

The loss is symmetric NT-Xent with a learned scale for each direction, at most 100 ("LAION-AI/CLAP code").
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from math import log
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from audiojax.collectives import example_keys, gather_batch, local_key, row_offset
from audiojax.encoders.clap import PRESETS, Clap
from audiojax.errors import UsageError
from audiojax.losses.contrastive import same_clip_mask, symmetric_nt_xent
from audiojax.metrics.retrieval import retrieval_scores
from audiojax.papers.options import dtype_of
from audiojax.papers.task import Task, choice
from audiojax.papers.towers.inputs import check_rate, hear, stripes_of
from audiojax.towers.clap_features import PRESETS as FRONT_ENDS
from audiojax.towers.clap_features import ClapFrontEnd
from audiojax.typing import Array, Batch, Key, Params

MAX_SCALE = 100.0


def make(config: Mapping[str, Any], vocab_size: int) -> Task:
    """The task of a config whose tower is "clap"."""
    front_end = front_end_of(config)
    return Task(
        name="towers/contrastive",
        init=partial(init, network(config, vocab_size), front_end),
        loss=partial(loss, network(config, vocab_size), front_end, stripes_of(config)),
        predict=partial(predict, network(config, vocab_size), front_end),
        metrics=metrics,
        partition_rules=(),
        select="t2a/R_sum",
    )


def network(config: Mapping[str, Any], vocab_size: int) -> Clap:
    """Both halves, with a word table of `vocab_size` rows."""
    model = config["model"]
    sizes = PRESETS[choice("model.preset", model["preset"], PRESETS)]
    if config["data"]["max_tokens"] > sizes.text.max_length:
        raise UsageError(f"data.max_tokens is {config['data']['max_tokens']}, and the text tower has {sizes.text.max_length} positions")
    text = replace(sizes.text, vocab_size=vocab_size, dropout=model["dropout"], attention_dropout=model["dropout"])
    return Clap(replace(sizes, text=text), dtype=dtype_of(config))


def front_end_of(config: Mapping[str, Any]) -> ClapFrontEnd:
    """Log-mels and clip length, which must be those of the data."""
    front_end = FRONT_ENDS[choice("model.front_end", config["model"]["front_end"], FRONT_ENDS)]
    check_rate(config, front_end.mel)
    samples = round(config["data"]["seconds"] * config["data"]["sample_rate"])
    if samples != front_end.samples:
        raise UsageError(f"model.front_end takes clips of {front_end.samples} samples, and data.seconds gives {samples}")
    return front_end


def init(clap: Clap, front_end: ClapFrontEnd, key: Key, batch: Batch) -> dict[str, Any]:
    """Fresh parameters and running statistics."""
    mel = jnp.zeros((1, 1, front_end.frames, front_end.mel.n_mels))
    variables = clap.init(key, mel, batch["text_ids"][:1], batch["text_mask"][:1], train=False)
    return {"params": variables["params"], "model_state": {"batch_stats": variables["batch_stats"]}}


def loss(
    clap: Clap,
    front_end: ClapFrontEnd,
    stripes: Mapping[str, int],
    params: Params,
    model_state: Any,
    batch: Batch,
    key: Key,
    *,
    axis_name: str | None = None,
):
    """Symmetric NT-Xent, the mean over the local rows; other captions of a clip are no negatives of it."""
    dropout_key, stripe_key = jax.random.split(key)
    rows = batch["waveform"].shape[0]
    mel = hear(batch["waveform"], front_end.mel, example_keys(stripe_key, rows, axis_name), stripes)[:, None]
    out, state = clap.clone(axis_name=axis_name).apply(
        {"params": params, **model_state},
        mel,
        batch["text_ids"],
        batch["text_mask"],
        train=True,
        mutable=["batch_stats"],
        rngs={"dropout": local_key(dropout_key, axis_name)},
    )
    audio, text = out.audio.features, out.text.features
    offset = row_offset(rows, axis_name)
    everyone = gather_batch({"audio": audio, "text": text, "clip": batch["clip_index"]}, axis_name)
    by_audio, by_text = (scale_of(params[name]) for name in ("logit_scale_a", "logit_scale_t"))
    text_to_audio, audio_to_text = text @ everyone["audio"].T, audio @ everyone["text"].T
    value = jnp.mean(
        symmetric_nt_xent(
            by_text * text_to_audio,
            by_audio * audio_to_text,
            target_offset=offset,
            temperature=1.0,
            ignore=same_clip_mask(batch["clip_index"], everyone["clip"], offset),
        )
    )
    target = offset + jnp.arange(rows, dtype=jnp.int32)
    hits = jnp.mean(jnp.argmax(text_to_audio, axis=1) == target, dtype=jnp.float32)
    return value, (state, {"batch_R@1": hits, "scale_audio": by_audio, "scale_text": by_text})


def scale_of(logarithm: Array) -> Array:
    """The factor of the cosines, at most 100."""
    return jnp.exp(jnp.minimum(logarithm.astype(jnp.float32), log(MAX_SCALE)))


def predict(clap: Clap, front_end: ClapFrontEnd, params: Params, model_state: Any, batch: Batch) -> dict[str, Array]:
    """Unit vectors of a batch of clips with all their captions: audio [b, d], text [b, c, d]."""
    variables = {"params": params, **model_state}
    ids, mask = batch["text_ids"], batch["text_mask"]  # [b, c, l]
    mel = hear(batch["waveform"], front_end.mel)[:, None]
    audio = clap.apply(variables, mel, train=False, method="encode_audio").features
    flat = (x.reshape(-1, x.shape[-1]) for x in (ids, mask))
    text = clap.apply(variables, *flat, train=False, method="encode_text").features
    return {"audio": audio, "text": text.reshape(*ids.shape[:2], -1)}


def metrics(params: Params, predictions: Mapping[str, np.ndarray], key: Key) -> dict[str, float]:
    """Retrieval scores of both directions."""
    return retrieval_scores(*similarity(predictions))


def similarity(predictions: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(cosine of every caption with every clip [t, a], clip of every caption [t])."""
    audio, text = predictions["audio"], predictions["text"]
    return text.reshape(-1, text.shape[-1]) @ audio.T, np.repeat(np.arange(len(audio)), text.shape[1])
