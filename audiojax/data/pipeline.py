"""From records to batches with Grain: the global order of examples is a pure function of the step.

Shuffled epochs of the examples follow each other in one endless stream. An example is transformed with a generator that belongs to its
place there; batch s is the places from s * batch_size on, of which each process takes a block. So 1, 2 or 4 processes see the same global
batches, row by row, and a run that stopped after step s goes on by asking for step s.
"""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Protocol

import grain
import numpy as np
from absl import flags

from audiojax.data.examples import ExampleSource, captions_of_each, example_source
from audiojax.data.transforms import stack_examples
from audiojax.errors import UsageError

Example = Mapping[str, np.ndarray]


class Transform(Protocol):
    """What makes examples of records, such as `audiojax.data.transforms.ClipTransform`.

    Attributes:
      fixed_length: whether every batch has the same shapes.
      draws: whether it uses its generator for more than the number of a caption.
    """

    @property
    def fixed_length(self) -> bool: ...

    @property
    def draws(self) -> bool: ...

    def __call__(self, record: Any, clip_index: int, caption: int | None, rng: np.random.Generator | None = None) -> Example: ...

    def collate(self, examples: Sequence[Example]) -> Example: ...


def train_batches(
    source: Any,
    transform: Transform,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    mode: str = "pairs",
    captions: int | None = None,
    threads: int = 4,
    workers: int = 0,
) -> grain.DatasetIterator:
    """Endless batches of (clip, caption) examples: this process's rows of each global batch from `start_step` on.

    Args:
      source: records, random access.
      transform: record and caption number -> example.
      batch_size: rows of the global batch.
      seed: of the order, of crops and of caption choice.
      start_step: first global batch to give.
      process_index, process_count: which rows are ours.
      mode: "pairs": every caption of every clip is an example; "random": every clip is an example, with one caption drawn each time.
      captions: a clip has, if all have equally many; None = counted, which reads the source once
        unless it has `captions(i)`.
      threads: that decode, without workers.
      workers: processes that decode; 0 = threads of this one, which is faster on few cores.

    Returns:
      a Grain iterator of dicts: waveform float32 [b, samples], text_ids int32 [b, l], text_mask bool [b, l], clip_index int32 [b].

    Raises:
      UsageError: an unknown mode, an empty source, a batch that the processes do not divide.
    """
    examples = example_source(source, mode, captions)
    return batches_of(
        examples,
        partial(_transform, transform=transform),
        batch_size=batch_size,
        seed=seed,
        start_step=start_step,
        process_index=process_index,
        process_count=process_count,
        threads=threads,
        workers=workers,
        collate=transform.collate,
        draws=transform.draws or mode == "random",
        single_process=not transform.fixed_length,
    )


def eval_batches(
    source: Any,
    transform: Transform,
    *,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    mode: str = "pairs",
    captions: int | None = None,
    threads: int = 4,
) -> Iterator[dict[str, np.ndarray]]:
    """Every example once, in order, without randomness; the last batch is filled with copies of the last example.

    Args as for `train_batches`, but for mode: "pairs", or "clips": a row is a clip with all its captions, text_ids and text_mask being
    [b, captions, l]. All clips must have equally many then, which is checked here and not in the middle of the split.

    Returns:
      an iterator over this process's rows of each global batch, with "valid" bool [b], False on filling rows.

    Raises:
      UsageError: as `train_batches`; in mode "clips" also clips with different numbers of captions.
    """
    if mode == "clips" and captions is None:
        captions = captions_of_each(source)
    examples = example_source(source, mode, captions)
    example = partial(_eval_example, examples=examples, transform=transform)
    share = _share(batch_size, process_count)
    batches = _Batches(example, transform.collate, batch_size, process_index * share, share, 0, math.ceil(len(examples) / batch_size))
    return iter(grain.MapDataset.source(batches).to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)))


