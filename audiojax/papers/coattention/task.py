"""Co-attention retrieval as tasks for the trainer: config in, four pure functions out. This is where config values become objects.

Phases: "contrastive" trains the dual encoder (projections, pooling, cosine) with NT-Xent; "pairs" starts the cascade from its projections
and trains it with NT-Xent over all pairs of the batch. Parameters: "towers" and "dual", and in "pairs" also "cascade".

Frozen towers are run once over the data: the batches hold their states then (`audio_values` and so on) in place of waveforms and token ids.
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
from jax.sharding import PartitionSpec
from jaxtyping import Shaped

from audiojax.collectives import example_keys, gather_batch, local_key, row_offset
from audiojax.encoders.htsat import PRESETS as HTSATS
from audiojax.errors import UsageError
from audiojax.losses.contrastive import same_clip_mask, symmetric_nt_xent
from audiojax.models.co_attention import CASCADES, CoAttention, CoAttentionConfig, States, pair_scores
from audiojax.papers.coattention.model import Towers
from audiojax.papers.coattention.ranking import Split, search_split
from audiojax.papers.options import clap_front_end_of, dtype_of, text_tower_of
from audiojax.papers.task import Encoders, Paper, Slot, Task, choice
from audiojax.typing import Array, Batch, Key, Params

PHASES = ("contrastive", "pairs")
RULES = (  # widths split over tensor and fsdp; whatever is not named here falls back to the largest divisible dimension over fsdp
    (r"(attention|self|guided)/(query|key|value)/kernel$", PartitionSpec("fsdp", "tensor")),
    (r"(attention|self|guided)/out/kernel$", PartitionSpec("tensor", "fsdp")),
    (r"mlp/up/kernel$", PartitionSpec("fsdp", "tensor")),
    (r"mlp/down/kernel$", PartitionSpec("tensor", "fsdp")),
)
SWITCHES = {
    "cascade": CASCADES,
    "update": ("parallel", "alternating"),
    "unit": ("guided", "affinity"),
    "pool": ("mean", "attention"),
    "audio_positions": ("none", "sinusoidal"),
}


@dataclass(frozen=True)
class Settings:
    """What the config says, as objects.

    Attributes:
      towers: without an axis name.
      dual: the cascade of no steps: projections and pooling alone.
      cascade: the network of a pair.
      shape: [windows, samples] of a clip, and tokens of a caption.
      text_tokens: "words", or "sentence": the first word's state stands for the text.
      loss, inference: those sections of the config as plain dicts.
      trainable: phase -> regex of the parameters that it trains.
    """

    towers: Towers
    dual: CoAttention
    cascade: CoAttention
    shape: tuple[int, int, int]
    text_tokens: str
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
    model, data = config["model"], config["data"]
    types = {"dtype": dtype_of(config)}
    front_end, samples = clap_front_end_of(config, in_time=True)
    text = text_tower_of(config, vocab_size)
    towers = Towers(HTSATS[choice("model.audio_preset", model["audio_preset"], HTSATS)], text, front_end.mel, **types)
    switches = dict(model["cascade"])
    for name, allowed in SWITCHES.items():
        choice(f"model.cascade.{name}", switches[name], allowed)
    network = CoAttentionConfig(**switches)
    dual = CoAttention(dataclasses.replace(network, cascade="stack", depth=0), **types)
    shape = (data["windows"], samples, data["max_tokens"])
    tokens = choice("model.text_tokens", model["text_tokens"], ("words", "sentence"))
    trainable = {phase: config[phase]["trainable"] for phase in PHASES if phase in config}
    cascade = CoAttention(network, **types)
    return Settings(towers, dual, cascade, shape, tokens, dict(config["loss"]), dict(config["inference"]), trainable)


def make_task(config: Mapping[str, Any], phase: str, *, vocab_size: int) -> Task:
    """The task of one phase, "contrastive" or "pairs"."""
    choice("phases", phase, PHASES)
    settings = make_settings(config, vocab_size)
    return Task(
        name=f"coattention/{phase}",
        init=partial(init, settings, phase),
        loss=partial(loss, settings, phase),
        predict=partial(predict, settings),
        metrics=partial(metrics, settings),
        partition_rules=RULES,
        select="t2a/R_sum",
    )


def check(config: Mapping[str, Any]) -> None:
    """What would otherwise fail, or mislead, in the middle of a run. UsageError names the key."""
    for section, key, least in (
        ("inference", "top_m", 0),
        ("inference", "validation_captions", 1),
        ("loss", "block", 1),
        ("data", "windows", 1),
    ):
        if config[section][key] < least:
            raise UsageError(f"config key '{section}.{key}' is {config[section][key]}; it takes {least} or more")
    if config["model"]["cascade"]["depth"] < 1:
        raise UsageError(f"config key 'model.cascade.depth' is {config['model']['cascade']['depth']}; it takes 1 or more")
    trained = [phase for phase in config["phases"] if re.search(config[phase]["trainable"], "towers/audio") is not None]
    if config["data"]["states"] and trained:
        raise UsageError(
            f"config key '{trained[0]}.trainable' trains the towers, and data.states runs them once: set one of them otherwise"
        )
    if not trained:
        for key in ("audio", "text"):
            if not config["init"][key]:
                raise UsageError(
                    f"config key 'init.{key}' is empty, and the towers are frozen: name a checkpoint, such as a run of `audiojax towers`"
                )


def encoders(config: Mapping[str, Any], *, vocab_size: int) -> Encoders:
    """What the frozen towers make of a clip, and of a caption."""
    settings = make_settings(config, vocab_size)

    def of_audio(params: Params, model_state: Any, batch: Batch) -> dict[str, Array]:
        return _named("audio", audio_states(settings, params, model_state, batch))

    def of_text(params: Params, model_state: Any, batch: Batch) -> dict[str, Array]:
        return _named("text", text_states(settings, params, model_state, batch))

    return Encoders(of_audio, of_text, {name: config["model"][name] for name in ("front_end", "dtype", "text_tokens")})


def hand_over(phase: str, params: Params) -> Params:
    """What a phase starts from, given the parameters of the one before: the cascade begins with the projections of the dual encoder."""
    return {**params, "cascade": params["dual"]} if phase == "pairs" and "cascade" not in params else params


def init(settings: Settings, phase: str, key: Key, batch: Batch) -> dict[str, Any]:
    """Fresh parameters and running statistics; the shapes are the config's, for a batch may hold states alone."""
    windows, samples, tokens = settings.shape
    keys = dict(zip(("towers", "dual", "cascade"), jax.random.split(key, 3), strict=True))
    waveform, heard = jnp.zeros((1, windows, samples)), jnp.ones((1, windows), bool)
    ids, mask = jnp.zeros((1, tokens), jnp.int32), jnp.ones((1, tokens), bool)
    (audio, text), variables = settings.towers.init_with_output(keys["towers"], waveform, heard, ids, mask, train=False)
    params = {"towers": variables["params"]}
    for name, network in {"dual": settings.dual, "cascade": settings.cascade}.items():
        if name == "dual" or phase == "pairs":
            params[name] = network.init(keys[name], _spoken(settings, text), audio, train=False)["params"]
    return {"params": params, "model_state": {"batch_stats": {"towers": variables["batch_stats"]}}}


