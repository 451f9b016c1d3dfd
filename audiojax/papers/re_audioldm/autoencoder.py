"""The phase "autoencoder": log-mels of random stretches through the autoencoder and back (arXiv 2112.10752, 2012.09841).

    nll  = sum over pixels of |x - x_hat| / exp(s) + s                       s: a learned log scale, one number
    L    = nll + kl KL + lambda a g(x_hat)                                   g = -D(x_hat); from step `start` on, 0 before
    a    = |grad nll| / (|grad g| + 1e-4) at the decoder's last layer        over the global batch
    L_D  = (max(0, 1 - D(x)) + max(0, 1 + D(x_hat))) / 2                     from step `start` on, 0 before

"haoheliu/AudioLDM-training-finetuning code", contperceptual.py: there a pixel's error has a perceptual term, LPIPS, beside |x - x_hat|. It
needs weights trained on photographs, which are no part of any audio checkpoint; it is left out. KL is the mean over latents, not the sum.
Both networks take their step at once, from the same parameters, while there the discriminator follows; s is trained here, and there the
optimiser is not given it.

Parameters: "vae", "loss" (s) and "discriminator". The loss is L + L_D with what belongs to the other side under `stop_gradient`, so that
each part of the parameters gets the gradient of its own loss alone. model_state["calls"] counts the losses that were computed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Shaped

from audiojax.audio.spectral import MelConfig, log_mel
from audiojax.collectives import example_keys, pmean
from audiojax.errors import UsageError
from audiojax.losses.adversarial import adaptive_weight, hinge_discriminator_loss, hinge_generator_loss
from audiojax.models.patch_discriminator import PatchDiscriminator, judge
from audiojax.models.vae import AutoencoderKl, Moments
from audiojax.papers.re_audioldm.hearing import blind_error, explained, levelled, random_stretch
from audiojax.papers.re_audioldm.networks import check_latent_grid, clip_samples, mel_of, patch_discriminator_of, vae_of
from audiojax.papers.task import Task
from audiojax.typing import Batch, Key, Params

LAST_LAYER = ("decoder", "conv_out", "kernel")


@dataclass(frozen=True)
class LossOptions:
    """Terms of the loss; the defaults are AudioLDM's.

    Attributes:
      kl: weight of the mean divergence of a latent, against errors that are summed over the pixels of a stretch.
      adversarial: lambda.
      start: step from which the discriminator takes part.
    """

    kl: float = 1_000.0
    adversarial: float = 0.5
    start: int = 50_001


@dataclass(frozen=True, eq=False)
class Settings:
    """What the config says, as objects.

    Attributes:
      stretch: samples that a step hears of every clip.
      first_call: of the loss, in which the discriminator takes part.
    """

    vae: AutoencoderKl
    discriminator: PatchDiscriminator
    mel: MelConfig
    stretch: int
    loss: LossOptions
    first_call: int


def make(config: Mapping[str, Any]) -> Task:
    """The task of the phase. UsageError for unknown presets."""
    return task_of(make_settings(config))


def task_of(settings: Settings) -> Task:
    """The task of these networks."""
    return Task(
        name="re_audioldm/autoencoder",
        init=partial(init, settings),
        loss=partial(loss, settings),
        predict=partial(predict, settings),
        metrics=metrics,
        partition_rules=(),
        select="reconstruction/explained",
    )


def make_settings(config: Mapping[str, Any]) -> Settings:
    """Builds the networks from the config's values."""
    options = LossOptions(**config["loss"]["autoencoder"])
    accumulate = {**config["train"], **config["autoencoder"]}["accumulate"]
    networks = (vae_of(config), patch_discriminator_of(config), mel_of(config))
    return Settings(*networks, config["stretch"]["autoencoder"], options, options.start * accumulate)


def check(config: Mapping[str, Any]) -> None:
    """What would otherwise fail in the middle of a run. UsageError names the key."""
    options, stretch, whole = config["loss"]["autoencoder"], config["stretch"]["autoencoder"], clip_samples(config)
    for name, value in options.items():
        if value < 0:
            raise UsageError(f"config key 'loss.autoencoder.{name}' is {value}; it takes 0 or more")
    if not 1 <= stretch <= whole:
        raise UsageError(f"config key 'stretch.autoencoder' is {stretch}; it takes 1 to the {whole} samples of a clip")
    check_latent_grid(config, "stretch.autoencoder", stretch)
    check_latent_grid(config, "data.seconds", whole)
    patch_discriminator_of(config)


def init(settings: Settings, key: Key, batch: Batch) -> dict[str, Any]:
    """Fresh parameters; the shapes are the config's."""
    vae_key, discriminator_key = jax.random.split(key)
    frames = settings.mel.frame_count(settings.stretch)
    mel = jnp.zeros((1, frames, settings.mel.n_mels))
    params = {
        "vae": settings.vae.init(vae_key, mel, train=False)["params"],
        "loss": {"log_scale": jnp.zeros(())},
        "discriminator": settings.discriminator.init(discriminator_key, mel)["params"],
    }
    return {"params": params, "model_state": {"calls": jnp.zeros((), jnp.int32)}}


