"""The towers of SoundWorld as tasks for the trainer: which phase trains which tower, and what a config must say."""

from collections.abc import Mapping
from typing import Any

from audiojax.errors import UsageError
from audiojax.papers.task import Paper, Task, choice
from audiojax.papers.towers import contrastive, masked_lm, reconstruction, span_corruption, tagging, words

MAKERS = {
    "contrastive": contrastive.make,
    "reconstruction": reconstruction.make,
    "tagging": tagging.make,
    "masked_lm": masked_lm.make,
    "span_corruption": span_corruption.make,
}
PHASES = tuple(MAKERS)
PHASE_OF = {
    "clap": "contrastive",
    "audiomae": "reconstruction",
    "beats": "tagging",
    "bert": "masked_lm",
    "t5": "span_corruption",
    "tagger": "tagging",
}


def make_task(config: Mapping[str, Any], phase: str, *, vocab_size: int) -> Task:
    """The task of a phase, for the tower that the config names.

    Raises:
      UsageError: an unknown phase or preset, or data that the tower does not take.
    """
    return MAKERS[choice("phases", phase, PHASES)](config, vocab_size)


def check(config: Mapping[str, Any]) -> None:
    """What would otherwise fail in the middle of a run. UsageError names the key."""
    phase = PHASE_OF[choice("model.tower", config["model"]["tower"], PHASE_OF)]
    if tuple(config["phases"]) != (phase,):
        raise UsageError(f"config key 'phases' is {tuple(config['phases'])}; the tower '{config['model']['tower']}' takes ('{phase}',)")
    if phase == "tagging" and not config["data"]["labels"]:
        raise UsageError("config key 'data.labels' is False; a tagger learns from labels")
    words.check_tokenizer(config)


PAPER = Paper(PHASES, make_task, check)
