"""Checkpoints of a run: Orbax behind one small class.

A step holds three items: `state` (the TrainState), `data` (the Grain iterator of every process) and `meta` (JSON: task, shapes, digest).
Saves are asynchronous and atomic: a step without its final name does not exist. The newest `keep` steps stay, and the best one.
The digest is a checksum of every bit of the state, so that a damaged checkpoint is recognised even where the file format would not notice.

Processes read by themselves and then agree: a step is restored on all of them or on none. Orbax's manager, which saves, would leave those
that succeed waiting for one that failed, so reading goes around it, through its handlers.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from audiojax.errors import AudiojaxError, UsageError
from audiojax.trainer.agreement import Damaged, from_first, together
from audiojax.trainer.layout import Layout, from_saved, saved_sharding, to_saved
from audiojax.trainer.state import TrainState
from audiojax.typing import Array

KIND = "audiojax training state"
SELECT = "select"  # the metric by which the best step is chosen


@dataclass(frozen=True)
class Restored:
    """A state that was read back, with the JSON saved beside it and the metrics of its step ({} if it was not evaluated)."""

    step: int
    state: TrainState
    meta: Mapping[str, Any]
    metrics: Mapping[str, float]


class Checkpoints:
    """The checkpoints of one phase. A context manager: leaving it waits for saves under way.

    Args:
      directory: made if it does not exist.
      task: name of the task, "<paper>/<phase>"; a checkpoint of another task is refused.
      layout: where states live.
      keep: newest steps that stay, besides the best.
      say: receives one line when a damaged checkpoint is left out.
    """

    def __init__(
        self, directory: str | os.PathLike, *, task: str, layout: Layout, keep: int = 2, say: Callable[[str], None] = print
    ) -> None:
        self.directory = Path(directory).absolute()
        self.task = task
        self.layout = layout
        self.say = say
        policies = [
            checkpoint_managers.LatestN(keep),
            checkpoint_managers.BestN(get_metric_fn=_selected, n=1, keep_checkpoints_without_metrics=False),
        ]
        options = ocp.CheckpointManagerOptions(
            best_fn=_selected, preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies), cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(self.directory, options=options, item_names=("state", "data", "meta"))

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: Any) -> None:
        self._manager.close()

    def steps(self) -> list[int]:
        """Saved steps, oldest first."""
        return sorted(self._manager.all_steps())

    def best_step(self) -> int | None:
        """The evaluated step with the highest selection metric, None if none was evaluated; the same on every process."""
        scored = {step: self.metrics(step) for step in from_first(self.steps())}
        scored = {step: metrics[SELECT] for step, metrics in scored.items() if SELECT in metrics}
        return max(scored, key=lambda step: (scored[step], step)) if scored else None

    def save(self, state: TrainState, data: Iterator, meta: Mapping[str, Any], metrics: Mapping[str, float] | None = None) -> None:
        """Starts to save the state of step `state.step`; a step that is there already is left as it is.

        Args:
          data: the Grain iterator that gives the next batch; another kind of iterator is not saved.
          meta: JSON data of the caller's, beside what is always stored.
          metrics: of this step, with the selection metric under "select".

        Raises:
          AudiojaxError: too little disk.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        self.check_disk(state)
        own = {"kind": KIND, "task": self.task, "step": step, "shapes": _shapes(state), "digest": state_digest(state)}
        own["grain"] = isinstance(data, grain.DatasetIterator)
        items = {"state": ocp.args.StandardSave(to_saved(self.layout, state)), "meta": ocp.args.JsonSave({**meta, **own})}
        if own["grain"]:
            items["data"] = grain.checkpoint.CheckpointSave(data)
        finite = {name: float(value) for name, value in (metrics or {}).items() if np.isfinite(value)}
        self._manager.save(step, args=ocp.args.Composite(**items), metrics=finite)

    def wait(self) -> None:
        """Returns when saves under way are on disk."""
        self._manager.wait_until_finished()

    def check_disk(self, state: TrainState) -> None:
        """Raises AudiojaxError, in all processes alike, unless the disk has room for one more state."""
        need = int(1.1 * sum(leaf.nbytes for leaf in jax.tree.leaves(state))) + 2**20
        # it changes while they look, and a file server may answer one of them alone
        free = from_first(together(str(self.directory), lambda: shutil.disk_usage(self.directory).free))
        if free < need:
            raise AudiojaxError(
                f"{self.directory}: a checkpoint needs {need / 2**20:.0f} MiB and {free / 2**20:.0f} MiB are free; free some disk"
            )

    def restore_newest(self, target: Any, shardings: Any) -> Restored | None:
        """The newest step that can be read, None if there never was one. Damaged newer steps are then moved to "<directory>-damaged".

        Steps stay where they are until an older one has been read: a run whose every step fails must not find an empty folder the next
        time and begin again.

        Args:
          target: TrainState of ShapeDtypeStructs.
          shardings: a sharding per leaf; it may differ from the one that the state was saved with.

        Raises:
          UsageError: the checkpoint belongs to another task or configuration.
          AudiojaxError: every step is damaged, or the machine lacks what it takes to read one.
        """
        steps, aside = from_first(together(str(self.directory), lambda: [self.steps(), _steps_in(self._aside)]))
        if aside and not steps:
            raise AudiojaxError(
                f"{self.directory} holds no checkpoint, but {self._aside} holds step {aside[-1]}, which could not be read:"
                f" move it back to try it again, or delete {self._aside} to train from the start"
            )
        damaged: list[int] = []
        for step in reversed(steps):
            try:
                restored = self.restore(step, target, shardings)
            except Damaged as error:
                self.say(f"checkpoint {self.directory.name}/{step} is damaged ({error})")
                damaged.append(step)
                continue
            if damaged:
                self.say(f"falling back to checkpoint {self.directory.name}/{step}")
                together(str(self._aside), lambda: self._set_aside(damaged))
                self._manager.reload()
            return restored
        if steps:
            raise AudiojaxError(f"{self.directory}: no readable checkpoint is left; start in a new workdir, or delete this folder")
        return None

    def restore(self, step: int, target: Any, shardings: Any) -> Restored:
        """The state of one step.

        Raises:
          UsageError: the checkpoint belongs to another task or configuration.
          OutOfReach: memory, files or devices are lacking on a process; the step may be sound.
          Damaged: a process found it damaged.
        """
        where = str(self.directory / str(step))
        meta, state = together(where, lambda: self._read(step, target, shardings))
        together(where, lambda: _check_digest(state, meta["digest"]))
        return Restored(step, state, meta, self.metrics(step))

    def restore_data(self, step: int, data: Iterator) -> None:
        """Sets a Grain iterator to the place it had at `step`; it must be made as the saved one was.

        Raises:
          OutOfReach: memory or files are lacking on a process.
          Damaged: on a process the saved place does not fit the iterator, whose place is then undefined.
        """
        place = self.directory / str(step) / "data"
        arguments = grain.checkpoint.CheckpointRestore(data)
        together(str(place), lambda: grain.checkpoint.CheckpointHandler().restore(place, args=arguments))

    def metrics(self, step: int) -> Mapping[str, float]:
        """What was saved as the metrics of a step, {} if it was not evaluated; the same on every process."""
        try:
            found = together(str(self.directory / str(step)), lambda: dict(self._manager.metrics(step) or {}))
        except Damaged:  # a damaged file of metrics is an unevaluated step
            return {}
        return from_first(found)

    def _read(self, step: int, target: Any, shardings: Any) -> tuple[Mapping[str, Any], TrainState]:
        """(meta, state) of a step, read by this process without a word to the others."""
        place = self.directory / str(step)
        meta = ocp.JsonCheckpointHandler().restore(place / "meta")
        self._check_meta(step, meta, target)
        if self.layout.parallel == "pmap":
            shardings = jax.tree.map(lambda _: saved_sharding(self.layout), shardings)
        abstract = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), target, shardings)
        with closing(ocp.StandardCheckpointHandler()) as handler:
            state = handler.restore(place / "state", args=ocp.args.StandardRestore(abstract))
        return meta, from_saved(self.layout, state)

    def _check_meta(self, step: int, meta: Mapping[str, Any], target: Any) -> None:
        where = self.directory / str(step)
        if meta.get("kind") != KIND:
            raise UsageError(f"{where} is not a training checkpoint of audiojax")
        if meta["task"] != self.task:
            raise UsageError(f"{where} belongs to '{meta['task']}', not '{self.task}': use another workdir")
        here = _shapes(target)
        for path in sorted(set(here) ^ set(meta["shapes"])):
            raise UsageError(f"{where} was made with another config: it has {'no ' if path in here else ''}'{path}'; use another workdir")
        for path, shape in here.items():
            if shape != meta["shapes"][path]:
                raise UsageError(f"{where} was made with another config: '{path}' is {meta['shapes'][path]} there, {shape} here")

    @property
    def _aside(self) -> Path:
        return self.directory.with_name(self.directory.name + "-damaged")

    def _set_aside(self, steps: Sequence[int]) -> None:
        if jax.process_index() == 0:
            self._aside.mkdir(exist_ok=True)
            for step in steps:
                place = self._aside / str(step)
                shutil.rmtree(place, ignore_errors=True)
                os.replace(self.directory / str(step), place)


