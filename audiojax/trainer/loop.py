"""The loop that trains one phase of any paper.

  result = fit(task, phase, workdir=..., train_data=..., eval_data=..., init_batch=..., init_params=..., init_model_state=..., on_eval=...)

A paper of two phases is two calls, the second with `init_params=result.params`. A call on a workdir that has checkpoints of the phase goes
on after the newest one, and a finished phase returns at once with its chosen parameters.

SIGTERM and SIGINT finish the step, save, and raise `RunInterrupted`, whose exit code is 128 + the signal's number (143, 130).
"""

import dataclasses
import os
import re
import signal
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from audiojax.errors import AudiojaxError, UsageError
from audiojax.papers.task import Task
from audiojax.partition import flat_paths, from_paths, merge_params, split_params
from audiojax.trainer.agreement import Damaged
from audiojax.trainer.checkpoint import SELECT, Checkpoints, Restored, state_digest
from audiojax.trainer.evaluate import evaluate
from audiojax.trainer.interrupt import RunInterrupted, Signals
from audiojax.trainer.layout import (
    Layout,
    check_batch_size,
    compile_step,
    make_layout,
    place,
    put_batch,
    shardings_of,
    wrap_predict,
    wrap_step,
)
from audiojax.trainer.log import Writer
from audiojax.trainer.optim import Optimizer, make_optimizer
from audiojax.trainer.progress import Bar, Meter
from audiojax.trainer.settings import Phase
from audiojax.trainer.state import TrainState, create_state
from audiojax.trainer.step import make_train_step
from audiojax.typing import Array, Key, Params

Data = Callable[[int], Iterator[Mapping[str, np.ndarray]]]
OnEval = Callable[[int, Mapping[str, np.ndarray], Writer], None]
ASKED = 10  # steps after which several processes ask each other, at the latest, whether one was told to stop; clusters wait half a minute


@dataclass(frozen=True)
class FitResult:
    """What a phase leaves behind.

    Attributes:
      params, model_state: the whole tree of the chosen step, on the layout of the phase.
      step: the chosen step: the best evaluated one, or the last.
      choice: "raw" | "ema".
      metrics: of the chosen step, {} without evaluation.
      skipped: steps of the whole phase that were skipped.
    """

    params: Params
    model_state: Any
    step: int
    choice: str
    metrics: Mapping[str, float]
    skipped: int


@dataclass(frozen=True)
class _Run:
    """One phase set up: everything fixed that the loop needs."""

    task: Task
    phase: Phase
    layout: Layout
    optimizer: Optimizer
    create: Any  # (trainable, model_state) -> TrainState
    target: Any  # TrainState of shapes
    shardings: Any  # of the state
    frozen: Params  # placed
    frozen_shardings: Any
    predict: Any


def fit(
    task: Task,
    phase: Phase,
    *,
    workdir: str | os.PathLike,
    train_data: Data,
    init_batch: Mapping[str, np.ndarray],
    eval_data: Callable[[], Iterable[Mapping[str, np.ndarray]]] | None = None,
    init_params: Params | None = None,
    init_model_state: Any = None,
    on_eval: OnEval | None = None,
    console: Console | None = None,
) -> FitResult:
    """Trains a phase to its end, from its newest checkpoint if there is one.

    Args:
      task, phase: what and how.
      workdir: receives checkpoints/<phase name>/, metrics.csv and tensorboard/<phase name>/.
      train_data: start step -> iterator over this process's rows of each global batch from that step on; a pure function of the step.
        A Grain iterator is saved with the state.
      init_batch: a batch of any size for `task.init`, which sees shapes only.
      eval_data: () -> this process's evaluation batches.
      init_params: parameters to start from; those missing here are initialised, others than the task's are an error.
      init_model_state: running statistics to start from, in the same way.
      on_eval: (step, predictions, writer), called on process 0 after each evaluation.
      console: where the bar goes; default stderr. Warnings go to stderr however quiet it is.

    Raises:
      UsageError: a batch that the devices do not divide, a checkpoint of another task or config, parameters that do not fit.
      RunInterrupted: after SIGTERM or SIGINT; the state is saved.
      AudiojaxError: too little disk; loss or gradients not finite in `max_bad_steps` steps in a row.
    """
    main = jax.process_index() == 0
    console = console or Console(stderr=True)
    say, warn = (
        (partial(c.print, highlight=False, markup=False, soft_wrap=True) if main else _silence) for c in (console, Console(stderr=True))
    )
    run, variables = _set_up(task, phase, init_batch, init_params, init_model_state)
    layout = run.layout
    folder = Path(workdir) / "checkpoints" / phase.name
    with Checkpoints(folder, task=task.name, layout=layout, keep=phase.keep, say=warn) as checkpoints:
        restored = checkpoints.restore_newest(run.target, run.shardings)
        run, state = _fill(run, restored.state if restored else None, variables)
        if not phase.steps:
            return _untrained(run, state, workdir, eval_data)
        start = restored.step if restored else 0
        if restored and restored.meta["frozen"] != _fingerprint(run.frozen):
            raise UsageError(f"{folder}: the frozen parameters differ from those of the saved run; use another workdir")
        if start < phase.steps:
            if restored:
                say(f"{phase.name}: going on after step {start}")
            data, origin = _open_data(train_data, checkpoints, restored)
            with (
                closing(data) if hasattr(data, "close") else nullcontext(),  # ends loader workers
                Writer(workdir, phase.name, start, active=main) as writer,
                Bar(phase.name, phase.steps, start, console, main) as bar,
            ):
                state = _train(run, state, data, origin, checkpoints, writer, bar, eval_data, on_eval)
        else:
            say(f"{phase.name}: finished before, at step {start}")
        return _chosen(run, state, checkpoints)


