"""The pure training step of every paper.

  train_step(state, frozen, batch, *, axis_name=None, each_its_rows=None) -> (state, metrics)

`axis_name` is given under pmap only. On a mesh of several devices, `each_its_rows` is given: it runs the gradients of a task without
partition rules as pmap would, each device on its own rows. A step whose loss or gradients are not finite changes nothing but the counters.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from audiojax.collectives import pmean
from audiojax.papers.task import Task
from audiojax.partition import merge_params
from audiojax.trainer.optim import Optimizer, group_norms
from audiojax.trainer.state import TrainState
from audiojax.typing import Array, Batch, Key, Params


def make_train_step(
    task: Task, optimizer: Optimizer, *, accumulate: int = 1, ema_decay: float = 0.0, ema_warmup: bool = False
) -> Callable[..., Any]:
    """The step of a task.

    Args:
      task: gives the loss.
      optimizer: what `make_optimizer` returned for the trainable partition.
      accumulate: micro-batches that a batch falls into (strided rows); gradients and metrics are their exact mean, running statistics
        see one after the other. A contrastive loss sees the negatives of its micro-batch only.
      ema_decay: ema <- decay * ema + (1 - decay) * params after each good step; 0 = off (state.ema is {}).
      ema_warmup: take min(decay, (1 + i) / (10 + i)) at the i-th good step, i = 1, 2, ... (LitEma of "haoheliu/AudioLDM code").

    Returns:
      train_step. Metrics are scalars, averaged over devices: "loss", what the task reports, "grad_norm/<group>" before clipping,
      "lr/<group>", "skipped" and "skipped_in_row".
    """

    def gradients(params: Params, frozen: Params, model_state: Any, batch: Batch, key: Key, axis_name: str | None) -> Any:
        def objective(params: Params) -> Any:
            loss, (new_model_state, metrics) = task.loss(merge_params(params, frozen), model_state, batch, key, axis_name=axis_name)
            return loss, (new_model_state, {"loss": loss, **metrics})

        (_, aux), grads = jax.value_and_grad(objective, has_aux=True)(params)
        return grads, *aux

    def accumulated(params: Params, frozen: Params, model_state: Any, batch: Batch, key: Key, axis_name: str | None) -> Any:
        micro = jax.tree.map(lambda x: _strided(x, accumulate), batch)  # [accumulate, b / accumulate, ...]

        def body(carry: Any, item: Any) -> Any:
            model_state, sums = carry
            index, rows = item
            grads, model_state, metrics = gradients(params, frozen, model_state, rows, jax.random.fold_in(key, index), axis_name)
            return (model_state, jax.tree.map(jnp.add, sums, (grads, metrics))), None

        one = jax.tree.map(lambda x: x[0], micro)
        grads, _, metrics = jax.eval_shape(lambda: gradients(params, frozen, model_state, one, key, axis_name))
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (grads, metrics))
        (model_state, sums), _ = jax.lax.scan(body, (model_state, zeros), (jnp.arange(accumulate, dtype=jnp.int32), micro))
        grads, metrics = jax.tree.map(lambda x: x / accumulate, sums)
        return grads, model_state, metrics

    def train_step(
        state: TrainState,
        frozen: Params,
        batch: Batch,
        *,
        axis_name: str | None = None,
        each_its_rows: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None,
    ) -> tuple[TrainState, dict[str, Array]]:
        key = jax.random.fold_in(state.key, state.step)
        compute = gradients if accumulate == 1 else accumulated
        if each_its_rows is not None and not task.partition_rules:
            compute = each_its_rows(compute)
        grads, model_state, metrics = compute(state.params, frozen, state.model_state, batch, key, axis_name)
        grads, metrics = pmean((grads, metrics), axis_name)
        good = all_finite((grads, metrics["loss"]))

        updates, opt_state = optimizer.tx.update(grads, state.opt_state, state.params)
        params = jax.tree.map(lambda p, u: p + u.astype(p.dtype), state.params, updates)
        ema = _averaged(state, params, ema_decay, ema_warmup) if ema_decay else state.ema
        new = (params, model_state, opt_state, ema)
        old = (state.params, state.model_state, state.opt_state, state.ema)
        params, model_state, opt_state, ema = jax.tree.map(lambda n, o: jnp.where(good, n, o), new, old)

        bad = 1 - good.astype(jnp.int32)
        state = state.replace(
            step=state.step + 1,
            params=params,
            model_state=model_state,
            opt_state=opt_state,
            ema=ema,
            skipped=state.skipped + bad,
            skipped_in_row=(state.skipped_in_row + bad) * bad,
        )
        return state, metrics | _extra_metrics(optimizer, grads, state)

    return train_step


def _averaged(state: TrainState, params: Params, ema_decay: float, ema_warmup: bool) -> Params:
    decay: Any = ema_decay
    if ema_warmup:
        i = (state.step - state.skipped + 1).astype(jnp.float32)
        decay = jnp.minimum(ema_decay, (1 + i) / (10 + i))
    return jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, state.ema, params)


def all_finite(tree: Any) -> Array:
    """Whether every element of every leaf is finite, bool scalar.

    The leaves that are not are counted by a dot product: of a plain reduction XLA makes a chain of scalars, and copies the chain into every
    kernel that asks for the answer (hundreds of them; a fifth of the time that a step takes to compile).
    """
    bad = jnp.stack([~jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]).astype(jnp.float32)
    return jnp.vdot(bad, bad) == 0


def _extra_metrics(optimizer: Optimizer, grads: Params, state: TrainState) -> Mapping[str, Array]:
    norms = {f"grad_norm/{name}": norm for name, norm in group_norms(grads, optimizer.labels).items()}
    rates = {f"lr/{name}": schedule(state.step - 1 - state.skipped) for name, schedule in optimizer.schedules.items()}
    return norms | rates | {"skipped": state.skipped, "skipped_in_row": state.skipped_in_row}


def _strided(x: Array, parts: int) -> Array:
    """[b, ...] -> [parts, b / parts, ...], part j holding rows j, j + parts, ...: every device keeps its own rows."""
    return jnp.swapaxes(x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 0, 1)
