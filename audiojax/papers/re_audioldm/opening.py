"""A trained autoencoder or vocoder as a callable tower: the classes that public checkpoints give, without the discriminators."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audiojax.errors import UsageError
from audiojax.papers.re_audioldm.networks import vae_of, vocoder_of
from audiojax.papers.re_audioldm.vocoder import generator_params
from audiojax.towers.base import Tower
from audiojax.towers.latent import HifiganTower, VaeTower
from audiojax.typing import Params


def open_tower(config: Mapping[str, Any], params: Params, *, source: Path, digest: str) -> Tower:
    """The tower of a finished run of the phase "autoencoder" or "vocoder".

    Args:
      config: of the run.
      params: the whole tree of the run.
      source: folder that they came from.
      digest: of the weights.

    Raises:
      UsageError: a run of another phase.
    """
    phase = config["phases"][-1]
    if phase == "autoencoder":
        module, found, tower = vae_of(config), params["vae"], VaeTower
    elif phase == "vocoder":
        module, found, tower = vocoder_of(config), generator_params(params), HifiganTower
    else:
        raise UsageError(f"{source} is a run of the phase '{phase}', which trains no tower; a run of autoencoder or vocoder is needed")
    return tower(module, module.config, {"params": found}, None, source, digest)