def loss(settings: Settings, params: Params, model_state: Any, batch: Batch, key: Key, *, axis_name: str | None = None):
    """L + L_D, means over the local rows."""
    stretch_keys, noise_keys = (example_keys(k, batch["waveform"].shape[0], axis_name) for k in jax.random.split(key))
    x = log_mel(random_stretch(stretch_keys, levelled(batch["waveform"]), settings.stretch), settings.mel)
    discriminator = partial(judge, settings.discriminator.clone(axis_name=axis_name))
    fixed = lax.stop_gradient(params["discriminator"])
    log_scale = params["loss"]["log_scale"]

    moments = settings.vae.apply({"params": params["vae"]}, x, train=True, method="encode")
    x_hat, pull = jax.vjp(partial(decoded, settings.vae, params["vae"], drawn(moments, noise_keys)), last_layer(params["vae"]))
    still = lax.stop_gradient(x_hat)

    def likelihood(x_hat: Array) -> Array:
        return jnp.mean(negative_log_likelihood(x, x_hat, log_scale))

    def deception(x_hat: Array) -> Array:
        return jnp.mean(hinge_generator_loss(discriminator(fixed, x_hat)))

    at_last = [pmean(pull(jax.grad(term)(still)), axis_name) for term in (likelihood, deception)]
    started = (model_state["calls"] >= settings.first_call).astype(jnp.float32)
    weight = started * settings.loss.adversarial * adaptive_weight(*at_last)
    nll, divergence, deceived = likelihood(x_hat), jnp.mean(moments.divergence()), deception(x_hat)
    real, made = discriminator(params["discriminator"], x), discriminator(params["discriminator"], still)
    caught = jnp.mean(hinge_discriminator_loss(real, made))
    value = nll + settings.loss.kl * divergence + weight * deceived + started * caught
    found = {
        "reconstruction": jnp.mean(jnp.abs(x - still)),
        "kl": divergence,
        "log_scale": log_scale,
        "generator": deceived,
        "discriminator": caught,
        "weight": weight,
        "logits_real": jnp.mean(real),
        "logits_made": jnp.mean(made),
    }
    return value, ({"calls": model_state["calls"] + 1}, found)


def negative_log_likelihood(x: Float[Array, "b t m"], x_hat: Float[Array, "b t m"], log_scale: Float[Array, ""]) -> Float[Array, " b"]:
    """nll of every example."""
    return jnp.sum(jnp.abs(x - x_hat) * jnp.exp(-log_scale) + log_scale, axis=(1, 2))


def drawn(moments: Moments, keys: Shaped[Array, "b"]) -> Float[Array, "b t f c"]:
    """Latents drawn from the posterior, each example's with its own key."""
    return moments.sample(jax.vmap(lambda key: jax.random.normal(key, moments.mean.shape[1:]))(keys))


def decoded(vae: AutoencoderKl, params: Params, latents: Float[Array, "b t f c"], kernel: Float[Array, "3 3 c 1"]) -> Float[Array, "b t m"]:
    """x_hat with this kernel in the decoder's last layer."""
    top, middle, leaf = LAST_LAYER
    params = {**params, top: {**params[top], middle: {**params[top][middle], leaf: kernel}}}
    return vae.apply({"params": params}, latents, train=True, method="decode")


def last_layer(params: Params) -> Float[Array, "3 3 c 1"]:
    """The kernel of the decoder's last layer."""
    for name in LAST_LAYER:
        params = params[name]
    return params


def latent_scale(moments: Moments) -> Float[Array, ""]:
    """s = 1 / std(z) over all latents of the given posteriors, z being drawn from them: scaled latents s z have unit deviation.

    The variance of what is drawn is that of the means plus the mean of the variances.
    """
    variance = jnp.var(moments.mean.astype(jnp.float32)) + jnp.mean(jnp.exp(moments.logvar.astype(jnp.float32)))
    return lax.rsqrt(variance)


def predict(settings: Settings, params: Params, model_state: Any, batch: Batch) -> dict[str, Array]:
    """Of every whole clip [b]: the error of the most probable reconstruction and of a blind one (mean |difference| of log-mels, nepers),
    the divergence of a latent pixel (nats), and the mean and the mean square of drawn latents."""
    mel = log_mel(levelled(batch["waveform"]), settings.mel)
    x_hat, moments = settings.vae.apply({"params": params["vae"]}, mel, train=False)
    return {
        "error": jnp.mean(jnp.abs(mel - x_hat), axis=(1, 2)),
        "blind": blind_error(mel),
        "kl": jnp.mean(jnp.sum(moments.divergence(), axis=-1), axis=(1, 2)),
        "latent_mean": jnp.mean(moments.mean, axis=(1, 2, 3)),
        "latent_square": jnp.mean(jnp.square(moments.mean) + jnp.exp(moments.logvar), axis=(1, 2, 3)),
    }


def metrics(params: Params, predictions: Mapping[str, np.ndarray], key: Key) -> dict[str, float]:
    """The error of reconstruction in nepers, and the share of the blind one's that it is rid of; nats a latent pixel; std of latents."""
    square, mean = predictions["latent_square"].mean(), predictions["latent_mean"].mean()
    return {
        "reconstruction/error": float(predictions["error"].mean()),
        "reconstruction/explained": explained(predictions["error"], predictions["blind"]),
        "latents/kl": float(predictions["kl"].mean()),
        "latents/std": float(np.sqrt(max(square - mean**2, 0.0))),
    }
