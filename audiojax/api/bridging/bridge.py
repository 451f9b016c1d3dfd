"""Bridging with a finished run of Diffusion-Link: embeddings of CLAP, or sound files, become text-like embeddings."""

import hashlib
import os
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, UInt32

from audiojax.api.finding.clap_search import clap_model_id
from audiojax.api.finding.search import EMBED_BATCH
from audiojax.api.opening import model_digest
from audiojax.api.runs import RunModel
from audiojax.audio.reasons import AudioFileError, BadAudio, Reason, ReasonCounter
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.index.embeddings import embed_files
from audiojax.index.store import Settings
from audiojax.papers import diffusion_link
from audiojax.progress import counting_bar
from audiojax.trainer.export import Exported

ROWS = 4_096  # embeddings bridged at a time


class Bridged(NamedTuple):
    """Sound files on both sides of the bridge.

    Attributes:
      files: those that could be used.
      raw: [n, d], CLAP's embedding of each, at length 1; a long file has the mean over its windows.
      embeddings: [n, d], the text-like ones, at length 1.
    """

    files: Sequence[Path]
    raw: Float[np.ndarray, "n d"]
    embeddings: Float[np.ndarray, "n d"]


class Bridge(RunModel):
    """A trained or fitted bridge with the CLAP that it belongs to.

    Attributes:
      width: d, of the embeddings.
      source: where the model comes from.
    """

    phase = "link"  # of a run with a decoder too

    def __init__(self, model: Exported, source: str = ""):
        super().__init__(model)
        self.source = source
        self.settings = diffusion_link.make_settings(self.config, self.tokenizer.vocab_size)
        self.width = self.settings.width
        self._devices = self.window["devices"]
        self._bridge = jax.jit(partial(diffusion_link.bridge_embeddings, self.settings), out_shardings=self._layout.replicated)
        self._embed = jax.jit(partial(diffusion_link.audio_embeddings, self.settings), out_shardings=self._layout.replicated)

    @cached_property
    def model_id(self) -> str:
        """Hash of the weights and the config."""
        return model_digest(self._config_text, self.params, self.model_state)

    @property
    def clap_id(self) -> str | None:
        """`model_id` of the CLAP as it stands in an index, None where the run does not tell from which it started."""
        start = self.card.get("started from", {}).get("clap")
        return clap_model_id(start["digest"], self.settings.front_end, self.settings.clap.dtype) if start else None

    def bridge(self, embeddings: Float[np.ndarray, "n d"], *, seed: int = 0, progress: bool = False) -> Float[np.ndarray, "n d"]:
        """Text-like unit vectors in float32 for embeddings of sounds, of any length. A row depends on itself and the seed alone.

        Args:
          progress: show a bar on stderr.

        Raises:
          UsageError: another width than CLAP's, or a row that is not finite or zero.
        """
        embeddings = np.ascontiguousarray(embeddings, np.float32)
        if embeddings.ndim != 2 or embeddings.shape[1] != self.width:
            model = shown(self.source) or "this run"
            raise UsageError(f"embeddings of shape {embeddings.shape}; the CLAP of {model} has width {self.width}")
        bad = ~np.isfinite(embeddings).all(axis=1) | ~embeddings.any(axis=1)
        if bad.any():
            raise UsageError(f"{bad.sum()} of {len(bad)} embeddings are not finite or zero, the first in row {np.argmax(bad)}")
        seeds = row_seeds(embeddings, seed)
        size = min(ROWS, 1 << max(0, len(embeddings) - 1).bit_length())
        size = -(-size // self._devices) * self._devices
        found = [embeddings[:0]]
        with counting_bar("embeddings", progress) as bar:
            task = bar.add_task("bridging", total=len(embeddings))
            for i in range(0, len(embeddings), size):
                found.append(self._run(embeddings[i : i + size], seeds[i : i + size], size))
                bar.advance(task, len(found[-1]))
        return np.concatenate(found)

    def bridge_audio(
        self,
        paths: Sequence[str | os.PathLike],
        *,
        seed: int = 0,
        batch_size: int | None = None,
        tally: ReasonCounter | None = None,
        progress: bool = False,
    ) -> Bridged:
        """The embeddings of sound files on both sides.

        Args:
          paths: the files.
          batch_size: windows embedded at a time.
          tally: counts and names files that cannot be used, silent ones among them, which are then left out; None raises at the first one.
          progress: show a bar on stderr.

        Raises:
          AudioFileError: a file cannot be used, and there is no tally.
        """
        files, raw = [], []
        window, rows = self.window, -(-(batch_size or EMBED_BATCH) // self._devices) * self._devices
        seconds = window["samples"] / window["sample_rate"]
        settings = Settings(self.source, "", window["sample_rate"], seconds, padding=window["padding"])
        with counting_bar("files", progress) as bar:
            task = bar.add_task("embedding", total=len(paths))
            for path, entry in embed_files((Path(path).expanduser() for path in paths), self.embed_windows, settings, batch_size=rows):
                bar.advance(task)
                bad = BadAudio(str(path), entry.reason, entry.detail) if entry.reason else None
                if entry.silent:
                    bad = BadAudio(str(path), Reason.SILENT, "nothing is heard in it")
                if tally is not None:
                    tally.add(bad)
                elif bad:
                    raise AudioFileError(path, bad.reason, bad.detail)
                if bad is None:
                    files.append(path)
                    raw.append(mean_direction(entry.embeddings))
        stacked = np.stack(raw) if raw else np.zeros((0, self.width), np.float32)
        return Bridged(files, stacked, self.bridge(stacked, seed=seed, progress=progress))

    def embed_windows(self, waveforms: Float[np.ndarray, "b n"]) -> Float[np.ndarray, "b d"]:
        """CLAP's unit vectors of windows; rows go over all devices."""
        batch = {"waveform": waveforms[:, None], "windows": np.ones((len(waveforms), 1), bool)}
        placed = {name: self.put_rows(x) for name, x in batch.items()}
        return np.asarray(self._embed(self.params, self.model_state, placed))[: len(waveforms)]

    def _run(self, rows: Float[np.ndarray, "n d"], seeds: UInt32[np.ndarray, " n"], size: int) -> Float[np.ndarray, "n d"]:
        """The bridged rows of a batch, filled up to `size` with copies so that one program is compiled."""
        full = np.resize(rows, (size, self.width)), np.resize(seeds, size)
        vectors, numbers = (jax.device_put(x, self._layout.batch_sharding) for x in full)
        return np.asarray(self._bridge(self.params, self.model_state, vectors, jax.vmap(jax.random.key)(numbers)))[: len(rows)]


def row_seeds(embeddings: Float[np.ndarray, "n d"], seed: int) -> UInt32[np.ndarray, " n"]:
    """The number that alone decides the noise of each row: a hash of the row and the seed, so that neighbours and order change nothing."""
    start = hashlib.blake2b(str(seed).encode(), digest_size=4)

    def of(row: np.ndarray) -> int:
        digest = start.copy()
        digest.update(row.tobytes())
        return int.from_bytes(digest.digest(), "little")

    return np.fromiter(map(of, embeddings), np.uint32, len(embeddings))


def mean_direction(vectors: Float[np.ndarray, "w d"]) -> Float[np.ndarray, " d"]:
    """The mean of unit vectors at length 1, float32."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    return (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)
