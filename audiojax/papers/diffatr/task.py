"""DiffATR as tasks for the trainer: config in, four pure functions out. This is where config values become objects.

Phases: "contrastive" trains the dual encoder with NT-Xent; "hybrid" adds both denoisers and the generation loss, whose gradient stops at
the features unless `loss.stop_gradient` is off. Parameters: "dual", and in "hybrid" also "denoiser_t2a" and "denoiser_a2t".
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Float

from audiojax.audio.spectral import PRESETS as MELS
from audiojax.collectives import example_keys, gather_batch, local_key, row_offset
from audiojax.encoders.panns import PRESETS as PANNS
from audiojax.errors import UsageError
from audiojax.losses.contrastive import same_clip_mask, symmetric_nt_xent
from audiojax.models.pair_denoiser import PairDenoiser, PairDenoiserConfig, denoise_shared
from audiojax.papers.diffatr import ranking
from audiojax.papers.diffatr.inference import Fusion, Scores
from audiojax.papers.diffatr.loss import generation_loss
from audiojax.papers.diffatr.model import DualEncoder, cosine, unit_rows
from audiojax.papers.diffatr.ranking import Direction
from audiojax.papers.options import dtype_of, text_tower_of
from audiojax.papers.task import Paper, Slot, Task, choice
from audiojax.schedule import Schedule, make_schedule
from audiojax.typing import Array, Batch, Key, Params

PHASES = ("contrastive", "hybrid")


@dataclass(frozen=True)
class Settings:
    """What the config says, as objects.

    Attributes:
      dual: the dual encoder, without an axis name.
      denoiser: of both directions.
      denoiser_input: "raw" | "l2" features.
      loss, inference: those sections of the config as plain dicts.
      trainable: phase -> regex of the parameters that it trains.
    """

    dual: DualEncoder
    denoiser: PairDenoiserConfig
    denoiser_input: str
    schedule: Schedule
    loss: Mapping[str, Any]
    inference: Mapping[str, Any]
    trainable: Mapping[str, str]


def make_settings(config: Mapping[str, Any], vocab_size: int) -> Settings:
    """Builds modules from the config's values.

    Args:
      config: the whole experiment config.
      vocab_size: rows of the word table, from the tokenizer.

    Raises:
      UsageError: an unknown preset or option, with the ones that exist.
    """
    model = config["model"]
    dtype = dtype_of(config)
    presets = PANNS[choice("model.audio", model["audio"], PANNS)]
    audio = presets[choice("model.audio_preset", model["audio_preset"], presets)]
    audio = dataclasses.replace(
        audio, dropout=model["audio_dropout"], block_dropout=model["audio_dropout"], last_pool=tuple(model["last_pool"])
    )
    mel = MELS[choice("model.mel", model["mel"], MELS)]
    if mel.sample_rate != config["data"]["sample_rate"]:
        raise UsageError(f"model.mel '{model['mel']}' takes {mel.sample_rate} Hz, but data.sample_rate is {config['data']['sample_rate']}")
    text = text_tower_of(config, vocab_size)
    stripes = (
        tuple(sorted(model["spec_augment"].items())) if model["spec_augment"]["time_stripes"] + model["spec_augment"]["mel_stripes"] else ()
    )
    dual = DualEncoder(audio, text, mel, stripes, model["head_width"], model["joint_width"], dtype=dtype)
    switches = dict(model["denoiser"])
    denoiser_input = choice("model.denoiser.input", switches.pop("input"), ("raw", "l2"))
    steps = config["diffusion"]["steps"]
    denoiser = PairDenoiserConfig(width=model["joint_width"], levels=max(1000, steps), **switches)
    name = choice("diffusion.schedule", config["diffusion"]["schedule"], ("cosine", "linear"))
    schedule = make_schedule(name, steps, **({"scale": 1000 / steps} if name == "linear" else {}))  # both as in the DiffusionRet code
    trainable = {phase: config[phase]["trainable"] for phase in PHASES if phase in config}
    return Settings(dual, denoiser, denoiser_input, schedule, dict(config["loss"]), dict(config["inference"]), trainable)


def make_task(config: Mapping[str, Any], phase: str, *, vocab_size: int) -> Task:
    """The task of one phase, "contrastive" or "hybrid"."""
    choice("phases", phase, PHASES)
    return task_of(make_settings(config, vocab_size), phase)


def check(config: Mapping[str, Any]) -> None:
    """What would otherwise fail only at the first evaluation. UsageError names the key."""
    for key in ("alphas", "temperatures"):
        if not config["inference"][key]:
            raise UsageError(f"config key 'inference.{key}' is empty; it takes at least one value")
    for section, key in (("inference", "query_block"), ("inference", "noise_draws"), ("diffusion", "steps")):
        if config[section][key] < 1:
            raise UsageError(f"config key '{section}.{key}' is {config[section][key]}; it takes 1 or more")


def finish(
    config: Mapping[str, Any], params: Params, predictions: Mapping[str, np.ndarray], key: Key, *, vocab_size: int
) -> dict[str, Any]:
    """The config with the fusion that is best on these predictions; alpha 0 where there is no denoiser."""
    settings, fusion = make_settings(config, vocab_size), {}
    for name, direction in search_split(settings, params, predictions, key).items():
        found = choose_fusion(settings, direction) if f"denoiser_{name}" in params else Fusion(0.0, 1.0)
        fusion[name] = {"alpha": found.alpha, "temperature": found.temperature}
    return {**config, "inference": {**config["inference"], "fusion": fusion}}


def task_of(settings: Settings, phase: str) -> Task:
    """The task of one phase for settings that are objects already."""
    return Task(
        name=f"diffatr/{phase}",
        init=partial(init, settings, phase),
        loss=partial(loss, settings, phase),
        predict=partial(predict, settings),
        metrics=partial(metrics, settings),
        partition_rules=(),
        select="t2a/R_sum",
    )


def init(settings: Settings, phase: str, key: Key, batch: Batch) -> dict[str, Any]:
    """Fresh parameters and running statistics."""
    keys = dict(zip(("dual", "denoiser_t2a", "denoiser_a2t"), jax.random.split(key, 3), strict=True))
    variables = settings.dual.init(keys["dual"], batch["waveform"][:1], batch["text_ids"][:1], batch["text_mask"][:1], train=False)
    params = {"dual": variables["params"]}
    if phase == "hybrid":
        pair, width = jnp.zeros((1, 2)), settings.denoiser.width
        for name in ("denoiser_t2a", "denoiser_a2t"):
            network = PairDenoiser(settings.denoiser)
            params[name] = network.init(keys[name], pair, jnp.zeros(1, jnp.int32), jnp.zeros((1, width)), jnp.zeros((1, 2, width)))[
                "params"
            ]
    return {"params": params, "model_state": {"batch_stats": variables["batch_stats"]}}


def loss(settings: Settings, phase: str, params: Params, model_state: Any, batch: Batch, key: Key, *, axis_name: str | None = None):
    """L_C in phase 1, w_C L_C + w_G (L_G^T2A + L_G^A2T) in phase 2 (unit weights by default), means over the local rows."""
    options = settings.loss
    dropout_key, augment_key, t2a_key, a2t_key = jax.random.split(key, 4)
    dual, inputs = settings.dual.clone(axis_name=axis_name), (batch["waveform"], batch["text_ids"], batch["text_mask"])
    variables = {"params": params["dual"], **model_state}
    paths = traverse_util.flatten_dict({"dual": params["dual"]}, sep="/")
    if any(re.search(settings.trainable[phase], path) for path in paths):
        rngs = {"dropout": local_key(dropout_key, axis_name), "augment": local_key(augment_key, axis_name)}
        (audio, text), state = dual.apply(variables, *inputs, train=True, mutable=["batch_stats"], rngs=rngs)
    else:  # frozen encoders stay what they are: no dropout, no new running statistics
        (audio, text), state = dual.apply(variables, *inputs, train=False), model_state
    rows = audio.shape[0]
    offset = row_offset(rows, axis_name)
    everyone = gather_batch({"audio": audio, "text": text, "clip": batch["clip_index"]}, axis_name)
    text_to_audio, audio_to_text = cosine(text, everyone["audio"]), cosine(audio, everyone["text"])
    ignore = same_clip_mask(batch["clip_index"], everyone["clip"], offset) if options["mask_same_audio"] else None

    contrastive = jnp.mean(
        symmetric_nt_xent(text_to_audio, audio_to_text, target_offset=offset, temperature=options["temperature"], ignore=ignore)
    )
    target = offset + jnp.arange(rows, dtype=jnp.int32)
    reported = {"contrastive": contrastive, "batch_R@1": jnp.mean(jnp.argmax(text_to_audio, axis=1) == target, dtype=jnp.float32)}
    if phase == "contrastive":
        return contrastive, (state, reported)

    def feature(x: Array) -> Array:
        x = jax.lax.stop_gradient(x) if options["stop_gradient"] else x
        return unit_rows(x) if settings.denoiser_input == "l2" else x

    total = options["contrastive_weight"] * contrastive
    pairs = {"t2a": (text, everyone["audio"], t2a_key), "a2t": (audio, everyone["text"], a2t_key)}
    for name, (query, candidates, direction_key) in pairs.items():
        generation = jnp.mean(
            generation_loss(
                partial(denoise_shared, params[f"denoiser_{name}"], settings.denoiser),
                settings.schedule,
                example_keys(direction_key, rows, axis_name),
                feature(query),
                feature(candidates),
                target,
                logit_scale=options["logit_scale"],
                negative_value=options["negative_value"],
                valid=None if ignore is None else jnp.logical_not(ignore),
            )
        )
        reported[f"generation_{name}"] = generation
        total = total + options["generation_weight"] * generation
    return total, (state, reported)


def predict(settings: Settings, params: Params, model_state: Any, batch: Batch) -> dict[str, Array]:
    """Joint embeddings of a batch of clips with all their captions: audio [b, D], text [b, c, D]."""
    variables = {"params": params["dual"], **model_state}
    ids, mask = batch["text_ids"], batch["text_mask"]  # [b, c, l]
    text = settings.dual.apply(variables, ids.reshape(-1, ids.shape[-1]), mask.reshape(-1, mask.shape[-1]), method="encode_text")
    audio = settings.dual.apply(variables, batch["waveform"], method="encode_audio")
    return {"audio": audio, "text": text.reshape(*ids.shape[:2], -1)}


def metrics(settings: Settings, params: Params, predictions: Mapping[str, np.ndarray], key: Key) -> dict[str, float]:
    """Scores of both directions; in phase 2 fused, with alpha and temperature chosen on these very predictions (validation)."""
    found = {}
    for direction in search_split(settings, params, predictions, key).values():
        fused = f"denoiser_{direction.name}" in params
        found |= direction.summary(choose_fusion(settings, direction) if fused else None)
    return found


def generation_curve(
    settings: Settings, params: Params, predictions: Mapping[str, np.ndarray], key: Key, *, candidates: int
) -> dict[str, dict[int, float]]:
    """L_G of a split at five noise levels from 0 to K - 1: {"t2a": {k: mean}, "a2t": {k: mean}}, {} without denoisers.

    Clips come in groups of `candidates` (N), each with its first caption; an incomplete last group is left out. Small k is easy, since x_k
    nearly shows the answer; a network that reads the candidates stays below ln N at K - 1 too, where x_k shows nothing.
    """
    audio, text = predictions["audio"], predictions["text"][:, 0]
    grouped = [x[: len(x) // candidates * candidates].reshape(-1, candidates, x.shape[-1]) for x in (text, audio)]
    if settings.denoiser_input == "l2":
        grouped = [unit_rows(x) for x in grouped]
    levels = jnp.asarray(np.unique(np.linspace(0, settings.schedule.num_steps - 1, 5).round().astype(np.int32)))
    found = {}
    for name, (queries, gallery) in {"t2a": grouped, "a2t": grouped[::-1]}.items():
        if f"denoiser_{name}" in params:
            network = partial(denoise_shared, params[f"denoiser_{name}"], settings.denoiser)
            losses = _losses_by_level(settings, network, queries, gallery, levels, key)
            found[name] = {int(k): float(value) for k, value in zip(levels, losses, strict=True)}
    return found


def _losses_by_level(settings: Settings, network: Any, queries: Array, gallery: Array, levels: Array, key: Key) -> Array:
    target, options = (
        jnp.arange(queries.shape[1], dtype=jnp.int32),
        {name: settings.loss[name] for name in ("logit_scale", "negative_value")},
    )

    def of_group(group: tuple[Array, Array, Array], k: Array) -> Array:
        index, query, candidates = group
        keys = jax.random.split(jax.random.fold_in(key, index), len(target))
        return jnp.mean(generation_loss(network, settings.schedule, keys, query, candidates, target, noise_level=k, **options))

    groups = (jnp.arange(len(queries), dtype=jnp.int32), jnp.asarray(queries), jnp.asarray(gallery))
    return jax.jit(lambda: jax.lax.map(lambda k: jnp.mean(jax.lax.map(lambda group: of_group(group, k), groups)), levels))()


def search_split(settings: Settings, params: Params, predictions: Mapping[str, np.ndarray], key: Key) -> dict[str, Direction]:
    """Both directions of a split as `predict` returned it, before fusion."""
    embeddings = ranking.Embeddings.from_predictions(predictions)
    return ranking.search_split(params, settings.denoiser, settings.schedule, embeddings, key, **_search_options(settings))


def search_all(settings: Settings, params: Params, predictions: Mapping[str, np.ndarray], key: Key) -> Direction:
    """Text to audio of a split as `predict` returned it, before fusion; every sound is diffused for every text."""
    embeddings = ranking.Embeddings.from_predictions(predictions)
    scores = search_text(settings, params, embeddings.text, embeddings.audio, key, top_m=0)
    return Direction("t2a", jax.tree.map(np.asarray, scores), embeddings.clip_index)


def search_text(
    settings: Settings,
    params: Params,
    text: Float[np.ndarray, "q d"],
    audio: Float[np.ndarray, "a d"],
    key: Key,
    *,
    top_m: int | None = None,
) -> Scores:
    """Text queries over any gallery of sounds, before fusion. `top_m`: how many sounds of a query are diffused, if not the config's."""
    options = _search_options(settings) | ({} if top_m is None else {"top_m": top_m})
    return ranking.search_direction(params, settings.denoiser, settings.schedule, "t2a", text, audio, key, **options)


def _search_options(settings: Settings) -> dict[str, Any]:
    options = {name: settings.inference[name] for name in ("top_m", "noise_draws", "query_block")}
    return options | {"l2_input": settings.denoiser_input == "l2"}


def choose_fusion(settings: Settings, direction: Direction) -> Fusion:
    """Alpha and temperature from the config's grids, by mAP@10."""
    return direction.choose(settings.inference["alphas"], settings.inference["temperatures"])


SLOTS = {"audio": Slot("dual/audio_tower", "batch_stats/audio_tower"), "text": Slot("dual/text_tower")}
PAPER = Paper(PHASES, make_task, check, finish, SLOTS)
