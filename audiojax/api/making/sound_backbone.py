"""The network that generated sounds are measured with: a named CNN14 with its tags, over sets of sounds of any length and rate."""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Float

from audiojax.api.making.sound_sets import Heard
from audiojax.api.opening import DIGEST, final_folder, is_public, open_tower
from audiojax.audio.io import SILENCE
from audiojax.audio.lengths import slide
from audiojax.audio.reasons import BadAudio
from audiojax.audio.spectral import MelConfig, log_mel
from audiojax.errors import AudiojaxError, UsageError
from audiojax.files import shown
from audiojax.metrics.generation.frechet import Moments
from audiojax.nn.conv import image_jit
from audiojax.partition import each_its_own
from audiojax.towers.clap import Batches
from audiojax.towers.panns import PannsTower
from audiojax.towers.waveforms import clips_at
from audiojax.trainer.layout import make_layout
from audiojax.typing import Array

SECONDS = 10.24  # window of public weights: the clips of AudioLDM
BATCH = 32  # windows at a time, at least one a device


@dataclass(frozen=True, eq=False)
class Features:
    """What a backbone made of a set of sounds.

    Attributes:
      ids: of the sounds that could be used.
      embeddings: of each; a long sound has the mean of its windows.
      logits: of the backbone's tags, the same.
      frames: moments of the embeddings of all frames.
      silent: ids of sounds in which no sample reaches -100 dBFS; they are among `ids`.
      bad: sounds that could not be used.
    """

    ids: Sequence[str]
    embeddings: Float[np.ndarray, "n d"]
    logits: Float[np.ndarray, "n classes"]
    frames: Moments
    silent: Sequence[str]
    bad: Sequence[BadAudio]


class Backbone:
    """A CNN14 with its head of tags: the 16 kHz weights of PANNs, or the tagger that `audiojax towers` trains.

    Attributes:
      tower: the network.
      sample_rate: Hz of what it hears.
      seconds: of a window.
      samples: of a window.
      width: features of an embedding, and of a frame.
      card: what it is, for the metric card.
    """

    def __init__(self, name: str | os.PathLike, *, seconds: float | None = None, progress: bool = True):
        """Opens the weights and copies them to every device.

        Args:
          name: a file of weights, a folder, a name in the hub cache, or a run.
          seconds: window; None for what the run was trained on, or SECONDS. Shorter sounds are repeated, longer ones have several windows.

        Raises:
          UsageError: there is no such model, it is no PANNs network with tags, or the window is too short for it.
        """
        tower = open_tower(name, progress)
        if not isinstance(tower, PannsTower) or not tower.config.head:
            raise UsageError(f"{shown(name)}: holds a {type(tower.module).__name__}, and a CNN14 with its tags is needed")
        self.tower = tower
        self.seconds = (_trained_seconds(name) or SECONDS) if seconds is None else seconds
        self.sample_rate = tower.mel.sample_rate
        self.samples = round(self.seconds * self.sample_rate)
        layout = make_layout("pmap")
        self._size = -(-BATCH // layout.devices) * layout.devices
        self._sharding = layout.batch_sharding
        self._call = partial(_hear, tower.module, tower.mel, self._sharding, jax.device_put(tower.params, layout.replicated))
        window = jax.ShapeDtypeStruct((1, self.samples), np.float32)
        try:
            shapes = jax.eval_shape(partial(_features, tower.module, tower.mel), tower.params, window)
        except ValueError as error:
            raise UsageError(f"a window of {self.seconds:g} s: {error}") from error
        self._frames, self.width = shapes[2].shape[1:]
        self.card = {
            "backbone": f"{shown(name)} {tower.digest[:DIGEST]} ({tower.config.arch}, {self.width} features, {tower.config.classes} tags)",
            "heard at": f"{self.sample_rate} Hz (mean of channels, soxr), windows of {self.seconds:g} s, shorter sounds repeated",
        }

    def hear(self, ids: Sequence[str], sounds: Iterable[Heard], advance: Callable[[], None] = lambda: None) -> Features:
        """Features of sounds of any length and rate; what a sound becomes depends on nothing but itself.

        Windows lie side by side, the last one ends with the sound. What is heard twice or was repeated counts once among the frames.

        Args:
          ids: of the sounds, in their order.
          advance: called after each sound.

        Raises:
          AudiojaxError: the network gives numbers that are not finite.
        """
        sums, windows = np.zeros((len(ids), self.width + self.tower.config.classes)), np.zeros(len(ids))
        frames, silent, bad = Moments(self.width), [], []

        def take(owner: tuple[int, int, int], row: np.ndarray) -> None:
            number, first, last = owner
            if not np.isfinite(row).all():
                raise AudiojaxError(f"{shown(ids[number])}: the backbone gives numbers that are not finite; are its weights whole?")
            sums[number] += row[: sums.shape[1]]
            windows[number] += 1
            frames.add(row[sums.shape[1] :].reshape(self._frames, self.width)[first:last])

        batches = Batches(self._run, self._size, take)
        for number, (own, heard) in enumerate(zip(ids, sounds, strict=True)):
            if isinstance(heard, BadAudio):
                bad.append(heard)
            else:
                (clip,) = clips_at([heard[0]], heard[1], self.sample_rate)
                if np.max(np.abs(heard[0])) < SILENCE:
                    silent.append(own)
                self._put(batches, number, clip)
            advance()
        batches.finish()
        used = windows > 0
        means = (sums[used] / windows[used, None]).astype(np.float32)
        kept = [own for own, has in zip(ids, used, strict=True) if has]
        return Features(kept, means[:, : self.width], means[:, self.width :], frames, silent, bad)

    def _put(self, batches: Batches, number: int, clip: Float[np.ndarray, " n"]) -> None:
        """The windows of a clip, each with the range of its frames that no window before it has and that are no padding."""
        step, heard = self.samples / self._frames, 0
        for start, window in slide([clip], self.samples, self.samples, short="repeat_cut"):
            end = min(len(clip), start + self.samples)
            batches.put((number, ceil((heard - start) / step), ceil((end - start) / step)), (window,))
            heard = end

    def _run(self, windows: Float[np.ndarray, "b n"]) -> Array:
        return self._call(jax.device_put(windows, self._sharding))


def _trained_seconds(name: str | os.PathLike) -> float | None:
    """Length of the clips that a run of ours learnt from; None of public weights."""
    if is_public(name):
        return None
    return json.loads((final_folder(name) / "config.json").read_text(encoding="utf-8"))["data"]["seconds"]


def _features(module: nn.Module, mel: MelConfig, params: Mapping[str, Any], waveform: Float[Array, "b n"]) -> tuple[Array, Array, Array]:
    """(embedding, logits, frames) of windows."""
    out = module.apply(params, log_mel(waveform, mel), train=False)
    return out.embedding, out.logits, out.frames


@partial(image_jit, static_argnums=(0, 1, 2))
def _hear(
    module: nn.Module, mel: MelConfig, sharding: NamedSharding, params: Mapping[str, Any], waveform: Float[Array, "b n"]
) -> Float[Array, "b d"]:
    """The same, side by side in float32."""

    def hear(whole: Mapping[str, Any], rows: Float[Array, "b n"]) -> Array:
        embedding, logits, frames = _features(module, mel, whole, rows)
        parts = (embedding, logits, frames.reshape(len(frames), -1))
        return jnp.concatenate([part.astype(jnp.float32) for part in parts], axis=1)

    return each_its_own(hear, sharding, params, waveform)