def audio_states(settings: Settings, params: Params, model_state: Any, batch: Batch) -> States:
    """Segment states of clips, from the batch if it holds them."""
    if "audio_values" in batch:
        return States(batch["audio_values"], batch["audio_mask"])
    variables = _tower_variables(params, model_state)
    return settings.towers.apply(variables, batch["waveform"], batch["windows"], train=False, method="encode_audio")


def text_states(settings: Settings, params: Params, model_state: Any, batch: Batch) -> States:
    """Word states of captions [b, l], from the batch if it holds them."""
    if "text_values" in batch:
        return States(batch["text_values"], batch["text_mask"])
    found = settings.towers.apply(
        _tower_variables(params, model_state), batch["text_ids"], batch["text_mask"], train=False, method="encode_text"
    )
    return _spoken(settings, found)


def loss(settings: Settings, phase: str, params: Params, model_state: Any, batch: Batch, key: Key, *, axis_name: str | None = None):
    """NT-Xent, symmetric, the mean over the local rows: of the dual encoder's cosines, or of s_ij over all pairs of the global batch."""
    options = settings.loss
    tower_key, network_key = jax.random.split(key)
    state = model_state
    if any(re.search(settings.trainable[phase], f"towers/{path}") for path in traverse_util.flatten_dict(params["towers"], sep="/")):
        (audio, text), updated = settings.towers.clone(axis_name=axis_name).apply(
            _tower_variables(params, model_state),
            *(batch[name] for name in ("waveform", "windows", "text_ids", "text_mask")),
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": local_key(tower_key, axis_name)},
        )
        text, state = _spoken(settings, text), {"batch_stats": {"towers": updated["batch_stats"]}}
    else:  # frozen towers stay what they are: no dropout, no new running statistics
        audio, text = audio_states(settings, params, model_state, batch), text_states(settings, params, model_state, batch)
    rows = audio.mask.shape[0]
    offset = row_offset(rows, axis_name)
    if phase == "contrastive":
        own = dict(
            zip(
                ("text", "audio"),
                settings.dual.apply(
                    {"params": params["dual"]}, text, audio, train=True, rngs={"dropout": local_key(network_key, axis_name)}
                ),
                strict=True,
            )
        )
        everyone = gather_batch(own, axis_name)
        text_to_audio, audio_to_text = own["text"] @ everyone["audio"].T, own["audio"] @ everyone["text"].T
    else:
        sounds = gather_batch(audio, axis_name)
        keys = _pair_keys(example_keys(network_key, rows, axis_name), sounds.mask.shape[0])
        text_to_audio = pair_scores(settings.cascade, params["cascade"], text, sounds, keys, block=options["block"], remat=True)
        audio_to_text = jax.lax.dynamic_slice_in_dim(gather_batch(text_to_audio, axis_name), offset, rows, axis=1).T
    clips = gather_batch(batch["clip_index"], axis_name)
    ignore = same_clip_mask(batch["clip_index"], clips, offset) if options["mask_same_audio"] else None
    value = jnp.mean(
        symmetric_nt_xent(text_to_audio, audio_to_text, target_offset=offset, temperature=options["temperature"], ignore=ignore)
    )
    target = offset + jnp.arange(rows, dtype=jnp.int32)
    return value, (state, {"batch_R@1": jnp.mean(jnp.argmax(text_to_audio, axis=1) == target, dtype=jnp.float32)})


