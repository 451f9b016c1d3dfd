"""Re-AudioLDM as tasks for the trainer: which phase trains what. Each phase has a file of its own, and is a run of its own.

| phase | trains | what it learns |
|---|---|---|
| autoencoder | VAE, patch discriminator | log-mels to latents and back |
| vocoder | HiFi-GAN, its discriminators | log-mels to waveforms |
"""

from collections.abc import Mapping
from typing import Any

from audiojax.errors import UsageError
from audiojax.papers.re_audioldm import autoencoder, vocoder
from audiojax.papers.task import Paper, Slot, Task, choice

MODULES = {"autoencoder": autoencoder, "vocoder": vocoder}  # each has make(config) and check(config)
PHASES = tuple(MODULES)


def make_task(config: Mapping[str, Any], phase: str, *, vocab_size: int) -> Task:
    """The task of one phase.

    Raises:
      UsageError: an unknown phase or preset.
    """
    return MODULES[choice("phases", phase, PHASES)].make(config)


def check(config: Mapping[str, Any]) -> None:
    """What would otherwise fail in the middle of a run. UsageError names the key."""
    if len(config["phases"]) != 1:
        raise UsageError(f"config key 'phases' is {tuple(config['phases'])}; it takes one of {', '.join(PHASES)}, each is a run of its own")
    for phase in config["phases"]:
        MODULES[choice("phases", phase, PHASES)].check(config)


PAPER = Paper(PHASES, make_task, check, slots={"vae": Slot("vae")})
