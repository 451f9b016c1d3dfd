"""The durable artefact of a run: parameters in Orbax, config as JSON, tokenizer, metric card. `audiojax.load` needs nothing else, but for
the data of a model that retrieves.

<folder>/weights/       Orbax: {"params": ..., "model_state": ...}, whole tree, no optimiser
<folder>/config.json    see `audiojax.config`
<folder>/tokenizer/     copied
<folder>/card.json      kind, format, and what the caller reports: metrics, protocol, seed
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from audiojax.config import config_from_json, config_to_json
from audiojax.errors import AudiojaxError, UsageError
from audiojax.typing import Params

KIND = "audiojax model"
FORMAT = 1


@dataclass(frozen=True)
class Exported:
    """A model that was read back: numpy trees, locked config, tokenizer folder (None if there is none), card."""

    params: Params
    model_state: Any
    config: ConfigDict
    tokenizer: Path | None
    card: Mapping[str, Any]


def export_model(
    folder: str | os.PathLike,
    *,
    params: Params,
    model_state: Any,
    config: ConfigDict,
    tokenizer: str | os.PathLike | None = None,
    card: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a model to `folder`, in place of a model that is there; every process of a run calls it. Atomic: all of it or nothing.

    Args:
      params, model_state: whole trees, on any layout.
      tokenizer: folder to copy.
      card: JSON data to keep beside the weights.

    Raises:
      UsageError: `folder` holds something that is not an exported model.
      AudiojaxError: too little disk.
    """
    target = Path(folder).absolute()
    if target.exists() and not (target / "card.json").is_file() and any(target.iterdir()):
        raise UsageError(f"{target} exists and is not an exported model: choose another folder")
    weights = to_numpy({"params": params, "model_state": model_state})
    target.parent.mkdir(parents=True, exist_ok=True)
    need = int(1.1 * sum(leaf.nbytes for leaf in jax.tree.leaves(weights))) + 2**20
    free = shutil.disk_usage(target.parent).free
    if free < need:
        raise AudiojaxError(f"{target}: the model needs {need / 2**20:.0f} MiB and {free / 2**20:.0f} MiB are free; free some disk")
    partial = target.with_name(target.name + ".partial")
    first = jax.process_index() == 0
    if first:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
    _meet("export: folder")
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(partial / "weights", weights)
    if first:
        (partial / "config.json").write_text(config_to_json(config), encoding="utf-8")
        if tokenizer is not None:
            shutil.copytree(tokenizer, partial / "tokenizer")
        text = json.dumps({**(card or {}), "kind": KIND, "format": FORMAT}, indent=2)
        (partial / "card.json").write_text(text + "\n", encoding="utf-8")
        old = target.with_name(target.name + ".old")
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            os.replace(target, old)
        os.replace(partial, target)
        shutil.rmtree(old, ignore_errors=True)
    _meet("export: done")
    return target


def load_export(folder: str | os.PathLike) -> Exported:
    """The model in `folder`.

    Raises:
      UsageError: no such folder, or something else in it.
      AudiojaxError: the weights cannot be read.
    """
    path = Path(folder).expanduser().absolute()
    if not path.is_dir():
        raise UsageError(f"{folder} does not exist: give the folder of an exported model, such as RUN/final")
    card = _read_card(path)
    config = read_config(path / "config.json")
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            structure = checkpointer.metadata(path / "weights").item_metadata.tree
            target = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), structure)
            weights = checkpointer.restore(path / "weights", target)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise AudiojaxError(f"{path / 'weights'} cannot be read: {reason}") from error
    tokenizer = path / "tokenizer"
    return Exported(weights["params"], weights.get("model_state", {}), config, tokenizer if tokenizer.is_dir() else None, card)


def to_numpy(tree: Any) -> Any:
    """The tree as numpy on every process, wherever its arrays live."""

    def fetch(x: Any) -> np.ndarray:
        if not isinstance(x, jax.Array) or x.is_fully_addressable:
            return np.asarray(x)
        if x.is_fully_replicated:
            return np.asarray(x.addressable_data(0))
        return np.asarray(multihost_utils.process_allgather(x, tiled=True))

    return jax.tree.map(fetch, tree)


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads((path / "card.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path} is not an exported model: it has no card.json") from None
    except json.JSONDecodeError as error:
        raise AudiojaxError(f"{path / 'card.json'} is damaged: {error}") from error
    if card.get("kind") != KIND:
        raise UsageError(f"{path} holds '{card.get('kind')}', not an exported model")
    if card.get("format") != FORMAT:
        raise UsageError(f"{path} has format {card.get('format')}, and this audiojax reads {FORMAT}: update audiojax")
    return card


def read_config(path: Path) -> ConfigDict:
    """The config in the file config.json of an exported model.

    Raises:
      UsageError: there is none.
      AudiojaxError: it is damaged.
    """
    try:
        config = config_from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path.parent} has no config.json: copy the whole folder, or export the model again") from None
    except (UsageError, ValueError) as error:
        raise AudiojaxError(f"{path} is damaged ({error}); copy or export the model again") from error
    if "paper" not in config:
        raise AudiojaxError(f"{path} is damaged: it names no paper; copy or export the model again")
    return config


def _meet(name: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)
