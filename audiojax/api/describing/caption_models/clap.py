"""CLAP score: the cosine of a caption's vector and its sound's, which needs no references."""

import os

import numpy as np
from jaxtyping import Float

from audiojax.api.describing.caption_models.base import CaptionModel, Said
from audiojax.api.finding.clap_search import ClapFinder
from audiojax.api.finding.sound_vectors import sound_vectors
from audiojax.api.opening import DIGEST, open_tower
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.progress import counting_bar
from audiojax.towers.clap import ClapTower


def open_clap(model: str | os.PathLike, progress: bool = True) -> ClapFinder:
    """A public CLAP, or a run of one.

    Raises:
      UsageError: no such model, another kind of model, or one without a tokenizer.
    """
    tower = open_tower(model, progress)
    if not isinstance(tower, ClapTower):
        raise UsageError(f"{shown(model)}: holds a {type(tower.module).__name__}, and a CLAP is needed")
    return ClapFinder(tower, os.fspath(model))


def clap_facts(finder: ClapFinder) -> str:
    """What a metric card says of a CLAP: source, hash, Hz and seconds of a window."""
    return f"{shown(finder.source)} {finder.tower.digest[:DIGEST]}, {finder.sample_rate} Hz, windows of {finder.seconds:g} s"


class ClapScore(CaptionModel):
    """ "clap", of a public CLAP or one that `audiojax towers` trained. A long sound is the mean of its windows."""

    def __init__(self, model: str | os.PathLike, *, progress: bool = True):
        """Opens the model.

        Args:
          model: a folder, a name in the hub cache, or a run.

        Raises:
          UsageError: no such model, another kind of model, or one without a tokenizer.
        """
        self._finder = open_clap(model, progress)
        self.card = {"CLAP": clap_facts(self._finder)}

    def measure(self, said: Said, progress: bool = True) -> dict[str, Float[np.ndarray, " clips"]]:
        """The cosine of each clip.

        Raises:
          UsageError: there are no sounds.
          AudioFileError: a sound cannot be used.
        """
        if said.sounds is None:
            raise UsageError("the CLAP score listens to the clips: name their folder with --audio")
        written = said.written()
        vectors = dict(zip(written, self._finder.tower.embed_text([said.captions[i] for i in written]), strict=True))
        values = np.zeros(len(said.captions))
        with counting_bar("clips", progress) as bar:
            task = bar.add_task("CLAP", total=len(said.captions))
            for i, vector in enumerate(sound_vectors(self._finder, said.sounds())):
                if i in vectors:
                    values[i] = vector @ vectors[i]
                bar.advance(task)
        return {"clap": values}