def check_phase(task: Task, phase: Phase, init_batch: Mapping[str, np.ndarray]) -> None:
    """Raises the UsageError with which `fit` would begin, so that a mistake in a later phase shows before the first one is trained."""
    _set_up(task, phase, init_batch, None, None)


def _silence(text: str) -> None:
    """Of several processes the first one speaks."""


def _set_up(task: Task, phase: Phase, init_batch: Any, init_params: Any, init_model_state: Any) -> tuple[_Run, Any]:
    """Shapes, shardings and optimiser, without an array; and the function that makes the variables."""
    layout = make_layout(phase.parallel, phase.mesh)
    check_batch_size(layout, phase.batch_size, phase.accumulate)
    key = jax.random.fold_in(jax.random.key(phase.seed), zlib.crc32(phase.name.encode()))
    init_key, train_key = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
    abstract = jax.eval_shape(task.init, init_key, init_batch)
    whole = abstract["params"]
    given, given_state = flat_paths(init_params or {}), flat_paths(init_model_state or {})
    _check_init("init_model_state", abstract["model_state"], given_state)
    _check_init("init_params", whole, given)
    trainable, frozen = _halves(whole, phase)
    if odd := [path for path in flat_paths(trainable) if task.frozen and re.search(task.frozen, path)]:
        raise UsageError(f"config key '{phase.name}.trainable' is '{phase.trainable}' and trains '{min(odd)}', which is frozen")
    optimizer = make_optimizer(phase.groups if phase.steps else {}, trainable, phase.steps)

    def create(params: Any, model_state: Any) -> TrainState:
        return create_state(params, model_state, optimizer, train_key, bool(phase.ema_decay))

    target = jax.eval_shape(create, trainable, abstract["model_state"])
    shardings = shardings_of(layout, abstract, whole, task.partition_rules)
    state_sharding, frozen_sharding = (shardings_of(layout, tree, whole, task.partition_rules) for tree in (target, frozen))
    run = _Run(task, phase, layout, optimizer, create, target, state_sharding, {}, frozen_sharding, wrap_predict(layout, task.predict))

    def variables() -> Any:
        started = {"params": given, "model_state": given_state}
        where = {name: flat_paths(shardings[name]) for name in started}
        new = {name: {path: at for path, at in where[name].items() if path not in leaves} for name, leaves in started.items()}
        fresh = _init(task, new)(init_key, init_batch) if any(new.values()) else new
        params, model_state = (
            from_paths(fresh[name] | {path: place(leaf, where[name][path]) for path, leaf in leaves.items()})
            for name, leaves in started.items()
        )
        return params, model_state

    return run, variables


def _init(task: Task, shardings: Mapping[str, Mapping[str, Any]]) -> Any:
    """The jitted `task.init`, of whose leaves those are made that have a sharding (by part and path); nothing else is compiled.

    It runs once, so on CPUs its code is not optimised, which takes most of the time of compiling it.
    """

    def init(key: Key, batch: Any) -> dict[str, dict[str, Array]]:
        made = {name: flat_paths(tree) for name, tree in task.init(key, batch).items()}
        return {name: {path: made[name][path] for path in wanted} for name, wanted in shardings.items()}

    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else {}
    return jax.jit(init, out_shardings=shardings, compiler_options=options)


