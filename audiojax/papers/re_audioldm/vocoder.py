"""The phase "vocoder": HiFi-GAN's generator against its discriminators (arXiv 2010.05646, section 2).

    L_D = sum over sub-discriminators k of (D_k(y) - 1)^2 + D_k(y_hat)^2                              Eq. 1
    L_G = sum over k of (D_k(y_hat) - 1)^2 + lambda_fm FM_k + lambda_mel |mel(y) - mel(y_hat)|        Eq. 2, 4, 3; Eq. 7

y is a random stretch of a clip and y_hat what the generator makes of its log-mel; the same log-mel is in the loss. Both networks take their
step at once, from the same parameters, while in "jik876/hifi-gan code" the generator follows the discriminators.

Parameters: "vocoder" and "discriminators", each {"direction", "gain"}: all kernels have weight norm but those of "scale_0", which have
spectral norm, as published. `generator_params` gives the generator's plain kernels. The loss is L_G + L_D with what belongs to the other
side under `stop_gradient`, so that each gets the gradient of its own loss alone. model_state["spectral"] holds vectors of the power
iteration.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from audiojax.audio.spectral import MelConfig, log_mel
from audiojax.collectives import example_keys
from audiojax.errors import UsageError
from audiojax.losses.adversarial import feature_matching_loss, least_squares_discriminator_loss, least_squares_generator_loss
from audiojax.models.hifigan import HifiGan
from audiojax.models.waveform_discriminators import Verdict, WaveformDiscriminators
from audiojax.nn.kernel_norm import first_vectors, spectral_normed, weight_normed, with_gains
from audiojax.papers.re_audioldm.hearing import blind_error, explained, levelled, random_stretch
from audiojax.papers.re_audioldm.networks import clip_samples, mel_of, vocoder_of, waveform_discriminators_of
from audiojax.papers.task import Task
from audiojax.typing import Batch, Key, Params

SPECTRAL = "scale_0"  # the sub-discriminator with spectral norm
TRANSPOSED = r"^up_\d+/"  # the generator's transposed convolutions


@dataclass(frozen=True)
class LossOptions:
    """Terms of the generator's loss; the defaults are HiFi-GAN's.

    Attributes:
      mel: lambda_mel.
      features: lambda_fm.
    """

    mel: float = 45.0
    features: float = 2.0


@dataclass(frozen=True, eq=False)
class Settings:
    """What the config says, as objects.

    Attributes:
      stretch: samples that a step hears of every clip.
    """

    vocoder: HifiGan
    discriminators: WaveformDiscriminators
    mel: MelConfig
    stretch: int
    loss: LossOptions


def make(config: Mapping[str, Any]) -> Task:
    """The task of the phase. UsageError for unknown presets."""
    return task_of(make_settings(config))


def task_of(settings: Settings) -> Task:
    """The task of these networks."""
    return Task(
        name="re_audioldm/vocoder",
        init=partial(init, settings),
        loss=partial(loss, settings),
        predict=partial(predict, settings),
        metrics=metrics,
        partition_rules=(),
        select="mel/explained",
    )


def make_settings(config: Mapping[str, Any]) -> Settings:
    """Builds the networks from the config's values."""
    networks = (vocoder_of(config), waveform_discriminators_of(config), mel_of(config))
    return Settings(*networks, config["stretch"]["vocoder"], LossOptions(**config["loss"]["vocoder"]))


def check(config: Mapping[str, Any]) -> None:
    """What would otherwise fail in the middle of a run. UsageError names the key."""
    for name, value in config["loss"]["vocoder"].items():
        if value < 0:
            raise UsageError(f"config key 'loss.vocoder.{name}' is {value}; it takes 0 or more")
    settings, whole = make_settings(config), clip_samples(config)
    if settings.vocoder.config.normalize:
        raise UsageError("config key 'model.vocoder_preset': this one normalises log-mels by statistics, and none are measured")
    if not 1 <= settings.stretch <= whole:
        raise UsageError(f"config key 'stretch.vocoder' is {settings.stretch}; it takes 1 to the {whole} samples of a clip")
    try:
        frames = settings.mel.frame_count(settings.stretch)
    except ValueError as error:
        raise UsageError(f"config key 'stretch.vocoder': {error}") from error
    made = settings.vocoder.config.samples(frames)
    if made < settings.stretch:
        raise UsageError(f"config key 'stretch.vocoder' is {settings.stretch}, and its {frames} frames become {made} samples; take {made}")


