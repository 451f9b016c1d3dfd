"""The weights that a run starts from: towers of public checkpoints, or of other runs, in the places that its paper has for them.

The config's section `init` names them, {"audio": "Cnn14_mAP=0.431.pth", "text": "google-bert/bert-base-uncased"}; "" starts from random
weights. They are trained on like all others, so a finished run needs them no more. `init.start` names a finished run of the same paper
instead, whose whole model the new run goes on from: weak captions first, then good ones.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audiojax.api.opening import final_folder, model_digest, open_tower_run
from audiojax.api.weights import load_pretrained
from audiojax.config import config_to_json
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.papers.task import Paper
from audiojax.partition import flat_paths, from_paths
from audiojax.pretrained import hub, store
from audiojax.towers.base import Tower
from audiojax.trainer.export import load_export

HEADS = r"^(fc1|fc_audioset|pooler|head)/"  # of a tower, which a paper that has its own leaves out
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json")


@dataclass(frozen=True)
class Start:
    """What a run begins with.

    Attributes:
      params: some of its parameters.
      model_state: some of its statistics.
      card: name in the config -> source and hash of the weights.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    model_state: Mapping[str, Any] = field(default_factory=dict)
    card: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def start_of(paper: Paper, config: Mapping[str, Any], abstract: Mapping[str, Any], progress: bool = True) -> Start:
    """The towers that the config names, or the run that it goes on from, laid into the tree of the paper.

    Args:
      abstract: {"params": ..., "model_state": ...} of the first phase, for its paths and shapes.

    Raises:
      UsageError: a name that opens nothing, a tower of another kind, size or sample rate than the model has, a run of another paper.
    """
    named = {key: name for key, name in config.get("init", {}).items() if name}
    if "start" in named:
        return _whole_run(named["start"], config, abstract)
    params, state, card = {}, {}, {}
    for key, name in named.items():
        if key not in paper.slots:
            raise UsageError(f"config key 'init.{key}': this paper has {', '.join(f'init.{slot}' for slot in paper.slots) or 'none'}")
        tower, slot = _tower(name, progress), paper.slots[key]
        rate = getattr(getattr(tower, "mel", None), "sample_rate", config["data"]["sample_rate"])
        if rate != config["data"]["sample_rate"]:
            raise UsageError(f"init.{key}: {shown(name)} hears {rate} Hz, and data.sample_rate is {config['data']['sample_rate']}")
        params |= _tower_leaves(key, name, slot.params, _part(tower.params["params"], slot.part), abstract["params"])
        if slot.state:
            collection = slot.state.partition("/")[0]
            statistics = _part(tower.params.get(collection, {}), slot.part)
            state |= _tower_leaves(key, name, slot.state, statistics, abstract["model_state"])
        card[key] = {"source": shown(tower.source), "digest": tower.digest}
    return Start(from_paths(params), from_paths(state), card)


def tokenizer_folder(config: Mapping[str, Any]) -> Path | None:
    """The folder of the tokenizer that belongs to the run or the text tower which the config starts from, if there is one."""
    init = config.get("init", {})
    name = init.get("start") or init.get("text")
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


def _whole_run(name: str, config: Mapping[str, Any], abstract: Mapping[str, Any]) -> Start:
    """Everything that a finished run of the same paper holds."""
    folder = final_folder(name)
    model = load_export(folder)
    if model.config.paper != config["paper"]:
        raise UsageError(f"init.start: {shown(name)} holds a '{model.config.paper}' model, and this config trains '{config['paper']}'")
    hint = "give the sizes in config.model that it has, and in config.phases those that follow its last one, or that again"
    params, state = (
        _fitting("start", name, flat_paths(abstract[part]), flat_paths(tree), hint)
        for part, tree in (("params", model.params), ("model_state", model.model_state))
    )
    digest = model_digest(config_to_json(model.config), model.params, model.model_state)
    return Start(from_paths(params), from_paths(state), {"start": {"source": shown(folder), "digest": digest}})


def _tower_leaves(key: str, name: str, place: str, tower: Mapping[str, Any], whole: Mapping[str, Any]) -> dict[str, Any]:
    """path in the paper's tree -> values, for every leaf below `place`."""
    wanted = {path: leaf for path, leaf in flat_paths(whole).items() if path.startswith(f"{place}/")}
    given = {f"{place}/{path}": leaf for path, leaf in flat_paths(tower).items() if not re.match(HEADS, path)}
    return _fitting(key, name, wanted, given, "choose another checkpoint, or other sizes in config.model")


def _fitting(key: str, name: str, wanted: Mapping[str, Any], given: Mapping[str, Any], hint: str) -> dict[str, Any]:
    """`given`, which has the paths and shapes of `wanted`."""
    differing = [path for path in wanted.keys() | given.keys() if _shape(wanted.get(path)) != _shape(given.get(path))]
    if differing:
        path = min(differing)
        theirs, ours = (_shape(leaves.get(path)) or "nothing" for leaves in (given, wanted))
        raise UsageError(
            f"init.{key}: {shown(name)} does not fit the model: {len(differing)} parameters differ, such as {path}, where it has {theirs}"
            f" and the model {ours}; {hint}"
        )
    return dict(given)


def _shape(leaf: Any) -> tuple[int, ...] | None:
    return None if leaf is None else tuple(leaf.shape)