def _halves(params: Params, phase: Phase) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the phase trains, and the rest; without steps all is the rest."""
    return split_params(params, phase.trainable) if phase.steps else ({}, dict(params))


def _fill(run: _Run, state: TrainState | None, variables: Any) -> tuple[_Run, TrainState]:
    """The run with its frozen parameters, and its state; variables are made only where one of the two needs them."""
    has_frozen = bool(jax.tree.leaves(run.frozen_shardings))
    if state is not None and not has_frozen:
        return run, state
    params, model_state = variables()
    trainable, frozen = _halves(params, run.phase)
    if state is None:
        # the step donates the state, so every leaf is a buffer of its own, which neither the caller nor another leaf has
        own = jax.jit(lambda *given: jax.tree.map(jnp.copy, run.create(*given)), out_shardings=run.shardings)
        state = own(trainable, model_state)
    return dataclasses.replace(run, frozen=frozen), state


def _check_init(name: str, whole: Params, given: Mapping[str, Any]) -> None:
    """Raises UsageError for paths that the tree does not have, and for other shapes."""
    shapes = flat_paths(whole)
    for path, leaf in given.items():
        if path not in shapes:
            raise UsageError(f"{name} hold '{path}', which the task does not have")
        if tuple(leaf.shape) != tuple(shapes[path].shape):
            raise UsageError(f"{name}: '{path}' is {tuple(leaf.shape)}, the task's is {tuple(shapes[path].shape)}")


def _open_data(train_data: Data, checkpoints: Checkpoints, restored: Restored | None) -> tuple[Iterator, Mapping[str, int]]:
    """The iterator at the restored step, and how it was made: Grain's own state is used if the processes are as many as then."""
    processes = jax.process_count()
    if restored is None:
        return train_data(0), {"start": 0, "processes": processes}
    origin = restored.meta["data"]
    if origin["processes"] == processes and restored.meta["grain"]:
        data = train_data(origin["start"])
        try:
            checkpoints.restore_data(restored.step, data)
            return data, origin
        except Damaged:  # saved with another number of loader workers: the step alone says where to go on
            pass
    return train_data(restored.step), {"start": restored.step, "processes": processes}


def _train(
    run: _Run,
    state: TrainState,
    data: Iterator,
    origin: Mapping[str, int],
    checkpoints: Checkpoints,
    writer: Writer,
    bar: Bar,
    eval_data: Any,
    on_eval: OnEval | None,
) -> TrainState:
    phase, layout = run.phase, run.layout
    meta = {"data": dict(origin), "frozen": _fingerprint(run.frozen), "phase": phase.name}
    wrapped = wrap_step(
        layout,
        make_train_step(run.task, run.optimizer, accumulate=phase.accumulate, ema_decay=phase.ema_decay, ema_warmup=phase.ema_warmup),
        run.shardings,
        run.frozen_shardings,
    )
    step, compiled, late = int(state.step), None, None
    with Signals() as signals:
        while step < phase.steps:
            clock = time.perf_counter()
            batch = put_batch(layout, next(data))
            waited = time.perf_counter() - clock
            if compiled is None:
                compiled, flops = compile_step(layout, wrapped, state, run.frozen, batch)
                meter = Meter(phase.batch_size, flops)
            state, metrics = compiled(state, run.frozen, batch)
            step += 1
            meter.count(waited)
            if late is not None:
                _read(phase, *late, writer, bar, meter)
            late = step, metrics
            bar.advance(step)

            last = step == phase.steps
            stop = 0 if last else signals.agreed(step % min(phase.log_every, ASKED) == 0)
            scores = None
            if eval_data is not None and (last or (phase.eval_every and step % phase.eval_every == 0)):
                _read(phase, *late, writer, bar, meter)
                late = None
                scores = _evaluate(run, state, step, eval_data, on_eval, writer, bar)
            if scores is not None or last or stop or (phase.save_every and step % phase.save_every == 0):
                if late is not None:
                    _read(phase, *late, writer, bar, meter)
                    late = None
                checkpoints.save(state, data, meta, scores)
                meter.reset()
            if last:  # asked when all is done, so that a signal during the final evaluation or save is not lost
                checkpoints.wait()
                stop = signals.agreed(True)
            if stop:
                checkpoints.wait()
                raise RunInterrupted(
                    stop, f"{phase.name}: saved step {step} after {signal.Signals(stop).name}; the same command goes on from there"
                )
    return state


