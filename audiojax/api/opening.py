"""What lies at a path, a run or a public checkpoint; where the finished model of a run lies, and a run of a tower as the tower itself."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np

from audiojax.api.weights import cached, load_pretrained
from audiojax.config import config_to_json, to_dict
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.papers import re_audioldm, towers
from audiojax.pretrained import hub
from audiojax.pretrained.reading import holds_weights
from audiojax.pretrained.store import is_converted
from audiojax.text.tokenizer import Tokenizer
from audiojax.towers.base import Tower
from audiojax.trainer.export import load_export

DIGEST = 16  # digits of a digest on a card


def is_public(path: str | os.PathLike) -> bool:
    """Whether a path is a checkpoint that `load_pretrained` opens, and none of our runs: a file, a folder of transformers or with a weight
    file in it, a hub name."""
    here = Path(path).expanduser()
    if not here.exists():
        return cached(str(path)) is not None
    if here.is_file() or is_converted(here) or holds_weights(here):
        return True
    try:
        return "model_type" in json.loads((here / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def final_folder(path: str | os.PathLike) -> Path:
    """The folder of the finished model at `path`, which is a run directory or such a folder itself.

    Raises:
      UsageError: it is something else; says what.
    """
    path = Path(path).expanduser()
    if not path.is_dir() and (path.exists() or not is_public(path)):
        advice = ["train a model with `audiojax train`, or `audiojax demo` for a first one", *hub.advice_on(path)]
        raise UsageError("; ".join([f"{path}: no such folder", *advice]))
    if is_public(path):
        raise UsageError(f"{shown(path)}: holds public weights, no run of ours; audiojax.load_pretrained opens them as they are")
    for folder in (path / "final", path):
        if (folder / "card.json").is_file():
            return folder
    if (path / "config.json").is_file():
        raise UsageError(f"{path}: the run is not finished; `audiojax train` with the same --config and --workdir goes on")
    raise UsageError(f"{path}: holds no audiojax model (neither final/ nor card.json)")


def open_tower(name: str | os.PathLike, progress: bool = True, **options: Any) -> Tower:
    """A public checkpoint, or a tower that `audiojax towers` trained.

    Args:
      options: of `load_pretrained`, for what is public.

    Raises:
      UsageError: there is neither.
      AudiojaxError: its weights cannot be read.
    """
    if is_public(name):
        return load_pretrained(name, progress=progress, **options)
    if Path(name).expanduser().exists():
        return open_tower_run(final_folder(name))
    advice = ["give weights, or a run of `audiojax towers`", *hub.advice_on(name)]
    raise UsageError("; ".join([f"{shown(name)}: no such file or folder, and not in the hub cache", *advice]))


def open_tower_run(folder: Path) -> Tower:
    """The tower whose finished model lies in `folder`, as `final_folder` gives it: one of `audiojax towers`, or Re-AudioLDM's autoencoder
    or vocoder.

    Raises:
      UsageError: it is no run of a tower.
      AudiojaxError: its weights cannot be read.
    """
    model = load_export(folder)
    if model.config.paper not in ("towers", "re_audioldm"):
        raise UsageError(f"{shown(folder)}: holds a '{model.config.paper}' model; a tower that `audiojax towers` trained is needed")
    digest = model_digest(config_to_json(model.config), model.params, model.model_state)
    params, model_state = jax.device_put((model.params, model.model_state))
    config, origin = to_dict(model.config), {"source": folder, "digest": digest}
    if model.config.paper == "re_audioldm":
        return re_audioldm.open_tower(config, params, **origin)
    return towers.open_tower(config, params, model_state, Tokenizer.load(model.tokenizer), **origin)


def model_digest(config_text: str, *trees: Any) -> str:
    """Hash of a config and of the weights in some trees."""
    digest = hashlib.blake2b(config_text.encode(), digest_size=16)
    for leaf in jax.tree.leaves(trees):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
