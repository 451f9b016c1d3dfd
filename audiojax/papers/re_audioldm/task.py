"""Re-AudioLDM as tasks for the trainer: which phase trains what. Each phase has a file of its own, and is a run of its own.

| phase | trains | what it learns |
|---|---|---|
| autoencoder | VAE, patch discriminator | log-mels to latents and back |
| vocoder | HiFi-GAN, its discriminators | log-mels to waveforms |
| diffusion | U-Net | latents from noise, told a text and what is retrieved for it |
"""

from collections.abc import Mapping
from typing import Any

from audiojax.errors import UsageError
from audiojax.papers.re_audioldm import autoencoder, diffusion, vocoder
from audiojax.papers.re_audioldm.warm_start import fit_clap, fit_unet
from audiojax.papers.task import Paper, Slot, Statistics, Task, choice

MODULES = {"autoencoder": autoencoder, "vocoder": vocoder, "diffusion": diffusion}  # each has make(config, ...) and check(config)
PHASES = tuple(MODULES)


def make_task(config: Mapping[str, Any], phase: str, *, vocab_size: int) -> Task:
    """The task of one phase.

    Raises:
      UsageError: an unknown phase or preset.
    """
    words = (vocab_size,) if phase == "diffusion" else ()  # the others see no text
    return MODULES[choice("phases", phase, PHASES)].make(config, *words)


def check(config: Mapping[str, Any]) -> None:
    """What would otherwise fail in the middle of a run. UsageError names the key."""
    if len(config["phases"]) != 1:
        raise UsageError(f"config key 'phases' is {tuple(config['phases'])}; it takes one of {', '.join(PHASES)}, each is a run of its own")
    for phase in config["phases"]:
        MODULES[choice("phases", phase, PHASES)].check(config)


SLOTS = {
    "vae": Slot("vae", model="vae"),
    "clap": Slot("clap", "batch_stats/clap", model="text_encoder", fit=fit_clap),
    "audiomae": Slot("audiomae", "constants/audiomae"),
    "t5": Slot("t5"),
    "unet": Slot("unet", model="unet", fit=fit_unet, partial=True),
}
PAPER = Paper(
    PHASES,
    make_task,
    check,
    slots=SLOTS,
    encoders=diffusion.encoders,
    statistics=Statistics(diffusion.STATISTICS, diffusion.measure, phases=("diffusion",), blank=True),
)
