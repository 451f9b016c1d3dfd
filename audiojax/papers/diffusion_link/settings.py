"""What a config of Diffusion-Link says of CLAP and of the bridge, as objects; and what it may not say."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int

from audiojax.encoders.clap import PRESETS as CLAPS
from audiojax.encoders.clap import Clap
from audiojax.errors import UsageError
from audiojax.models.residual_mlp import ResidualMlp, ResidualMlpConfig
from audiojax.papers.options import clap_front_end_of, dtype_of
from audiojax.papers.task import choice
from audiojax.schedule import BETAS, Schedule, make_schedule, timestep_grid
from audiojax.towers.clap_features import ClapFrontEnd

PHASES = ("link", "decoder")
TRAINED = ("diffusion", "text_only", "one_step")  # forms of the bridge with a network; the others are fitted in closed form
FORMS = (*TRAINED, "none", "mean_shift", "ridge", "memory")
CENTRES = ("none", "per_modality")
TIME_WEIGHTS = ("uniform", "snr", "min_snr")
LAION_WIDTH = 512  # d for which the scale is given
MOST_NOISE = 2.0  # of the noise's length over the signal's where the path begins, before a warning


@dataclass(frozen=True)
class BridgeOptions:
    """How an embedding of a sound becomes one of a text.

    Attributes:
      form: "diffusion"; or a rival: "text_only" (Diffusion Bridge: trained on texts alone), "one_step" (the same network without noise),
        "ridge" (a linear map), "mean_shift" (the difference of the means), "memory" (softmax over the texts of training), "none".
      scale: kappa at d = 512, the length of a vector in the space where the diffusion runs; it grows as sqrt(d).
      centre: "per_modality" takes off the mean of sounds or of texts there.
      start: s*, the depth to which a vector is noised; 0 = it stays as it is.
      steps: calls of the network.
      temperature: of the softmax of "memory".
      memory: texts that "memory" keeps.
    """

    form: str = "diffusion"
    scale: float = 5.0
    centre: str = "none"
    start: int = 100
    steps: int = 5
    temperature: float = 0.01
    memory: int = 2_000


@dataclass(frozen=True)
class LossOptions:
    """Terms of the loss of the bridge.

    Attributes:
      topology: weight of the topology loss; 0 = it is only reported.
      time_weight: of the error at a noise level: "uniform", "snr", or "min_snr", the smaller of the ratio and 5.
    """

    topology: float = 1.0
    time_weight: str = "uniform"


@dataclass(frozen=True, eq=False)
class Settings:
    """What the config says, as objects. Two settings are equal only if they are the same one, which makes them static under jit.

    Attributes:
      clap: both halves, frozen.
      front_end: of its audio half.
      network: of the bridge.
      shape: windows and samples of a clip, tokens of a caption.
    """

    clap: Clap
    front_end: ClapFrontEnd
    network: ResidualMlp
    schedule: Schedule
    bridge: BridgeOptions
    loss: LossOptions
    shape: tuple[int, int, int]

    @property
    def width(self) -> int:
        """d of the embeddings."""
        return self.clap.config.projection

    @property
    def kappa(self) -> float:
        """Length of a vector in the space of the diffusion, so that its coordinates are as large at any width."""
        return self.bridge.scale * math.sqrt(self.width / LAION_WIDTH)

    @property
    def noisy(self) -> bool:
        """Whether the bridge begins with noise."""
        return self.bridge.form in ("diffusion", "text_only") and self.bridge.start > 0

    @cached_property
    def grid(self) -> Int[np.ndarray, "n+1"]:
        """Timesteps of the reverse path: s* = 100 in 5 steps gives 99, 79, 59, 39, 19, -1."""
        return timestep_grid(self.schedule.num_steps, self.bridge.steps, "trailing", start=self.bridge.start)


def make_settings(config: Mapping[str, Any], vocab_size: int) -> Settings:
    """Builds modules from the config's values.

    Args:
      config: the whole experiment config.
      vocab_size: rows of the word table, from the tokenizer.

    Raises:
      UsageError: an unknown preset or option, with the ones that exist; sizes that do not fit each other.
    """
    model, data = config["model"], config["data"]
    types = {"dtype": dtype_of(config)}
    sizes = CLAPS[choice("model.clap_preset", model["clap_preset"], CLAPS)]
    front_end, samples = clap_front_end_of(config)
    if data["max_tokens"] > sizes.text.max_length:
        raise UsageError(f"data.max_tokens is {data['max_tokens']}, and the text half of CLAP has {sizes.text.max_length} positions")
    clap = Clap(replace(sizes, text=replace(sizes.text, vocab_size=vocab_size)), **types)
    network = ResidualMlp(sizes.projection, ResidualMlpConfig(**model["network"]), **types)
    schedule = make_schedule(choice("noise.schedule", config["noise"]["schedule"], BETAS), config["noise"]["steps"])
    shape = (data["windows"], samples, data["max_tokens"])
    return Settings(clap, front_end, network, schedule, BridgeOptions(**config["bridge"]), LossOptions(**config["loss"]), shape)


def check(config: Mapping[str, Any]) -> None:
    """What would otherwise fail, or mislead, in the middle of a run. UsageError names the key."""
    bridge, steps = config["bridge"], config["noise"]["steps"]
    for key, allowed in (("form", FORMS), ("centre", CENTRES)):
        choice(f"bridge.{key}", bridge[key], allowed)
    choice("loss.time_weight", config["loss"]["time_weight"], TIME_WEIGHTS)
    for key, value in (("bridge.scale", bridge["scale"]), ("bridge.temperature", bridge["temperature"])):
        if not value > 0:
            raise UsageError(f"config key '{key}' is {value}; it takes a number above 0")
    for key, value, least in (
        ("bridge.memory", bridge["memory"], 1),
        ("data.windows", config["data"]["windows"], 1),
        ("data.statistics_examples", config["data"]["statistics_examples"], 1),
        ("loss.topology", config["loss"]["topology"], 0),
    ):
        if value < least:
            raise UsageError(f"config key '{key}' is {value}; it takes {least} or more")
    if not config["data"]["states"]:
        raise UsageError("config key 'data.states' is False; the frozen CLAP is run once, and the link is trained on what that stores")
    if bridge["form"] == "memory" and bridge["memory"] > config["data"]["statistics_examples"]:
        raise UsageError(f"config key 'bridge.memory' is {bridge['memory']}; it takes up to data.statistics_examples")
    if not 0 <= bridge["start"] <= steps:
        raise UsageError(f"config key 'bridge.start' is {bridge['start']}; it takes 0 to noise.steps, which is {steps}")
    if bridge["start"] and not 1 <= bridge["steps"] <= bridge["start"]:
        raise UsageError(f"config key 'bridge.steps' is {bridge['steps']}; it takes 1 to bridge.start, which is {bridge['start']}")
    if "link" in config["phases"] and (bridge["form"] in TRAINED) != bool(config["link"]["steps"]):
        needs = "1 or more" if bridge["form"] in TRAINED else "0: this bridge is fitted in closed form"
        raise UsageError(f"config key 'link.steps' is {config['link']['steps']}, and bridge.form '{bridge['form']}' needs {needs}")
    if not config["init"]["start"] and not config["init"]["clap"]:
        raise UsageError("config key 'init.clap' is empty, and CLAP is frozen: name a checkpoint, such as a run of `audiojax towers`")
    warn_of_noise(config)


def warn_of_noise(config: Mapping[str, Any]) -> None:
    """Warns where the noise at s* is more than twice as long as the signal: nothing of the sound would be left to go by."""
    bridge = config["bridge"]
    if bridge["form"] not in ("diffusion", "text_only") or not bridge["start"]:
        return
    schedule = make_schedule(choice("noise.schedule", config["noise"]["schedule"], BETAS), config["noise"]["steps"])
    kept = float(schedule.alpha_bar[bridge["start"] - 1])
    ratio = math.sqrt((1 - kept) / kept * LAION_WIDTH) / bridge["scale"]  # the same at any width, since kappa grows with it
    if ratio > MOST_NOISE:
        warnings.warn(
            f"bridge.start = {bridge['start']}: the noise there is {ratio:.1f} times as long as the embedding; less depth, a larger"
            " bridge.scale or noise.schedule 'cosine' keeps more of it",
            stacklevel=2,
        )
