"""Statistics of the training data that a paper keeps in model_state: measured once before the first phase, and stored beside the config."""

import json
from collections.abc import Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import numpy as np

from audiojax.api.data import training_stream
from audiojax.api.start import Start
from audiojax.data.pipeline import Transform
from audiojax.errors import AudiojaxError
from audiojax.files import shown, write_whole
from audiojax.papers.task import Paper
from audiojax.partition import flat_paths, from_paths
from audiojax.trainer.agreement import Damaged, from_first, together

FILE = "statistics.json"


def with_statistics(
    paper: Paper,
    config: Mapping[str, Any],
    start: Start,
    source: Any,
    transform: Transform,
    workdir: Path,
    vocab_size: int,
    blank: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """The start's model_state with what the paper measures, unless the run that it starts from has measured before.

    The first process measures, on `data.statistics_examples` examples (rounded up to whole batches) from the beginning of the training
    stream, and writes workdir/statistics.json; a later call with the same towers reads that file, and the other
    processes are told.

    Args:
      blank: the text leaves of an empty caption, for statistics that ask for it.

    Raises:
      AudiojaxError: the file is damaged (Damaged), or what was measured is not finite.
    """
    statistics, state = paper.statistics, dict(start.model_state)
    if statistics is None or set(statistics.names) <= state.keys():
        return state
    if statistics.phases and not set(statistics.phases) & set(config["phases"]):
        return state

    def first() -> dict[str, Any] | None:
        if jax.process_index() != 0:
            return None
        path, towers = workdir / FILE, {name: facts["digest"] for name, facts in start.card.items()}
        if not path.is_file() or _read(path)["towers"] != towers:
            found = _measure(paper, config, start, source, transform, vocab_size, blank)
            write_whole(path, json.dumps({"towers": towers, "measured": found}))
        return _read(path)["measured"]

    found = from_first(together(shown(workdir / FILE), first))
    return state | from_paths({name: np.asarray(value, np.float32) for name, value in found.items()})


def _measure(
    paper: Paper, config: Mapping[str, Any], start: Start, source: Any, transform: Transform, vocab_size: int, blank: Any
) -> dict[str, Any]:
    size = config["train"]["eval_batch_size"]
    count = -(-config["data"]["statistics_examples"] // size)
    with closing(training_stream(config, source, transform, size, 0, whole=True)) as stream:
        further = {"blank": blank} if paper.statistics.blank else {}
        found = flat_paths(paper.statistics.measure(config, start.params, islice(stream, count), vocab_size=vocab_size, **further))
    for name, value in found.items():
        if not np.all(np.isfinite(value)):
            raise AudiojaxError(f"'{name}' of the training data is not finite; look at the data, or at the towers that config.init names")
    return {name: np.asarray(value, np.float64).tolist() for name, value in found.items()}


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict) and found.keys() == {"towers", "measured"}:
            return found
        reason = "not what was written"
    except ValueError as error:
        reason = str(error)
    raise Damaged(f"{shown(path)} is damaged ({reason}); delete it, and it is measured again")
