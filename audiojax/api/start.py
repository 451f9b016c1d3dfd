"""The weights that a run starts from: towers of public checkpoints, or of other runs, in the places that its paper has for them.

The config's section `init` names them, {"audio": "Cnn14_mAP=0.431.pth", "text": "google-bert/bert-base-uncased"}; "" starts from random
weights. They are trained on like all others, so a finished run needs them no more.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audiojax.api.opening import final_folder, open_tower_run
from audiojax.api.weights import load_pretrained
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.papers.task import Paper
from audiojax.partition import flat_paths, from_paths
from audiojax.pretrained import hub, store
from audiojax.towers.base import Tower

HEADS = r"^(fc1|fc_audioset|pooler|head)/"  # of a tower, which a paper that has its own leaves out
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json")


@dataclass(frozen=True)
class Start:
    """What a run begins with.

    Attributes:
      params: some of its parameters.
      model_state: all of its statistics, or None for fresh ones.
      card: name in the config -> source and hash of the weights.
    """

    params: Mapping[str, Any] | None = None
    model_state: Mapping[str, Any] | None = None
    card: Mapping[str, Mapping[str, str]] | None = None


def start_of(paper: Paper, config: Mapping[str, Any], abstract: Mapping[str, Any], progress: bool = True) -> Start:
    """The towers that the config names, laid into the tree of the paper.

    Args:
      abstract: {"params": ..., "model_state": ...} of the first phase, for its paths and shapes.

    Raises:
      UsageError: a name that opens nothing, a tower of another kind, size or sample rate than the model has.
    """
    named = {key: name for key, name in config.get("init", {}).items() if name}
    if not named:
        return Start()
    params, state, card = {}, {}, {}
    for key, name in named.items():
        if key not in paper.slots:
            raise UsageError(f"config key 'init.{key}': this paper has {', '.join(f'init.{slot}' for slot in paper.slots) or 'none'}")
        tower, slot = _tower(name, progress), paper.slots[key]
        rate = getattr(getattr(tower, "mel", None), "sample_rate", config["data"]["sample_rate"])
        if rate != config["data"]["sample_rate"]:
            raise UsageError(f"init.{key}: {shown(name)} hears {rate} Hz, and data.sample_rate is {config['data']['sample_rate']}")
        params |= _fitting(key, name, slot.params, _part(tower.params["params"], slot.part), abstract["params"])
        if slot.state:
            collection = slot.state.partition("/")[0]
            statistics = _part(tower.params.get(collection, {}), slot.part)
            state |= _fitting(key, name, slot.state, statistics, abstract["model_state"])
        card[key] = {"source": shown(tower.source), "digest": tower.digest}
    complete = state.keys() == flat_paths(abstract["model_state"]).keys()
    return Start(from_paths(params), from_paths(state) if state and complete else None, card)


def tokenizer_folder(config: Mapping[str, Any]) -> Path | None:
    """The folder of the tokenizer that belongs to the text tower which the config starts from, if there is one."""
    name = config.get("init", {}).get("text")
    if not name:
        return None
    path = hub.find_checkpoint(name)
    if is_run(path):
        return final_folder(path) / "tokenizer"
    folder = path / "files" if store.is_converted(path) else path
    return folder if any((folder / file).is_file() for file in TOKENIZER_FILES) else None


def is_run(path: str | os.PathLike) -> bool:
    """Whether a folder is a run of ours, finished or not, or its exported model."""
    path = Path(path).expanduser()
    return (path / "metrics.csv").is_file() or (path / "final").is_dir() or (path / "weights").is_dir() and not store.is_converted(path)


def _tower(name: str, progress: bool) -> Tower:
    return open_tower_run(final_folder(name)) if is_run(name) else load_pretrained(name, progress=progress)


def _part(tree: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    for name in filter(None, path.split("/")):
        tree = tree.get(name, {})
    return tree


def _fitting(key: str, name: str, place: str, tower: Mapping[str, Any], whole: Mapping[str, Any]) -> dict[str, Any]:
    """path in the paper's tree -> values, for every leaf below `place`."""
    wanted = {path: leaf for path, leaf in flat_paths(whole).items() if path.startswith(f"{place}/")}
    given = {f"{place}/{path}": leaf for path, leaf in flat_paths(tower).items() if not re.match(HEADS, path)}
    differing = [path for path in wanted.keys() | given.keys() if _shape(wanted.get(path)) != _shape(given.get(path))]
    if differing:
        path = min(differing)
        theirs, ours = (_shape(leaves.get(path)) or "nothing" for leaves in (given, wanted))
        raise UsageError(
            f"init.{key}: {shown(name)} does not fit the model: {len(differing)} parameters differ, such as {path}, where it has {theirs}"
            f" and the model {ours}; choose another checkpoint, or other sizes in config.model"
        )
    return given


def _shape(leaf: Any) -> tuple[int, ...] | None:
    return None if leaf is None else tuple(leaf.shape)