def state_digest(tree: Any) -> int:
    """A checksum of every bit of every leaf, 32 bits, the same for every layout of the same values."""
    sums = [int(_sum_of_bits(leaf)) for leaf in jax.tree.leaves(tree)]  # each awaited: many sums over devices at once can lock on CPUs
    return sum(total * (2 * index + 1) for index, total in enumerate(sums)) % 2**32


@jax.jit
def _sum_of_bits(leaf: Array) -> Array:
    """The sum of a leaf's bits as 32-bit numbers, modulo 2^32. One leaf at a time: a tree of hundreds takes ten seconds to compile."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    if leaf.dtype == jnp.bool_:
        leaf = leaf.astype(jnp.uint8)
    bits = jax.lax.bitcast_convert_type(leaf, _UNSIGNED[min(leaf.dtype.itemsize, 4)]).astype(jnp.uint32)
    return jnp.sum(bits, dtype=jnp.uint32)


_UNSIGNED = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}


def _check_digest(state: Any, expected: int) -> None:
    digest = state_digest(state)
    if digest != expected:
        raise Damaged(f"its bits have checksum {digest}, not {expected}")


def _steps_in(folder: Path) -> list[int]:
    return sorted(int(place.name) for place in folder.iterdir() if place.name.isdigit()) if folder.is_dir() else []


def _shapes(tree: Any) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}


def _selected(metrics: Mapping[str, float]) -> float:
    return metrics.get(SELECT, float("-inf"))
