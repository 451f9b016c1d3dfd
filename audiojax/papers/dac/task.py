"""DAC as tasks for the trainer: config in, four pure functions out.

Phases: "head" trains the token head on clean latents, so that a caption that is encoded and decoded comes back; "diffusion" trains the
projection, the denoiser and the head. "autoregressive" trains the rival instead. Parameters: "towers" (frozen), then "head" and in
"diffusion" also "diffuser", or "autoregressive".
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Shaped

from audiojax.losses.tokens import token_cross_entropy, token_mean
from audiojax.papers.dac import autoregressive
from audiojax.papers.dac.inference import hear, write
from audiojax.papers.dac.latent import Latents, caption_latents, measure, token_logits, word_mask
from audiojax.papers.dac.loss import TERMS, diffusion_loss, head_loss, noised, terms
from audiojax.papers.dac.model import Sound
from audiojax.papers.dac.settings import PHASES, Settings, check, make_settings
from audiojax.papers.evaluation import evaluation_keys
from audiojax.papers.task import Encoders, Paper, Slot, Statistics, Task, choice
from audiojax.papers.written import token_scores
from audiojax.typing import Array, Batch, Key, Params

RULES = (  # widths split over tensor and fsdp; whatever is not named here falls back to the largest divisible dimension over fsdp
    (r"(attention|cross)/(query|key|value)/kernel$", PartitionSpec("fsdp", "tensor")),
    (r"(attention|cross)/out/kernel$", PartitionSpec("tensor", "fsdp")),
    (r"mlp/up/kernel$", PartitionSpec("fsdp", "tensor")),
    (r"mlp/down/kernel$", PartitionSpec("tensor", "fsdp")),
)
SELECT = {"head": "round_trip/words", "diffusion": "captions/cider_d", "autoregressive": "captions/cider_d"}


def make_task(config: Mapping[str, Any], phase: str, *, vocab_size: int) -> Task:
    """The task of one phase: "head", "diffusion" or "autoregressive"."""
    choice("phases", phase, PHASES)
    settings = make_settings(config, vocab_size)
    return Task(
        name=f"dac/{phase}",
        init=partial(init, settings, phase),
        loss=partial(loss, settings, phase),
        predict=partial(predict, settings, phase),
        metrics=partial(metrics, settings, phase),
        partition_rules=RULES,
        select=SELECT[phase],
        frozen="^towers/(audio|text)/",
    )


def encoders(config: Mapping[str, Any], *, vocab_size: int) -> Encoders:
    """What BEATs makes of a clip; captions stay token ids, for the lower half of BERT costs little."""
    settings = make_settings(config, vocab_size)

    def of_audio(params: Params, model_state: Any, batch: Batch) -> dict[str, Array]:
        sound = hear(settings, params, batch)
        return {"audio_values": sound.values, "audio_mask": sound.mask}

    return Encoders(of_audio, None, {name: config["model"][name] for name in ("audio_preset", "dtype")}, ("audio",))


def measure_latents(config: Mapping[str, Any], params: Params, batches: Iterable[Batch], *, vocab_size: int) -> dict[str, Any]:
    """The statistics of the latent space, from words of training captions."""
    return measure(make_settings(config, vocab_size), params, batches)


def init(settings: Settings, phase: str, key: Key, batch: Batch) -> dict[str, Any]:
    """Fresh parameters, and a latent space that is not standardised; the shapes are the config's."""
    windows, samples, length = settings.shape
    towers_key, head_key, diffuser_key = jax.random.split(key, 3)
    waveform, heard = jnp.zeros((1, windows, samples)), jnp.ones((1, windows), bool)
    ids, mask = jnp.zeros((1, length), jnp.int32), jnp.ones((1, length), bool)
    (sound, states), variables = settings.towers.init_with_output(towers_key, waveform, heard, ids, mask)
    params = {"towers": variables["params"]}
    table, width = params["towers"]["text"]["word"]["embedding"], states.shape[-1]
    if phase == "autoregressive":
        params["autoregressive"] = autoregressive.init(settings.rival, diffuser_key, sound, ids, mask)
    else:
        params["head"] = settings.head.init(head_key, states, table)["params"]
    if phase == "diffusion":
        x, t = jnp.zeros((1, length, width)), jnp.zeros(1, jnp.int32)
        made = settings.diffuser.init(diffuser_key, x, x, t, *sound, train=False, method="hear_and_denoise")
        params["diffuser"] = made["params"]
    return {"params": params, "model_state": {"latent": {"mean": jnp.zeros(width), "std": jnp.ones(width)}}}