def init(settings: Settings, key: Key, batch: Batch) -> dict[str, Any]:
    """Fresh parameters, with gains that leave the kernels as they are drawn, and fresh vectors; the shapes are the config's."""
    vocoder_key, discriminator_key, vector_key = jax.random.split(key, 3)
    generator = settings.vocoder.init(vocoder_key, jnp.zeros((1, 1, settings.mel.n_mels)), train=False)["params"]
    judges = settings.discriminators.init(discriminator_key, jnp.zeros((1, settings.stretch)))["params"]
    params = {
        "vocoder": with_gains(generator, transposed=TRANSPOSED),
        "discriminators": with_gains(judges, without=f"^{SPECTRAL}/"),
    }
    return {"params": params, "model_state": {"spectral": {SPECTRAL: first_vectors(vector_key, judges[SPECTRAL])}}}


def loss(settings: Settings, params: Params, model_state: Any, batch: Batch, key: Key, *, axis_name: str | None = None):
    """L_G + L_D, means over the local rows."""
    keys = example_keys(key, batch["waveform"].shape[0], axis_name)
    y = random_stretch(keys, levelled(batch["waveform"]), settings.stretch)
    mel = log_mel(y, settings.mel)
    y_hat = generated(settings, params, mel)[:, : settings.stretch]
    judges, vectors = discriminator_params(params, model_state)

    mel_error = jnp.mean(jnp.abs(mel - log_mel(y_hat, settings.mel)))
    adversarial, features = deception(settings, lax.stop_gradient(judges), y, y_hat)
    verdicts = settings.discriminators.apply({"params": judges}, jnp.concatenate([y, lax.stop_gradient(y_hat)]))
    caught = sum(jnp.mean(least_squares_discriminator_loss(*jnp.split(verdict.logits, 2))) for verdict in verdicts)
    value = adversarial + settings.loss.features * features + settings.loss.mel * mel_error + caught
    found = {"mel_error": mel_error, "generator": adversarial, "features": features, "discriminators": caught}
    return value, ({"spectral": vectors}, found)


def deception(
    settings: Settings, judges: Params, y: Float[Array, "b n"], y_hat: Float[Array, "b n"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(adversarial loss of the generator, feature matching), each the sum over sub-discriminators with fixed parameters."""

    def halves(verdict: Verdict) -> list[list[Array]]:
        pairs = [jnp.split(layer, 2) for layer in verdict.features]
        return [[pair[side] for pair in pairs] for side in (0, 1)]

    verdicts = settings.discriminators.apply({"params": judges}, jnp.concatenate([y, y_hat]))
    adversarial = sum(jnp.mean(least_squares_generator_loss(jnp.split(verdict.logits, 2)[1])) for verdict in verdicts)
    return adversarial, sum(jnp.mean(feature_matching_loss(*halves(verdict))) for verdict in verdicts)


def generator_params(params: Params) -> Params:
    """The generator's plain kernels and biases, as `HifiGan` takes them and public layouts have them."""
    return weight_normed(params["vocoder"])


def discriminator_params(params: Params, model_state: Any) -> tuple[Params, Params]:
    """(plain parameters of the discriminators, the vectors of the next step)."""
    return spectral_normed(weight_normed(params["discriminators"]), model_state["spectral"])


def generated(settings: Settings, params: Params, mel: Float[Array, "b t m"]) -> Float[Array, "b n"]:
    """Waveforms of log-mels."""
    return settings.vocoder.apply({"params": generator_params(params)}, mel, train=True)


def predict(settings: Settings, params: Params, model_state: Any, batch: Batch) -> dict[str, Array]:
    """Of every whole clip [b]: mean |difference| between its log-mel and that of the waveform made from it (nepers), and that of a blind
    answer."""
    y = levelled(batch["waveform"])
    mel = log_mel(y, settings.mel)
    again = log_mel(generated(settings, params, mel)[:, : y.shape[1]], settings.mel)
    return {"error": jnp.mean(jnp.abs(mel - again), axis=(1, 2)), "blind": blind_error(mel)}


def metrics(params: Params, predictions: Mapping[str, np.ndarray], key: Key) -> dict[str, float]:
    """The error of the log-mel in nepers, and the share of the blind one's that the vocoder is rid of."""
    return {"mel/error": float(predictions["error"].mean()), "mel/explained": explained(predictions["error"], predictions["blind"])}
