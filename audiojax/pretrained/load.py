"""A public checkpoint as one of our towers: finds out what a file or folder holds, makes the module, and fills it. Offline.

A folder in the layout of transformers or diffusers says what it is in config.json; a bare file is known by its tensors' names.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.pretrained import bert, clap, laion_clap, panns, rules, t5
from audiojax.pretrained.kinds import Checkpoint, Kind
from audiojax.pretrained.reading import WeightFile, open_weights
from audiojax.towers.base import Tower
from audiojax.typing import Array

KINDS = (bert.KIND, t5.KIND, panns.KIND, clap.KIND, clap.TEXT_KIND, laion_clap.KIND)


def load_tower(
    path: str | os.PathLike,
    *,
    dtype: jnp.dtype = jnp.float32,
    param_dtype: jnp.dtype = jnp.float32,
    place: Callable[[str, np.ndarray], Array] | None = None,
    **options: Any,
) -> Tower:
    """The tower in a file or folder: PANNs, BERT, RoBERTa, the encoder of T5 and FLAN-T5, or CLAP.

    Tensors are read one at a time, so that no more than one is held beside those that are placed.

    Args:
      path: a folder with config.json and weights, or a bare file.
      dtype: of the computation.
      param_dtype: of the parameters.
      place: (path of the parameter, values) -> array on its devices; by default the first device.
      options: what the kind of checkpoint lets one choose, see `Kind.options`.

    Raises:
      UsageError: nothing there, a kind that is not known, or an option that it does not have.
      AudiojaxError: damaged or refused weights, or weights that do not fit the model.
    """
    path = Path(path).expanduser()
    with open_weights(path) as weights:
        checkpoint = look_at(path, weights)
        kind = find_kind(path, checkpoint)
        if unknown := sorted(options.keys() - set(kind.options)):
            known = f"it has {', '.join(kind.options)}" if kind.options else "it has none"
            raise UsageError(f"{shown(path)}: this kind of checkpoint has no option '{unknown[0]}'; {known}")
        config = kind.config(checkpoint, **options)
        module = kind.module(config, dtype=dtype, param_dtype=param_dtype)
        check_depth(config, checkpoint)
        try:
            variables = jax.eval_shape(lambda: module.init(jax.random.key(0), *kind.example(config), train=False))
        except (
            ValueError,
            TypeError,
            ZeroDivisionError,
        ) as error:  # sizes that do not go together
            raise UsageError(f"{shown(path)}: its sizes make no model ({str(error).splitlines()[0]})") from error
        put = place or (lambda _, array: jnp.asarray(array))
        params, report = rules.load(checkpoint.shapes, weights.__getitem__, variables, kind.family(config), put)
        fields = kind.fields(checkpoint, config) if kind.fields else {}
        return kind.tower(module, config, params, report, weights.source, weights.digest(), **fields)


def look_at(path: Path, weights: WeightFile) -> Checkpoint:
    """What can be seen of a file or folder.

    Raises:
      UsageError: its config.json cannot be read.
    """
    folder = path if path.is_dir() else path.parent
    file = folder / "config.json"
    facts = {}
    if file.is_file():
        try:
            facts = json.loads(file.read_text(encoding="utf-8"))
            type_of(facts)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UsageError(f"{shown(file)}: is no config of transformers or diffusers (no model_type can be read)") from error
    return Checkpoint(folder, facts, weights.shapes(), weights.extra)


def type_of(facts: dict[str, Any]) -> Any:
    """What config.json calls the model."""
    return facts["model_type"] if "model_type" in facts else facts["_class_name"]


def find_kind(path: Path, checkpoint: Checkpoint) -> Kind:
    """The kind of a checkpoint.

    Raises:
      UsageError: it is not known.
    """
    if checkpoint.facts:
        name = type_of(checkpoint.facts)
        for kind in KINDS:
            if name in kind.types:
                return kind
        known = ", ".join(sorted(name for kind in KINDS for name in kind.types))
        raise UsageError(f"{shown(checkpoint.folder / 'config.json')}: models of type {name!a:.80} are not known; there are {known}")
    for kind in KINDS:
        if kind.recognise and kind.recognise(checkpoint.shapes):
            return kind
    raise UsageError(f"{shown(path)}: no config.json, and its tensors' names are not known: give the folder that the model came in")


def check_depth(config: Any, checkpoint: Checkpoint) -> None:
    """A model of a million layers would take hours to trace, and it can be seen at once that the file has not as many tensors."""
    layers, tensors = getattr(config, "layers", 0), len(checkpoint.shapes)
    if layers > tensors:
        raise UsageError(f"config.json speaks of {layers} layers, and the file has {tensors} tensors: they do not belong together")
