"""Predictions over a split on all devices, and the metrics made of them."""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from audiojax.papers.task import Task
from audiojax.trainer.layout import Layout, fetch_rows, predict_rows, put_rows
from audiojax.typing import Key, Params


def predict_all(
    layout: Layout, predict: Any, params: Params, model_state: Any, batches: Iterable[Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Predictions of every valid row of a split, in order, as numpy [rows, ...]; the same on every process.

    Args:
      predict: what `wrap_predict` made.
      params: the whole tree, on the layout.
      batches: this process's rows of each global batch, equally many on every process. "valid" (bool [b]) marks rows that count; a batch
        that the devices do not divide is padded with copies of its first row. All leaves are batch first.
    """
    collected: list[dict[str, np.ndarray]] = []
    pending = None
    for batch in batches:
        padded, valid = _pad(batch, predict_rows(layout))
        output = predict(params, model_state, put_rows(layout, padded))
        if pending is not None:
            collected.append(_valid_rows(layout, *pending))
        pending = output, valid
    if pending is not None:
        collected.append(_valid_rows(layout, *pending))
    if not collected:
        raise ValueError("there is no batch to predict")
    return {name: np.concatenate([rows[name] for rows in collected]) for name in collected[0]}


def evaluate(
    task: Task, layout: Layout, predict: Any, params: Params, model_state: Any, batches: Iterable[Mapping[str, np.ndarray]], key: Key
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """(metrics, predictions) of a task over a split."""
    predictions = predict_all(layout, predict, params, model_state, batches)
    metrics = task.metrics(params, predictions, key)
    return {name: float(value) for name, value in metrics.items()}, predictions


def _pad(batch: Mapping[str, np.ndarray], multiple: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    count = len(next(iter(batch.values())))
    valid = np.asarray(batch.get("valid", np.ones(count, bool)))
    extra = -count % multiple
    arrays = {**batch, "valid": valid}
    padded = {name: np.concatenate([x, np.repeat(x[:1], extra, axis=0)]) if extra else np.asarray(x) for name, x in arrays.items()}
    padded["valid"] = np.concatenate([valid, np.zeros(extra, bool)])
    return padded, padded["valid"]


def _valid_rows(layout: Layout, output: Any, valid: np.ndarray) -> dict[str, np.ndarray]:
    if jax.process_count() > 1:
        valid = np.asarray(multihost_utils.process_allgather(valid, tiled=True))
    return {name: rows[valid] for name, rows in fetch_rows(layout, output).items()}
