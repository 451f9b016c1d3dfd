"""What the frozen towers make of clips and captions, and what of it the U-Net is told: the conditions of an example, and none at all.

  E_t  = f_clap(c_t)                  joined to the time embedding
  E_ra = cat_k f_mae(audio_k)         the first context
  E_rt = cat_k f_t5(text_k)           the second one                                                     (arXiv 2309.08051)

No condition is CLAP's and T5's embedding of "" and zeros in place of AudioMAE's tokens, all of them attended to ("haoheliu/
AudioLDM-training-finetuning code", conditional_models.py); a pair that is missing is the same.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from audiojax.audio.resampling import resampled
from audiojax.audio.spectral import log_mel
from audiojax.encoders.audiomae import pool_patches
from audiojax.encoders.clap import unit
from audiojax.papers.re_audioldm.diffusion_settings import DiffusionSettings
from audiojax.papers.re_audioldm.hearing import levelled
from audiojax.papers.re_audioldm.inference import Condition
from audiojax.towers.clap_features import ClapFrontEnd
from audiojax.typing import Batch, Params


def encode_audio(settings: DiffusionSettings, params: Params, model_state: Any, batch: Batch) -> dict[str, Array]:
    """Of "waveform" [b, n]: "audio_moments" [b, t, f, 2c], mean and log variance of the latents; "audio_embedding" [b, d], CLAP's, and
    "audio_tokens" [b, n, d], AudioMAE's, where the settings have these towers."""
    waveform = batch["waveform"]
    moments = settings.vae.apply({"params": params["vae"]}, log_mel(levelled(waveform), settings.mel), train=False, method="encode")
    found = {"audio_moments": jnp.concatenate([moments.mean, moments.logvar], axis=-1)}
    if settings.clap_audio is not None:
        variables = {"params": params["clap"]["audio"], "batch_stats": model_state["batch_stats"]["clap"]["audio"]}
        vectors = []
        for window in clap_windows(settings.front_end, waveform, settings.mel.sample_rate):
            view = log_mel(window, settings.front_end.mel)[:, None]
            views = jnp.repeat(view, 4, axis=1) if settings.clap_audio.config.audio.fusion else view
            vectors.append(settings.clap_audio.apply(variables, views, train=False).features)
        found["audio_embedding"] = unit(jnp.mean(jnp.stack(vectors), axis=0))
    if settings.audiomae is not None:
        sizes = settings.audiomae.config
        variables = {"params": params["audiomae"], "constants": model_state["constants"]["audiomae"]}
        features = settings.audiomae.apply(variables, log_mel(waveform, sizes.front_end), train=False).features
        found["audio_tokens"] = pool_patches(features, sizes.grid, settings.pool)
    return found


def clap_windows(front_end: ClapFrontEnd, waveform: Float[Array, "b n"], sample_rate: int) -> list[Float[Array, "b w"]]:
    """What CLAP hears of clips, at its own rate, as `ClapTower.embed_audio` cuts them: a short clip repeated as often as it fits whole; of
    a long one windows side by side, the last of which ends with it."""
    clips, length = resampled(waveform, sample_rate, front_end.mel.sample_rate), front_end.samples
    total = clips.shape[1]
    if total < length:
        times = length // total
        return [jnp.pad(jnp.tile(clips, (1, times)), ((0, 0), (0, length - times * total)))]
    return [clips[:, start : start + length] for start in (*range(0, total - length, length), total - length)]


def encode_text(settings: DiffusionSettings, params: Params, model_state: Any, batch: Batch) -> dict[str, Array]:
    """Of "text_ids" and "text_mask" [b, l]: "text_embedding" [b, d], CLAP's at length 1; "text_tokens" [b, l, d] and "text_tokens_mask"
    [b, l], T5's states, where the settings have a T5. One with a tokenizer of its own reads "text_second_ids" and "text_second_mask"."""
    ids, mask = batch["text_ids"], batch["text_mask"]
    found = {"text_embedding": settings.clap_text.apply({"params": params["clap"]["text"]}, ids, mask, train=False).features}
    if settings.t5 is not None:
        ids, mask = (batch["text_second_ids"], batch["text_second_mask"]) if settings.own_words else (ids, mask)
        states = settings.t5.apply({"params": params["t5"]}, ids, mask, train=False)
        found |= {"text_tokens": jnp.where(mask[..., None], states, 0.0), "text_tokens_mask": mask}
    return found


def condition_of(settings: DiffusionSettings, model_state: Any, batch: Batch, film: str | None = None) -> Condition:
    """The conditions of examples, from stored states and the features of their retrieved pairs.

    Args:
      film: "text" or "audio"; by default what the settings train with.
    """
    labels = batch[f"{film or settings.options.film}_embedding"]
    return Condition(unit(labels), _contexts(settings, model_state["null"], batch))


def null_condition(settings: DiffusionSettings, model_state: Any, condition: Condition) -> Condition:
    """No condition, for as many rows, pairs and tokens as `condition` has."""
    null, rows = model_state["null"], condition.labels.shape[0]
    pairs = {"retrieved_valid": jnp.zeros((rows, _pairs_of(settings, condition)), bool)}
    return Condition(jnp.tile(null["embedding"][None], (rows, 1)), _contexts(settings, null, pairs))


def dropped(condition: Condition, null: Condition, drop: Bool[Array, "b"]) -> Condition:
    """`null` in the rows where `drop` is True: all conditions of an example together."""
    return jax.tree.map(lambda ours, theirs: jnp.where(drop.reshape(-1, *[1] * (ours.ndim - 1)), theirs, ours), condition, null)


def _pairs_of(settings: DiffusionSettings, condition: Condition) -> int:
    if not condition.contexts:
        return 1
    length = settings.audio_tokens[0] or settings.text_tokens[0]
    return condition.contexts[0][0].shape[1] // length


def _contexts(settings: DiffusionSettings, null: Any, batch: Batch) -> tuple[tuple[Array, Array], ...]:
    """(tokens [b, k n, d], mask) of sounds, then of texts; what is not valid becomes a null pair."""
    found = []
    if settings.audiomae is not None or settings.t5 is not None:
        valid = batch["retrieved_valid"]  # [b, k]
        rows, pairs = valid.shape
    if settings.audiomae is not None:
        tokens = jnp.zeros((rows, pairs, *settings.audio_tokens))
        if "retrieved_audio" in batch:
            tokens = jnp.where(valid[..., None, None], batch["retrieved_audio"].astype(jnp.float32), tokens)
        found.append((_joined(tokens), jnp.ones((rows, pairs * settings.audio_tokens[0]), bool)))
    if settings.t5 is not None:
        tokens = jnp.broadcast_to(null["text"][None, None], (rows, pairs, *settings.text_tokens))
        mask = jnp.broadcast_to(null["text_mask"][None, None] > 0.5, (rows, pairs, settings.text_tokens[0]))
        if "retrieved_text" in batch:
            tokens = jnp.where(valid[..., None, None], batch["retrieved_text"].astype(jnp.float32), tokens)
            mask = jnp.where(valid[..., None], batch["retrieved_text_mask"], mask)
        found.append((_joined(tokens), mask.reshape(rows, -1)))
    return tuple(found)


def _joined(tokens: Float[Array, "b k n d"]) -> Float[Array, "b m d"]:
    return tokens.reshape(tokens.shape[0], -1, tokens.shape[-1])