def predict(settings: Settings, params: Params, model_state: Any, batch: Batch) -> dict[str, Array]:
    """Vectors of a batch of clips with all their captions: audio [b, d], text [b, c, d]; with a cascade also the states that it reads."""
    count = batch["text_mask"].shape[1]
    flat = {name: x.reshape(-1, *x.shape[2:]) if name.startswith("text") else x for name, x in batch.items()}
    audio, text = audio_states(settings, params, model_state, flat), text_states(settings, params, model_state, flat)
    dual = partial(settings.dual.apply, {"params": params["dual"]}, train=False)
    found = {"audio": dual(audio, method="encode_audio"), "text": dual(text, method="encode_text")}
    if "cascade" in params:
        found |= _named("audio", audio) | _named("text", text)
    return {name: x.reshape(-1, count, *x.shape[1:]) if name.startswith("text") else x for name, x in found.items()}


def metrics(settings: Settings, params: Params, predictions: Mapping[str, np.ndarray], key: Key) -> dict[str, float]:
    """Scores of both directions over the first `inference.validation_captions` captions of each clip."""
    options = settings.inference
    split = Split.from_predictions(predictions, options["validation_captions"])
    found = search_split(settings.cascade, params, split, top_m=options["validation_top_m"])
    return {key: value for direction in found.values() for key, value in direction.summary().items()}


def _tower_variables(params: Params, model_state: Any) -> dict[str, Any]:
    return {"params": params["towers"], "batch_stats": model_state["batch_stats"]["towers"]}


def _spoken(settings: Settings, text: States) -> States:
    """Words, or the first one for the sentence."""
    return text if settings.text_tokens == "words" else jax.tree.map(lambda x: x[:, :1], text)


def _named(side: str, states: States) -> dict[str, Array]:
    return {f"{side}_values": states.values, f"{side}_mask": states.mask}


def _pair_keys(row_keys: Shaped[Array, " b"], columns: int) -> Shaped[Array, "b n"]:
    """One key for each pair, from the numbers of both in the global batch."""
    numbers = jnp.arange(columns, dtype=jnp.int32)
    return jax.vmap(lambda key: jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers))(row_keys)


SLOTS = {
    "audio": Slot("towers/audio", "batch_stats/towers/audio", part="audio/encoder"),
    "text": Slot("towers/text"),
}
PAPER = Paper(PHASES, make_task, check, slots=SLOTS, encoders=encoders, hand_over=hand_over)
