"""What a config says of latent diffusion: the U-Net, the frozen towers around it, what is retrieved; and what it may not say."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from audiojax.audio.spectral import MelConfig
from audiojax.encoders.audiomae import PRESETS as AUDIOMAES
from audiojax.encoders.audiomae import AudioMae
from audiojax.encoders.clap import PRESETS as CLAPS
from audiojax.encoders.clap import ClapAudio, ClapText
from audiojax.encoders.t5 import PRESETS as T5S
from audiojax.encoders.t5 import T5Encoder
from audiojax.errors import UsageError
from audiojax.models.unet import UNet, UNetConfig
from audiojax.models.vae import AutoencoderKl
from audiojax.papers.options import dtype_of
from audiojax.papers.re_audioldm.networks import mel_of, vae_of
from audiojax.papers.re_audioldm.retrieval import RetrievalOptions
from audiojax.papers.re_audioldm.settings import NOISE_LEVELS
from audiojax.papers.task import choice
from audiojax.schedule import BETAS, Schedule, make_schedule
from audiojax.towers.clap_features import PRESETS as FRONT_ENDS
from audiojax.towers.clap_features import ClapFrontEnd

CONTEXTS = {"both": ("audio", "text"), "audio": ("audio",), "text": ("text",), "none": ()}  # of retrieved pairs, what is attended to
MODES = ("series", "joint")
FILMS = ("text", "audio")
WEIGHTINGS = ("uniform", "min_snr")


@dataclass(frozen=True)
class DiffusionOptions:
    """How the U-Net is trained and measured.

    Attributes:
      film: which CLAP embedding of a clip conditions it in training, "text" or "audio"; sampling always has a text.
      drop: the probability that an example is trained without its conditions, all of them together.
      weighting: of the squared error at a noise level, "uniform" as in the paper.
      evaluated: noise levels at which validation measures the error.
    """

    film: str = "text"
    drop: float = 0.1
    weighting: str = "uniform"
    evaluated: tuple[int, ...] = (50, 200, 350, 500, 650, 800, 950)


@dataclass(frozen=True, eq=False)
class DiffusionSettings:
    """What the config says, as objects. Two settings are equal only if they are the same one, which makes them static under jit.

    Attributes:
      unet: the network that is trained.
      vae: autoencoder of log-mels, frozen like all that follow.
      mel: log-mel convention of the autoencoder.
      samples: of a clip.
      tokens: of a caption, for CLAP and for T5.
      clap_text: text half of CLAP.
      clap_audio: its audio half, where embeddings of sounds are asked for.
      front_end: of the audio half.
      audiomae: what retrieved sounds go through, where they are a context.
      pool: window of its patches, in time and frequency, that becomes a token.
      t5: what retrieved texts go through, where they are a context.
      own_words: whether T5 has a tokenizer of its own.
    """

    unet: UNet
    schedule: Schedule
    options: DiffusionOptions
    retrieval: RetrievalOptions
    vae: AutoencoderKl
    mel: MelConfig
    samples: int
    tokens: tuple[int, int]
    clap_text: ClapText
    clap_audio: ClapAudio | None
    front_end: ClapFrontEnd | None
    audiomae: AudioMae | None
    pool: tuple[int, int]
    t5: T5Encoder | None
    own_words: bool

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Frames, bins and channels of the latents of a clip."""
        stride = self.vae.config.stride
        return self.mel.frame_count(self.samples) // stride, self.mel.n_mels // stride, self.vae.config.latent_channels

    @property
    def audio_tokens(self) -> tuple[int, int]:
        """AudioMAE's tokens of a clip and their width; (0, 0) without it."""
        if self.audiomae is None:
            return 0, 0
        grid, config = self.audiomae.config.grid, self.audiomae.config
        return grid[0] // self.pool[0] * (grid[1] // self.pool[1]), config.width

    @property
    def text_tokens(self) -> tuple[int, int]:
        """T5's tokens of a caption and their width; (0, 0) without it."""
        return (0, 0) if self.t5 is None else (self.tokens[1], self.t5.config.width)