def _read(phase: Phase, step: int, metrics: Any, writer: Writer, bar: Bar, meter: Meter) -> None:
    """Waits for the metrics of a step, checks and reports them."""
    values = {name: float(value) for name, value in jax.device_get(metrics).items()}
    if values["skipped_in_row"] >= phase.max_bad_steps:
        raise AudiojaxError(
            f"{phase.name}: loss or gradients were not finite in {int(values['skipped_in_row'])} steps in a row, up to step {step};"
            " lower the learning rate or look at the data"
        )
    if step % phase.log_every == 0 or step == phase.steps:
        rates = meter.rates()
        writer.scalars(step, {f"train/{name}": value for name, value in values.items()} | {f"speed/{n}": v for n, v in rates.items()})
        bar.report(step, values["loss"], rates)
        meter.reset()


def _evaluate(
    run: _Run, state: TrainState, step: int, eval_data: Any, on_eval: OnEval | None, writer: Writer, bar: Bar
) -> dict[str, float]:
    """Metrics of the raw parameters and, if there is one, of the moving average, whichever selects higher under "select"."""
    key = jax.random.fold_in(jax.random.key(run.phase.seed), 2)
    choices = {"raw": state.params} | ({"ema": state.ema} if run.phase.ema_decay else {})
    scores: dict[str, float] = {}
    for choice, params in choices.items():
        metrics, predictions = evaluate(
            run.task, run.layout, run.predict, merge_params(params, run.frozen), state.model_state, eval_data(), key
        )
        if run.task.select not in metrics:
            raise ValueError(f"task {run.task.name} selects by '{run.task.select}', which its metrics lack: {sorted(metrics)}")
        prefix = "val" if choice == "raw" else "val_ema"
        writer.scalars(step, {f"{prefix}/{name}": value for name, value in metrics.items()})
        family = run.task.select.rsplit("/", 1)[0]  # the line shows the selecting metric's relatives; metrics.csv has them all
        shown = (f"{prefix}/{name} {value:.4g}" for name, value in metrics.items() if name.rsplit("/", 1)[0] == family)
        bar.say(f"{run.phase.name} {step}: " + " · ".join(shown))
        scores |= {f"{choice}/{name}": value for name, value in metrics.items()}
        selected = metrics[run.task.select]
        if np.isfinite(selected) and selected > scores.get(SELECT, float("-inf")):
            scores |= {SELECT: selected, "ema_chosen": float(choice == "ema")}
        if choice == "raw" and on_eval is not None and writer.active:
            on_eval(step, predictions, writer)
    return scores


def _untrained(run: _Run, state: TrainState, workdir: str | os.PathLike, eval_data: Any) -> FitResult:
    """What the phase starts from, evaluated."""
    metrics, key = {}, jax.random.fold_in(jax.random.key(run.phase.seed), 2)
    if eval_data is not None:
        metrics, _ = evaluate(run.task, run.layout, run.predict, run.frozen, state.model_state, eval_data(), key)
        with Writer(workdir, run.phase.name, -1, active=jax.process_index() == 0) as writer:
            writer.scalars(0, {f"val/{name}": value for name, value in metrics.items()})
    return FitResult(run.frozen, state.model_state, 0, "raw", metrics, 0)


def _chosen(run: _Run, state: TrainState, checkpoints: Checkpoints) -> FitResult:
    """The parameters of the best evaluated step that can be read, else the last ones."""
    skipped = int(state.skipped)
    best, metrics, choice = checkpoints.best_step(), {}, "raw"
    if best is not None:
        try:
            state = state if best == int(state.step) else checkpoints.restore(best, run.target, run.shardings).state
            metrics = checkpoints.metrics(best)
        except Damaged as error:
            checkpoints.say(f"the best checkpoint, {best}, is damaged ({error}): the last parameters are used")
        choice = "ema" if metrics.get("ema_chosen") else "raw"
    params = merge_params(state.ema if choice == "ema" else state.params, run.frozen)
    shown = {name.removeprefix(choice + "/"): value for name, value in metrics.items() if name.startswith(choice + "/")}
    return FitResult(params, state.model_state, int(state.step), choice, shown, skipped)


def _fingerprint(frozen: Params) -> int:
    return state_digest(frozen) if jax.tree.leaves(frozen) else 0
