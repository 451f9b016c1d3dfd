"""Searching with a CLAP, a public one or a run of ours."""

import hashlib
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from audiojax.api.finding.search import Searcher
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.text.normalise import clean_query
from audiojax.towers.clap import ClapTower, window_features
from audiojax.towers.clap_features import ClapFrontEnd
from audiojax.trainer.layout import make_layout, over_rows


class ClapFinder(Searcher):
    """A CLAP that searches: windows of its clip length, ranked by cosine.

    Attributes:
      tower: the model.
    """

    def __init__(self, tower: ClapTower, source: str = ""):
        if tower.tokenizer is None:
            raise UsageError(f"{shown(tower.source)}: came without a tokenizer, which searching needs; give the folder of transformers")
        self._layout = make_layout("pmap")
        super().__init__(tower.front_end.mel.sample_rate, tower.front_end.samples, "repeat", self._layout.mesh.size, source)
        self.tower = tower
        params = jax.device_put(tower.params, self._layout.replicated)
        self._encode = partial(over_rows(self._layout, partial(window_features, tower.module, tower.front_end.mel)), params)

    @property
    def model_id(self) -> str:
        """Hash of the weight file and of how it is used."""
        return clap_model_id(self.tower.digest, self.tower.front_end, self.tower.module.dtype)

    def embed_text(self, texts: Sequence[str]) -> Float[np.ndarray, "t d"]:
        """Unit vectors of texts. UsageError for an empty text."""
        for text in texts:
            clean_query(text)
        return self.tower.embed_text(texts)

    def embed_audio(self, waveforms: Float[np.ndarray, "b n"]) -> Float[np.ndarray, "b d"]:
        """Unit vectors of windows; rows go over all devices."""
        padded = np.pad(waveforms, ((0, -len(waveforms) % self.devices), (0, 0)))
        return np.asarray(self._encode(jax.device_put(padded, self._layout.batch_sharding)))[: len(waveforms)]


def clap_model_id(digest: str, front_end: ClapFrontEnd, dtype: jnp.dtype) -> str:
    """What an index calls a CLAP: a hash of what its embeddings depend on."""
    facts = (digest, repr(front_end), jnp.dtype(dtype).name)
    return hashlib.blake2b(repr(facts).encode(), digest_size=16).hexdigest()