def make_diffusion_settings(config: Mapping[str, Any], vocab_size: int) -> DiffusionSettings:
    """Builds modules from the config's values.

    Args:
      config: the whole experiment config.
      vocab_size: rows of CLAP's word table, from the tokenizer.

    Raises:
      UsageError: an unknown preset or option, with the ones that exist; sizes that do not fit each other.
    """
    model, data, types = config["model"], config["data"], {"dtype": dtype_of(config)}
    wanted = CONTEXTS[choice("model.contexts", model["contexts"], CONTEXTS)]
    retrieval, options = RetrievalOptions(**config["retrieval"]), DiffusionOptions(**config["diffusion_loss"])
    vae = vae_of(config)
    clap = CLAPS[choice("model.clap_preset", model["clap_preset"], CLAPS)]
    clap = replace(clap, text=replace(clap.text, vocab_size=vocab_size))
    heard = options.film == "audio" or (retrieval.on and retrieval.key != "text")
    audiomae = AUDIOMAES[choice("model.audiomae_preset", model["audiomae_preset"], AUDIOMAES)]
    t5 = T5S[choice("model.t5_preset", model["t5_preset"], T5S)]
    t5 = replace(t5, vocab_size=model["t5_vocabulary"] or vocab_size + model["t5_sentinels"], dropout=0.0)
    made = DiffusionSettings(
        unet=UNet(unet_of(model, clap.projection, vae.config.latent_channels, {"audio": audiomae.width, "text": t5.width}), **types),
        schedule=make_schedule(choice("noise.schedule", config["noise"]["schedule"], BETAS), config["noise"]["steps"]),
        options=options,
        retrieval=retrieval,
        vae=vae,
        mel=mel_of(config),
        samples=round(data["seconds"] * data["sample_rate"]),
        tokens=(data["max_tokens"], model["t5_max_tokens"] or data["max_tokens"]),
        clap_text=ClapText(clap, **types),
        clap_audio=ClapAudio(clap, **types) if heard else None,
        front_end=FRONT_ENDS[choice("model.clap_front_end", model["clap_front_end"], FRONT_ENDS)] if heard else None,
        audiomae=AudioMae(audiomae, **types) if "audio" in wanted else None,
        pool=tuple(model["pool"]),
        t5=T5Encoder(t5, **types) if "text" in wanted else None,
        own_words=bool(model["t5_max_tokens"]) and "text" in wanted,
    )
    _check_lengths(made, config)
    return made


def unet_of(model: Mapping[str, Any], class_width: int, latent_channels: int, widths: Mapping[str, int]) -> UNetConfig:
    """Sizes of the U-Net: self-attention, then a transformer for each context, or one for both of them together.

    Raises:
      UsageError: channels that its norms or its attention heads do not divide, with the nearest that fit.
    """
    sizes = dict(model["unet"])
    base, multipliers = sizes.pop("channels"), sizes.pop("multipliers")
    levels = tuple(base * factor for factor in multipliers)
    if len(sizes["attended"]) != len(levels):
        raise UsageError(f"config key 'model.unet.attended' has {len(sizes['attended'])} values; it takes one for each level of {levels}")
    attended = [width for width, own in zip(levels, (*sizes["attended"][:-1], True), strict=True) if own]  # the middle is
    for key, divided in (("groups", levels), ("head_width", attended)):
        unit = sizes[key]
        if unit < 1 or any(width % unit for width in divided):
            near = f"; the nearest are {base // unit * unit} and {-(-base // unit) * unit}" if unit > 0 else ""
            raise UsageError(f"config key 'model.unet.channels' is {base}: levels of {divided} are no multiples of {key} {unit}{near}")
    contexts = tuple(widths[name] for name in CONTEXTS[model["contexts"]])
    joint = model["joint_width"] if choice("model.context_mode", model["context_mode"], MODES) == "joint" and contexts else 0
    return UNetConfig(levels, contexts=(None, *contexts), joint=joint, class_width=class_width, latent_channels=latent_channels, **sizes)


