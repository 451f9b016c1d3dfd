"""Frozen towers run once over a split: what they make of every clip and caption is stored, and training reads that in place of sounds."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tensorflow_datasets as tfds

from audiojax.api.start import Start
from audiojax.data.examples import captions_of
from audiojax.data.pipeline import clip_examples
from audiojax.data.shards import is_written, write_dataset
from audiojax.data.sources import StoredStates
from audiojax.data.transforms import ClipTransform
from audiojax.folders import cache_home
from audiojax.papers.task import Encoders
from audiojax.progress import counting_bar
from audiojax.trainer.layout import make_layout, over_rows

FORMAT = 1
CLIPS, CAPTIONS = 32, 64  # that go through a tower at a time, at least one a device
NAME = "states"


def stored_states(
    config: Mapping[str, Any],
    encoders: Encoders,
    start: Start,
    source: Any,
    transform: ClipTransform,
    split: str,
    *,
    progress: bool = True,
) -> StoredStates:
    """The states of a split, from the cache folder if it has those of these weights and these data; made and kept there otherwise.

    They lie below $AUDIOJAX_CACHE/states, or in the user's cache folder, as a data set of ArrayRecord shards. A call that was stopped goes
    on with the shard that was under way.

    Args:
      config: of the run; `data.states_dtype` is what values are stored in.
      encoders: of the paper.
      start: the towers' weights, all of them, and what they are called.
      source: records of the split.
      transform: makes examples of them.
      split: its name.

    Raises:
      UsageError: the cache folder cannot be written.
    """
    identity = {
        "format": FORMAT,
        "paper": config["paper"],
        "towers": {name: start.card[name]["digest"] for name in _used(encoders, start)},
        "records": source.identity(),
        "tokenizer": transform.tokenizer.identity(),
        **({"second tokenizer": [transform.second.identity(), transform.second_tokens]} if transform.second else {}),
        "transform": {name: getattr(transform, name) for name in ("sample_rate", "lengths", "padding", "max_tokens", "windows")},
        "clean": transform.clean.__name__,
        "stored as": config["data"]["states_dtype"],
        "encoders": dict(encoders.facts),
    }
    text = json.dumps(identity, sort_keys=True, default=str)
    folder = cache_home() / "states" / hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
    if not is_written(folder):
        _write(folder, config, encoders, start, source, transform, split, text, progress)
    return StoredStates(folder, split)


def _used(encoders: Encoders, start: Start) -> Sequence[str]:
    """What of the start decides the states: the towers that are run; all of it where one of them is not known by its own hash."""
    return encoders.towers if encoders.towers and start.card.keys() >= set(encoders.towers) else list(start.card)


def _write(
    folder: Path,
    config: Mapping[str, Any],
    encoders: Encoders,
    start: Start,
    source: Any,
    transform: ClipTransform,
    split: str,
    identity: str,
    progress: bool,
) -> None:
    with counting_bar("clips", progress) as bar:
        task = bar.add_task(f"towers on {split}", total=len(source))
        towers = Runner(encoders, start, np.dtype(config["data"]["states_dtype"]))

        def examples(_: str, first: int, last: int) -> Iterator[dict[str, Any]]:
            bar.update(task, completed=first)
            found = towers.run(clip_examples(source, transform, first, last, threads=config["data"]["threads"]))
            for i, states in zip(range(first, last), found, strict=True):
                yield {"id": str(i), "captions": list(captions_of(source, i)), **states}
                bar.advance(task)

        one = next(towers.run(clip_examples(source, transform, 0, 1, threads=1)))
        write_dataset(folder, NAME, _features(one), {split: len(source)}, examples, metadata={"identity": identity})


class Runner:
    """The towers of a start, compiled, on all devices of this process."""

    def __init__(self, encoders: Encoders, start: Start, dtype: np.dtype):
        self.layout, self.dtype = make_layout("mesh", devices=jax.local_devices()), dtype
        self.params, self.model_state = jax.device_put((start.params, start.model_state), self.layout.replicated)
        self.audio, self.text = (side and over_rows(self.layout, side) for side in (encoders.audio, encoders.text))

    def run(self, examples: Iterator[Mapping[str, np.ndarray]]) -> Iterator[dict[str, np.ndarray]]:
        """The states of each example: "audio_..." of the clip, "text_..." of all its captions, which stay tokens without a text tower."""
        for group in _groups(examples, self._rows(CLIPS)):
            sounds = self._encode(
                self.audio, {name: np.stack([x[name] for x in group]) for name in ("waveform", "windows") if name in group[0]}, CLIPS
            )
            texts = {name: np.concatenate([x[name] for x in group]) for name in group[0] if name.startswith("text_")}
            texts = self._encode(self.text, texts, CAPTIONS) if self.text else texts
            ends = np.cumsum([len(x["text_ids"]) for x in group])
            for i, end in enumerate(ends):
                captions = slice(end - len(group[i]["text_ids"]), end)
                yield {name: x[i] for name, x in sounds.items()} | {name: x[captions] for name, x in texts.items()}

    def _rows(self, least: int) -> int:
        return -(-least // self.layout.devices) * self.layout.devices

    def _encode(self, tower: Any, batch: Mapping[str, np.ndarray], least: int) -> dict[str, np.ndarray]:
        """The tower's outputs for all rows, in batches of one size; the last is filled up with copies of the first row."""
        rows, size = len(next(iter(batch.values()))), self._rows(least)
        places = np.arange(-(-rows // size) * size)
        places[rows:] = 0
        found = [
            jax.device_get(
                tower(self.params, self.model_state, jax.device_put({n: x[p] for n, x in batch.items()}, self.layout.batch_sharding))
            )
            for p in places.reshape(-1, size)
        ]
        whole = {name: np.concatenate([part[name] for part in found])[:rows] for name in found[0]}
        return {name: x.astype(self.dtype) if np.issubdtype(x.dtype, np.floating) else x for name, x in whole.items()}


def _groups(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    group = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _features(example: Mapping[str, np.ndarray]) -> tfds.features.FeaturesDict:
    """Arrays as they are; those of texts with any number of captions."""
    tensor = partial(tfds.features.Tensor, encoding=tfds.features.Encoding.BYTES)
    arrays = {
        name: tensor(shape=(None, *x.shape[1:]) if name.startswith("text_") else x.shape, dtype=x.dtype) for name, x in example.items()
    }
    return tfds.features.FeaturesDict({"id": tfds.features.Text(), "captions": tfds.features.Sequence(tfds.features.Text()), **arrays})
