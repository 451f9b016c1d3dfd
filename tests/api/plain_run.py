"""A finished run of the U-Net that retrieves nothing, with a vocoder beside it, both very small and with random weights."""

from pathlib import Path

import pytest

import audiojax
from audiojax.api.data import open_split
from audiojax.config import to_dict
from audiojax.data.examples import captions_of
from tests.papers.re_audioldm.latent_small import config_of, save_towers, shrink

WORLD = ("data.source=memory", "data.size=0.005", "train.eval_batch_size=8", "data.statistics_examples=16", "diffusion.batch_size=8")


def plain_run(root: Path, patch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """(run, vocoder); the presets stay small until the patch is undone."""
    shrink(patch)
    patch.setenv("AUDIOJAX_CACHE", str(root / "cache"))
    source = open_split(to_dict(config_of(*WORLD))["data"], "train")
    captions = [text for i in range(len(source)) for text in captions_of(source, i)]
    overrides = (*WORLD, *save_towers(root, captions, "vocoder"))
    audiojax.train(config_of(*overrides, words="debug,plain"), root / "plain", progress=False)
    return root / "plain", root / "vocoder"
