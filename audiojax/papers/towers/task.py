"""The towers of SoundWorld as tasks for the trainer: which phase trains which tower, and what a config must say."""

import re
from collections.abc import Mapping
from typing import Any

from audiojax.errors import UsageError
from audiojax.papers.task import Paper, Task, choice
from audiojax.papers.towers import causal_lm, contrastive, detection, masked_lm, reconstruction, span_corruption, tagging, words
from audiojax.typing import Params

AUDIO_ENCODER = "audio/encoder/"  # of CLAP, in its parameters
MAKERS = {
    "detection": detection.make,
    "contrastive": contrastive.make,
    "reconstruction": reconstruction.make,
    "tagging": tagging.make,
    "masked_lm": masked_lm.make,
    "span_corruption": span_corruption.make,
    "causal_lm": causal_lm.make,
}
PHASES = tuple(MAKERS)
PHASES_OF = {  # the choices of a tower
    "clap": (("detection", "contrastive"), ("contrastive",)),
    "audiomae": (("reconstruction",),),
    "beats": (("detection",),),
    "bert": (("masked_lm",),),
    "t5": (("span_corruption",),),
    "tagger": (("tagging",),),
    "llama": (("causal_lm",),),
}


def make_task(config: Mapping[str, Any], phase: str, *, vocab_size: int) -> Task:
    """The task of a phase, for the tower that the config names.

    Raises:
      UsageError: an unknown phase or preset, or data that the tower does not take.
    """
    return MAKERS[choice("phases", phase, PHASES)](config, vocab_size)


def check(config: Mapping[str, Any]) -> None:
    """What would otherwise fail in the middle of a run. UsageError names the key."""
    phases, tower = tuple(config["phases"]), config["model"]["tower"]
    allowed = PHASES_OF[choice("model.tower", tower, PHASES_OF)]
    if phases not in allowed:
        raise UsageError(f"config key 'phases' is {phases}; the tower '{tower}' takes {' or '.join(map(str, allowed))}")
    if {"tagging", "detection"} & set(phases) and not config["data"]["labels"]:
        raise UsageError(f"config key 'data.labels' is False; the phase '{phases[0]}' learns from labels")
    if phases == ("contrastive",) and not re.search(trained := config["contrastive"]["trainable"], AUDIO_ENCODER):
        raise UsageError(
            f"config key 'contrastive.trainable' is '{trained}', and without the phase 'detection' nothing else teaches {AUDIO_ENCODER} to"
            " hear; give .*"
        )
    words.check_tokenizer(config)


def hand_over(phase: str, params: Params) -> Params:
    """What a phase starts from, given the parameters of the one before: CLAP leaves the head of its detection behind."""
    return {name: leaf for name, leaf in params.items() if phase != "contrastive" or name != "head"}


PAPER = Paper(PHASES, make_task, check, hand_over=hand_over)
