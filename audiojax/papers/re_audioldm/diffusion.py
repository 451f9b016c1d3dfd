"""The phase "diffusion": the U-Net is trained to take noise off latents, told a caption's embedding and what was retrieved for it.

Parameters: "unet", which is trained, and the frozen towers "vae", "clap", "audiomae" and "t5", as far as the config has them. model_state
holds what is measured once: "latent" {"scale"}, and "null" {"embedding", "text", "text_mask"}, what CLAP and T5 make of "".
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from audiojax.collectives import example_keys
from audiojax.papers.evaluation import evaluation_keys
from audiojax.papers.re_audioldm.autoencoder import latent_scale
from audiojax.papers.re_audioldm.conditioning import encode_audio, encode_text
from audiojax.papers.re_audioldm.diffusion_settings import DiffusionSettings, check, make_diffusion_settings
from audiojax.papers.re_audioldm.loss import errors_at, moments_of, training_loss
from audiojax.papers.re_audioldm.settings import NOISE_LEVELS
from audiojax.papers.task import Encoders, Task
from audiojax.typing import Array, Batch, Key, Params

RULES = (  # output features over tensor; whatever is not named here falls back to the largest divisible dimension over fsdp
    (r"unet/.*/attention\d/(query|key|value)/kernel$", PartitionSpec("fsdp", "tensor")),
    (r"unet/.*/attention\d/out/kernel$", PartitionSpec("tensor", "fsdp")),
    (r"unet/.*/mlp/(up|gate)/kernel$", PartitionSpec("fsdp", "tensor")),
    (r"unet/.*/mlp/down/kernel$", PartitionSpec("tensor", "fsdp")),
)
BANDS = {"low": (0, 333), "middle": (333, 667), "high": (667, NOISE_LEVELS)}  # of noise, in which validation's errors are averaged
STATISTICS = ("latent", "null")
__all__ = ["check", "encoders", "make", "measure"]


def make(config: Mapping[str, Any], vocab_size: int) -> Task:
    """The task of the phase. UsageError: see `make_diffusion_settings`."""
    settings = make_diffusion_settings(config, vocab_size)
    return Task(
        name="re_audioldm/diffusion",
        init=partial(init, settings),
        loss=partial(loss, settings),
        predict=partial(predict, settings),
        metrics=partial(metrics, settings),
        partition_rules=RULES,
        select="explained",
    )


def init(settings: DiffusionSettings, key: Key, batch: Batch) -> dict[str, Any]:
    """Fresh parameters, and statistics of a model that has measured nothing; the shapes are the config's."""
    keys = dict(zip(("unet", "vae", "text", "audio", "audiomae", "t5"), jax.random.split(key, 6), strict=True))
    sizes, width = settings.unet.config, settings.clap_text.config.projection
    contexts = tuple((jnp.zeros((1, 1, of_context)), None) for of_context in sizes.contexts if of_context is not None)
    latents = jnp.zeros((1, sizes.stride, sizes.stride, sizes.latent_channels))
    unet = settings.unet.init(keys["unet"], latents, jnp.zeros(1, jnp.int32), jnp.zeros((1, width)), contexts, train=False)
    mel = jnp.zeros((1, settings.vae.config.stride, settings.vae.config.stride))
    ids, seen = jnp.zeros((1, 2), jnp.int32), jnp.ones((1, 2), bool)
    params = {
        "unet": unet["params"],
        "vae": settings.vae.init(keys["vae"], mel, train=False)["params"],
        "clap": {"text": settings.clap_text.init(keys["text"], ids, seen, train=False)["params"]},
    }
    null = {"embedding": jnp.zeros(width)}
    state: dict[str, Any] = {"latent": {"scale": jnp.zeros(())}, "null": null}
    if settings.clap_audio is not None:
        front_end, fusion = settings.front_end, settings.clap_audio.config.audio.fusion
        view = jnp.zeros((1, 4 if fusion else 1, front_end.frames, front_end.mel.n_mels))
        made = settings.clap_audio.init(keys["audio"], view, train=False)
        params["clap"]["audio"], state["batch_stats"] = made["params"], {"clap": {"audio": made["batch_stats"]}}
    if settings.audiomae is not None:
        made = settings.audiomae.init(
            keys["audiomae"], jnp.zeros((1, settings.audiomae.config.frames, settings.audiomae.config.mels)), train=False
        )
        params["audiomae"], state["constants"] = made["params"], {"audiomae": made["constants"]}
    if settings.t5 is not None:
        params["t5"] = settings.t5.init(keys["t5"], ids, seen, train=False)["params"]
        null |= {"text": jnp.zeros(settings.text_tokens), "text_mask": jnp.zeros(settings.text_tokens[0])}
    return {"params": params, "model_state": state}