def batches_of(
    examples: Any,
    transform: Callable[[Any, np.random.Generator | None], Example],
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 4,
    workers: int = 0,
    collate: Callable[[Sequence[Example]], Example] = stack_examples,
    draws: bool = True,
    single_process: bool = False,
) -> grain.DatasetIterator:
    """Endless batches of any random-access source; see `train_batches`.

    Args:
      transform: (item, generator) -> example; the generator depends on the seed and the place in the global stream alone.
      collate: examples -> batch.
      draws: whether the transform uses its generator; where not, it gets None, for making one costs more than reading stored states.
      single_process: examples have lengths that only the whole batch decides, so several processes are an error.
    """
    if len(examples) == 0:
        raise UsageError("the training data hold no example")
    share = _share(batch_size, process_count)
    if single_process and process_count > 1:
        raise UsageError("clips of several lengths (data.seconds is a list) need one process: give one length")

    def from_step(step: int) -> grain.DatasetIterator:
        example = partial(_train_example, examples=examples, transform=transform, seed=seed, draws=draws)
        batches = _Batches(example, collate, batch_size, process_index * share, share, step, sys.maxsize - step)
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=4 if workers else max(4, threads))
        iterable = grain.MapDataset.source(batches).to_iter_dataset(options)
        if workers:
            if not flags.FLAGS.is_parsed():  # Grain's worker processes read absl flags
                flags.FLAGS.mark_as_parsed()
            processes = grain.multiprocessing.MultiprocessingOptions(num_workers=workers)
            iterable = iterable.mp_prefetch(processes, worker_init_fn=partial(_follow_parent, os.getpid()))
        return iter(iterable)

    return _FromStep(from_step, start_step)


def clip_examples(source: Any, transform: Transform, start: int, stop: int, *, threads: int = 4) -> Iterator[dict[str, np.ndarray]]:
    """The examples of clips start to stop, each with all its captions, in order and without randomness."""
    clips = grain.MapDataset.source(example_source(source, "clips")).slice(slice(start, stop))
    examples = clips.map(partial(_transform, rng=None, transform=transform))
    return iter(examples.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=4 * threads)))


class _FromStep(grain.DatasetIterator):
    """Batches from a step on, made when the first one is asked for.

    Their saved place is the step alone. Grain's own depends on the number of loader workers, and is wrong or lost with another number.
    """

    def __init__(self, from_step: Callable[[int], grain.DatasetIterator], step: int) -> None:
        super().__init__()
        self._from_step, self._step = from_step, step
        self._batches: grain.DatasetIterator | None = None

    def __next__(self) -> Example:
        if self._batches is None:
            self._batches = self._from_step(self._step)
        batch = next(self._batches)
        self._step += 1
        return batch

    def get_state(self) -> dict[str, int]:
        return {"step": self._step}

    def set_state(self, state: Mapping[str, int]) -> None:
        step = state["step"]
        self.close()
        self._step = step

    def close(self) -> None:
        if self._batches is not None:
            self._batches.close()
            self._batches = None


@dataclass(frozen=True)
class _Batches:
    """Random access to this process's rows of each global batch, a block of consecutive places, from a step on.

    What Grain reads is a whole batch: its own shuffle, random map and batch cost several times what a row of stored states does.
    """

    example: Callable[[int], Example]
    collate: Callable[[Sequence[Example]], Example]
    batch_size: int
    first_row: int
    rows: int
    first_step: int
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        start = (self.first_step + index) * self.batch_size + self.first_row
        return self.collate([self.example(place) for place in range(start, start + self.rows)])


def _train_example(place: int, *, examples: Any, transform: Callable[[Any, Any], Example], seed: int, draws: bool) -> Example:
    """The example at a place of the endless stream, in which each epoch has an order of its own."""
    epoch, index = divmod(place, len(examples))
    chosen = grain.experimental.index_shuffle(index, max_index=len(examples) - 1, seed=_epoch_seed(seed, epoch), rounds=4)
    return transform(examples[chosen], np.random.default_rng([seed, place]) if draws else None)


def _eval_example(place: int, *, examples: ExampleSource, transform: Transform) -> Example:
    """The example at a place; those beyond the end repeat the last one with the flag off."""
    item = examples[min(place, len(examples) - 1)]
    return {**_transform(item, None, transform=transform), "valid": np.bool_(place < len(examples))}


def _transform(item: Mapping[str, Any], rng: np.random.Generator | None, *, transform: Transform) -> Example:
    return transform(item["record"], item["clip_index"], item["caption"], rng)


@lru_cache(maxsize=8)
def _epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def _follow_parent(parent: int, index: int, count: int) -> None:
    """A loader worker ends when its parent ends it or is gone, and not before.

    A killed run would leave workers that wait for ever. The signals that stop a run reach its whole process group, and a run that has lost
    its workers cannot finish the step that it saves.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _share(batch_size: int, process_count: int) -> int:
    if batch_size < 1 or batch_size % process_count:
        raise UsageError(f"batch_size {batch_size} is not divisible by {process_count} processes")
    return batch_size // process_count