def check(config: Mapping[str, Any]) -> None:
    """What would otherwise fail, or mislead, in the middle of a run. UsageError names the key."""
    model, data, init = config["model"], config["data"], config["init"]
    options, retrieval = DiffusionOptions(**config["diffusion_loss"]), RetrievalOptions(**config["retrieval"])
    choice("diffusion_loss.film", options.film, FILMS)
    choice("diffusion_loss.weighting", options.weighting, WEIGHTINGS)
    retrieval.check()
    if not 0 <= options.drop < 1:
        raise UsageError(f"config key 'diffusion_loss.drop' is {options.drop}; it takes a probability below 1")
    if config["noise"]["steps"] != NOISE_LEVELS:
        raise UsageError(f"config key 'noise.steps' is {config['noise']['steps']}; samplers walk {NOISE_LEVELS} noise levels")
    if not options.evaluated or not all(0 <= t < NOISE_LEVELS for t in options.evaluated):
        raise UsageError(f"config key 'diffusion_loss.evaluated' is {options.evaluated}; it takes levels from 0 to {NOISE_LEVELS - 1}")
    if tuple(config["phases"]) != ("diffusion",):
        raise UsageError(f"config key 'phases' is {config['phases']}; latent diffusion is a run of its own, on a finished autoencoder")
    if not data["states"]:
        raise UsageError("config key 'data.states' is False; the frozen towers are run once, and the U-Net is trained on what that stores")
    if data["statistics_examples"] < 1:
        raise UsageError(f"config key 'data.statistics_examples' is {data['statistics_examples']}; it takes 1 or more")
    if model["contexts"] == "none" and retrieval.on:
        raise UsageError("config key 'model.contexts' is 'none' and nothing would see what is retrieved; set retrieval.mode to 'none'")
    if config["diffusion"]["trainable"] != "^unet/":
        raise UsageError(f"config key 'diffusion.trainable' is '{config['diffusion']['trainable']}'; the U-Net alone is trained: '^unet/'")
    needed = ("vae", "clap", *(tower for name, tower in (("audio", "audiomae"), ("text", "t5")) if name in CONTEXTS[model["contexts"]]))
    if not init["start"] and (missing := [name for name in needed if not init[name]]):
        raise UsageError(f"config key 'init.{missing[0]}' is empty, and this tower is frozen: name a checkpoint or a finished run")


def _check_lengths(made: DiffusionSettings, config: Mapping[str, Any]) -> None:
    data, grid = config["data"], made.vae.config.stride * made.unet.config.stride
    if data["sample_rate"] != made.mel.sample_rate:
        raise UsageError(f"config key 'data.sample_rate' is {data['sample_rate']}; the autoencoder hears {made.mel.sample_rate} Hz")
    frames = made.mel.frame_count(made.samples)
    if frames % grid or made.mel.n_mels % grid:
        unit = grid * made.mel.hop / made.mel.sample_rate
        raise UsageError(
            f"data.seconds {data['seconds']}: {frames} frames of {made.mel.n_mels} bins are no multiples of the {grid} of autoencoder and"
            f" U-Net; take a multiple of {unit:g} s"
        )
    heard = made.front_end and made.front_end.samples / made.front_end.mel.sample_rate
    if made.front_end and made.front_end.fusion and data["seconds"] > heard:
        raise UsageError(
            f"model.clap_front_end '{config['model']['clap_front_end']}': a fused CLAP hears clips of up to {heard:g} s here, and"
            f" data.seconds is {data['seconds']}; take 'rand_trunc', or diffusion_loss.film and retrieval.key 'text', which hear nothing"
        )
    if data["max_tokens"] > made.clap_text.config.text.max_length:
        raise UsageError(
            f"data.max_tokens is {data['max_tokens']}, and the text half of CLAP has {made.clap_text.config.text.max_length} positions"
        )
    if made.audiomae and any(size % window for size, window in zip(made.audiomae.config.grid, made.pool, strict=True)):
        raise UsageError(f"config key 'model.pool' is {made.pool}; it does not divide AudioMAE's {made.audiomae.config.grid} patches")