def loss(settings: DiffusionSettings, params: Params, model_state: Any, batch: Batch, key: Key, *, axis_name: str | None = None):
    """The mean of L over the local rows."""
    keys = example_keys(key, batch["audio_moments"].shape[0], axis_name)
    value = jnp.mean(training_loss(settings, params, model_state, batch, keys))
    return value, (model_state, {})


def predict(settings: DiffusionSettings, params: Params, model_state: Any, batch: Batch) -> dict[str, Array]:
    """ "error" [b, n]: the squared error of the noise at each level that validation looks at; of several captions the first counts."""
    if batch["text_embedding"].ndim == 3:
        batch = {**batch, "text_embedding": batch["text_embedding"][:, 0]}
    return {"error": errors_at(settings, params, model_state, batch, evaluation_keys(batch["clip_index"]))}


def metrics(settings: DiffusionSettings, params: Params, predictions: Mapping[str, np.ndarray], key: Key) -> dict[str, float]:
    """The mean error, at each level, in bands of levels and over all of them (lower is better); and "explained", 1 - that mean: 0 of a
    network that says nothing."""
    levels, by_level = np.array(settings.options.evaluated), predictions["error"].mean(axis=0, dtype=np.float64)
    found = {f"level/{t}": float(error) for t, error in zip(levels, by_level, strict=True)}
    for name, (low, high) in BANDS.items():
        if (inside := (low <= levels) & (levels < high)).any():
            found[f"band/{name}"] = float(by_level[inside].mean())
    return found | {"error": float(by_level.mean()), "explained": 1 - float(by_level.mean())}


def encoders(config: Mapping[str, Any], *, vocab_size: int) -> Encoders:
    """The moments of a clip's latents and the features of clip and captions that retrieval and conditioning need."""
    settings = make_diffusion_settings(config, vocab_size)
    names = ("vae_preset", "clap_preset", "clap_front_end", "audiomae_preset", "t5_preset", "pool", "dtype", "contexts")
    facts = {name: config["model"][name] for name in names}
    facts |= {"clap halves": 1 + (settings.clap_audio is not None), "tokens": settings.tokens, "own words": settings.own_words}
    towers = ("vae", "clap", *(name for name, used in (("audiomae", settings.audiomae), ("t5", settings.t5)) if used is not None))
    return Encoders(partial(encode_audio, settings), partial(encode_text, settings), facts, towers)


def measure(config: Mapping[str, Any], params: Params, batches: Iterable[Batch], *, vocab_size: int, blank: Batch) -> dict[str, Any]:
    """The latent scale of stored training examples, and what the frozen text towers make of the empty caption `blank` [1, l]."""
    settings = make_diffusion_settings(config, vocab_size)
    null = jax.device_get(jax.jit(partial(encode_text, settings))(params, {}, blank))
    found = {"embedding": null["text_embedding"][0]}
    if settings.t5 is not None:
        found |= {"text": null["text_tokens"][0], "text_mask": null["text_tokens_mask"][0]}
    scale = latent_scale(moments_of({"audio_moments": jnp.concatenate([batch["audio_moments"] for batch in batches])}))
    return {"latent": {"scale": np.asarray(scale)}, "null": {name: np.asarray(x, np.float32) for name, x in found.items()}}
