"""What a config of DAC says, as objects; and what it may not say."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from audiojax.encoders.beats import PRESETS as BEATS
from audiojax.errors import UsageError
from audiojax.models.audio_projection import FORMS, AudioProjection, AudioProjectionConfig
from audiojax.models.caption_decoder import PRESETS as DECODERS
from audiojax.models.caption_decoder import CaptionDecoder
from audiojax.models.decoding import Decoding
from audiojax.models.text_denoiser import PRESETS as DENOISERS
from audiojax.papers.dac.model import Diffuser, TokenHead, Towers
from audiojax.papers.options import dtype_of, text_tower_of
from audiojax.papers.task import choice
from audiojax.schedule import BETAS, Prediction, Schedule, make_schedule, timestep_grid

PHASES = ("head", "diffusion", "autoregressive")
SAMPLERS = ("renoise", "ddim", "dpm++")


@dataclass(frozen=True)
class Sampling:
    """How captions are written from noise.

    Attributes:
      sampler: "renoise" (LaDiC's), "ddim", or "dpm++" (DPM-Solver++(2M)).
      steps: calls of the network, at equal strides from T - 1 down.
      guidance: w of (1 + w) cond - w uncond, as LaDiC counts; that is w + 1 in `audiojax.sampling.guidance`. 0 needs half the work.
      eta: of DDIM.
      time_offset: the network is told t + so much, at most T - 1 (asymmetric time intervals of Analog Bits, arXiv 2208.04202).
    """

    sampler: str = "renoise"
    steps: int = 34
    guidance: float = 1.0
    eta: float = 0.0
    time_offset: int = 5


@dataclass(frozen=True)
class Rival:
    """The autoregressive captioner on the same tokens of clips, through a projection of the same form.

    Attributes:
      begin, end: ids of [CLS] and [SEP].
    """

    projection: AudioProjection
    decoder: CaptionDecoder
    begin: int
    end: int


@dataclass(frozen=True)
class LossOptions:
    """Terms of the loss of the diffuser, and what the rival's is smoothed by.

    Attributes:
      error: "mse", or "l2" for LaDiC's mean over positions of the length of the error.
      cross_entropy, valid: weights of L_CE and of L_valid beside the first term.
      dilation: F, what noise is multiplied by in training (LaDiC: 4).
      self_condition: probability that a batch is denoised twice, the second time with the first x0_hat.
      drop_audio: probability that a caption is denoised without hearing.
      label_smoothing: share of the rival's target that is spread over all tokens.
    """

    error: str = "mse"
    cross_entropy: float = 0.2
    valid: float = 1.0
    dilation: float = 1.0
    self_condition: float = 0.5
    drop_audio: float = 0.1
    label_smoothing: float = 0.1


@dataclass(frozen=True, eq=False)
class Settings:
    """What the config says, as objects. Two settings are equal only if they are the same one, which makes them static under jit.

    Attributes:
      filler: id of the token that stands where a caption has no word.
      prediction: "x0" | "eps".
      shape: windows and samples of a clip, tokens of a caption.
      options: how captions that a user asks for are written: by diffusion, or by the rival where the config's last phase trains that.
      validation: the same for those that are scored while training: fewer steps, or no beams.
    """

    towers: Towers
    head: TokenHead
    diffuser: Diffuser
    rival: Rival
    schedule: Schedule
    prediction: Prediction
    filler: int
    shape: tuple[int, int, int]
    loss: LossOptions
    options: Sampling | Decoding
    validation: Sampling | Decoding


def make_settings(config: Mapping[str, Any], vocab_size: int) -> Settings:
    """Builds modules from the config's values.

    Args:
      config: the whole experiment config.
      vocab_size: rows of the word table, from the tokenizer.

    Raises:
      UsageError: an unknown preset or option, with the ones that exist; sizes that do not fit each other.
    """
    model, data, inference = config["model"], config["data"], config["inference"]
    types = {"dtype": dtype_of(config)}
    audio = BEATS[choice("model.audio_preset", model["audio_preset"], BEATS)]
    if audio.front_end.sample_rate != data["sample_rate"]:
        raise UsageError(f"config key 'data.sample_rate' is {data['sample_rate']}; BEATs hears {audio.front_end.sample_rate} Hz")
    text = text_tower_of(config, vocab_size)
    lower = model["lower_layers"] or text.layers // 2
    if not 0 < lower < text.layers:
        raise UsageError(f"config key 'model.lower_layers' is {lower}; a BERT of {text.layers} layers is cut after 1 to {text.layers - 1}")
    for key in ("filler", "begin", "end"):
        if not 0 <= model[key] < vocab_size:
            raise UsageError(f"config key 'model.{key}' is {model[key]}; the tokenizer has ids 0 to {vocab_size - 1}")
    sizes = DENOISERS[choice("model.denoiser_preset", model["denoiser_preset"], DENOISERS)]
    steps = config["noise"]["steps"]
    if sizes.latent != text.width:
        raise UsageError(
            f"config key 'model.denoiser_preset' is '{model['denoiser_preset']}', made for latents of {sizes.latent};"
            f" those of '{model['text_preset']}' have {text.width}"
        )
    dropout = {"dropout": model["dropout"], "attention_dropout": model["dropout"]}
    sizes = replace(sizes, levels=steps, **dropout)
    choice("model.projection.form", model["projection"]["form"], FORMS)
    projection = AudioProjectionConfig(width=sizes.context, **model["projection"])
    decoder = DECODERS[choice("model.decoder_preset", model["decoder_preset"], DECODERS)]
    decoder = replace(decoder, vocab_size=vocab_size, **dropout)
    for key, positions in (("denoiser_preset", sizes.max_positions), ("decoder_preset", decoder.max_positions)):
        if data["max_tokens"] > positions:
            raise UsageError(f"data.max_tokens is {data['max_tokens']}, and model.{key} '{model[key]}' has {positions} positions")
    rival = Rival(
        AudioProjection(replace(projection, width=decoder.context), **types), CaptionDecoder(decoder, **types), model["begin"], model["end"]
    )
    name = choice("noise.schedule", config["noise"]["schedule"], BETAS)
    schedule = make_schedule(name, steps, **{key: config["noise"][key] for key in ("beta_start", "beta_end") if name == "linear"})
    sampling = Sampling(**inference["diffusion"])
    options, validation = sampling, replace(sampling, steps=inference["validation_steps"])
    if config["phases"][-1] == "autoregressive":
        shared = {"max_new_tokens": data["max_tokens"] - 1, "eos_ids": (model["end"],), "pad_id": model["filler"]}
        options, validation = Decoding(**shared, **inference["autoregressive"]), Decoding(**shared)
    return Settings(
        Towers(replace(audio, classes=0), text, lower, **types),
        TokenHead(text, **types),
        Diffuser(projection, sizes, **types),
        rival,
        schedule,
        choice("noise.prediction", config["noise"]["prediction"], ("x0", "eps")),
        model["filler"],
        (data["windows"], round(data["seconds"] * data["sample_rate"]), data["max_tokens"]),
        LossOptions(**config["loss"]),
        options,
        validation,
    )


def check(config: Mapping[str, Any]) -> None:
    """What would otherwise fail, or mislead, in the middle of a run. UsageError names the key."""
    loss, noise, inference = config["loss"], config["noise"], config["inference"]
    sampling = inference["diffusion"]
    choice("loss.error", loss["error"], ("mse", "l2"))
    choice("inference.diffusion.sampler", sampling["sampler"], SAMPLERS)
    for key, value, least, most in (
        ("loss.self_condition", loss["self_condition"], 0, 1),
        ("loss.drop_audio", loss["drop_audio"], 0, 1),
        ("loss.label_smoothing", loss["label_smoothing"], 0, 1),
        ("inference.diffusion.eta", sampling["eta"], 0, 1),
        ("inference.diffusion.time_offset", sampling["time_offset"], 0, noise["steps"]),
        ("data.windows", config["data"]["windows"], 1, 1_000),
        ("data.statistics_examples", config["data"]["statistics_examples"], 1, 10**9),
    ):
        if not least <= value <= most:
            raise UsageError(f"config key '{key}' is {value}; it takes {least} to {most}")
    for key, steps in (("diffusion.steps", sampling["steps"]), ("validation_steps", inference["validation_steps"])):
        try:
            timestep_grid(noise["steps"], steps, "strided")
        except UsageError as error:
            raise UsageError(f"config key 'inference.{key}' is {steps}: {error}") from error
    if loss["dilation"] < 1:
        raise UsageError(f"config key 'loss.dilation' is {loss['dilation']}; it takes 1 or more")
    if loss["dilation"] != 1 and (sampling["sampler"] != "renoise" or noise["prediction"] != "x0"):
        raise UsageError(
            f"config key 'loss.dilation' is {loss['dilation']}; other than 1 it needs inference.diffusion.sampler 'renoise'"
            " and noise.prediction 'x0', which ask nothing of the noise"
        )
    if not config["init"]["start"]:
        for key in ("audio", "text"):
            if not config["init"][key]:
                raise UsageError(
                    f"config key 'init.{key}' is empty, and the towers are frozen: name a checkpoint, such as a run of `audiojax towers`"
                )