def loss(settings: Settings, phase: str, params: Params, model_state: Any, batch: Batch, key: Key, *, axis_name: str | None = None):
    """The loss of the phase, means over the local rows."""
    if phase == "head":
        value, found = head_loss(settings, params, model_state, batch, axis_name=axis_name)
        return value, (model_state, found)
    sound = hear(settings, params, batch)
    if phase == "diffusion":
        value, found = diffusion_loss(settings, sound, params, model_state, batch, key, axis_name=axis_name)
    else:
        smoothing = settings.loss.label_smoothing
        value, found = autoregressive.autoregressive_loss(settings.rival, smoothing, sound, params, batch, key, axis_name=axis_name)
    return value, (model_state, found)


def predict(settings: Settings, phase: str, params: Params, model_state: Any, batch: Batch) -> dict[str, Array]:
    """Of clips with all their captions, what is scored of each phase.

    All: targets and words [b, c, n], the tokens of captions and where they are words. "head" and "diffusion": round_trip [b, c, n], whether
    a token is decoded right from its clean latent. "diffusion" and "autoregressive": tokens and written [b, n], a caption by
    `settings.validation` and where its words are; its confidence; and the terms of the loss on the first caption, one number a clip.
    """
    ids, mask = batch["text_ids"], batch["text_mask"]  # [b, c, n]
    if phase == "autoregressive":
        sound, first = hear(settings, params, batch), {"text_ids": ids[:, 0], "text_mask": mask[:, 0]}
        found = {"targets": ids, "words": word_mask(mask)}
        return found | _narrated(settings, params, sound, first) | _written(settings, params, model_state, sound, _keys(batch)[0])
    latents = caption_latents(settings, params, model_state, *(x.reshape(-1, x.shape[-1]) for x in (ids, mask)))
    right = jnp.argmax(token_logits(settings, params, model_state, latents.x0), axis=-1) == latents.targets
    found = {name: x.reshape(ids.shape) for name, x in (("round_trip", right), ("targets", latents.targets), ("words", latents.words))}
    if phase == "head":
        return found
    sound, (write_keys, loss_keys) = hear(settings, params, batch), _keys(batch)
    first = jax.tree.map(lambda x: x.reshape(*ids.shape[:2], *x.shape[1:])[:, 0], latents)
    found |= _denoised(settings, params, model_state, sound, first, loss_keys)
    return found | _written(settings, params, model_state, sound, write_keys)


def _keys(batch: Batch) -> Shaped[Array, "2 b"]:
    """Two keys a clip, from its number in the split alone."""
    return jnp.moveaxis(jax.vmap(jax.random.split)(evaluation_keys(batch["clip_index"])), 1, 0)


def _written(settings: Settings, params: Params, model_state: Any, sound: Sound, keys: Shaped[Array, "b"]) -> dict[str, Array]:
    stored = {"audio_values": sound.values, "audio_mask": sound.mask}
    tokens, words, confidence = write(settings, params, model_state, stored, keys, settings.validation)
    return {"tokens": tokens, "written": words, "confidence": confidence}


def _denoised(
    settings: Settings, params: Params, model_state: Any, sound: Sound, latents: Latents, keys: Shaped[Array, "b"]
) -> dict[str, Array]:
    """The terms of the loss at one level a clip, without dropout and self-conditioning."""
    noisy = noised(settings.schedule, keys, latents.x0, dilation=settings.loss.dilation)
    inputs = (noisy.x_t, jnp.zeros_like(noisy.x_t), noisy.t, *sound)
    output = settings.diffuser.apply({"params": params["diffuser"]}, *inputs, train=False, method="hear_and_denoise")

    def of_row(*row: Any) -> dict[str, Array]:
        return terms(settings, params, model_state, *jax.tree.map(lambda x: x[None], row))

    return jax.vmap(of_row)(latents, noisy, output)


def _narrated(settings: Settings, params: Params, sound: Sound, batch: Batch) -> dict[str, Array]:
    """Cross entropy of the first caption's tokens."""
    logits = autoregressive.next_word_logits(settings.rival, params["autoregressive"], sound, batch, train=False)
    each = token_cross_entropy(logits, batch["text_ids"][:, 1:])
    return {"cross_entropy": jax.vmap(token_mean)(each, batch["text_mask"][:, 1:])}


def metrics(settings: Settings, phase: str, params: Params, predictions: Mapping[str, np.ndarray], key: Key) -> dict[str, float]:
    """Shares of tokens and of words that come back from clean latents; scores of captions on token ids; the terms of the loss."""
    found = {}
    if "round_trip" in predictions:
        right, words = predictions["round_trip"], predictions["words"]
        found |= {"round_trip/tokens": float(right.mean()), "round_trip/words": float(right[words].mean())}
    if "tokens" in predictions:
        found |= token_scores(predictions)
    return found | {f"loss/{name}": float(predictions[name].mean()) for name in (settings.loss.error, *TERMS) if name in predictions}


PAPER = Paper(
    PHASES,
    make_task,
    check,
    slots={"audio": Slot("towers/audio"), "text": Slot("towers/text")},
    encoders=encoders,
    statistics=Statistics(("latent",), measure_latents),
)
