"""The weights that a run starts from: towers of public checkpoints, or of other runs, in the places that its paper has for them.

The config's section `init` names them, {"audio": "Cnn14_mAP=0.431.pth", "text": "google-bert/bert-base-uncased"}; "" starts from random
weights. They are trained on like all others, so a finished run needs them no more. `init.start` names a finished run of the same paper
instead, whose whole model the new run goes on from: weak captions first, then good ones. What that run has no branch for, a decoder on a
bridge, comes from the other names, or is new.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from audiojax.api.opening import final_folder, model_digest, open_tower_run
from audiojax.api.outside import lasting_name, whole
from audiojax.api.weights import load_pretrained
from audiojax.config import config_to_json, to_dict
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.papers.task import Paper, Slot
from audiojax.partition import flat_paths, from_paths
from audiojax.pretrained import hub, store
from audiojax.pretrained.parts import PIPELINE
from audiojax.text.tokenizer import has_vocabulary
from audiojax.towers.base import Tower
from audiojax.trainer.export import load_export
from audiojax.trainer.layout import make_layout

HEADS = r"^(fc1|fc_audioset|pooler|head)/"  # of a tower, which a paper that has its own leaves out


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


def start_of(
    paper: Paper,
    config: Mapping[str, Any],
    abstract: Mapping[str, Any],
    progress: bool = True,
    later: Sequence[Mapping[str, Any]] = (),
) -> Start:
    """The towers that the config names, or the run that it goes on from, laid into the tree of the paper.

    Args:
      abstract: {"params": ..., "model_state": ...} of the first phase, for its paths and shapes.
      later: the same of the phases after it, which may have places for further towers.

    Raises:
      UsageError: a name that opens nothing, a tower of another kind, size or sample rate than the model has, a run of another paper.
    """
    named = {key: name for key, name in config.get("init", {}).items() if name}
    begun = _whole_run(named.pop("start"), paper, config, abstract) if "start" in named else Start()
    params, state, card = flat_paths(begun.params), flat_paths(begun.model_state), dict(begun.card)
    abstract = {part: _merged([tree[part] for tree in (abstract, *later)]) for part in abstract}
    for key, name in named.items():
        if key not in paper.slots:
            raise UsageError(f"config key 'init.{key}': this paper has {', '.join(f'init.{slot}' for slot in paper.slots) or 'none'}")
        slot = paper.slots[key]
        wanted = _below(slot.params, abstract["params"])
        if not wanted or _below(slot.params, begun.params):
            continue  # no phase of this config has a place for it, or the run that it goes on from has filled it
        tower = _outside(name, wanted, config, progress) if key in paper.outside(config) else _tower(name, slot, config, progress)
        rate = getattr(getattr(tower, "mel", None), "sample_rate", config["data"]["sample_rate"])
        hears = not slot.state or _below(slot.state, abstract["model_state"])  # and is no text half alone
        if hears and rate != config["data"]["sample_rate"]:
            raise UsageError(f"init.{key}: {shown(name)} hears {rate} Hz, and data.sample_rate is {config['data']['sample_rate']}")
        params |= _tower_leaves(key, name, slot, slot.params, _part(tower.params["params"], slot.part), abstract["params"])
        if slot.state:
            collection = slot.state.partition("/")[0]
            statistics = _part(tower.params.get(collection, {}), slot.part)
            state |= _tower_leaves(key, name, slot, slot.state, statistics, abstract["model_state"])
        card[key] = {"source": shown(tower.source), "digest": tower.digest}
        if key in paper.outside(config):
            card[key] |= {"name": lasting_name(name), "dtype": next(iter(wanted.values())).dtype.name}
    if left := [key for key in paper.outside(config) if "name" not in card.get(key, {})]:
        raise UsageError(
            f"init.start: {shown(config['init']['start'])} holds the weights of '{left[0]}' itself, and this config leaves them in a"
            f" folder: set model.{left[0]}_stored to 'run'"
        )
    return Start(from_paths(params), from_paths(state), card)


def without(start: Start, names: Sequence[str]) -> Start:
    """The start without the towers of some names."""
    kept = {name: tree for name, tree in start.params.items() if name not in names}
    return replace(start, params=kept, card={name: facts for name, facts in start.card.items() if name not in names})


def tokenizer_folder(config: Mapping[str, Any]) -> Path | None:
    """The folder of the tokenizer that belongs to the run or the text tower which the config starts from, if there is one."""
    init = config.get("init", {})
    name = init.get("start") or init.get("text") or init.get("clap")
    return tokenizer_beside(name) if name else None


def tokenizer_beside(name: str) -> Path | None:
    """The folder of the tokenizer of a run or of a public checkpoint, if it has one."""
    path = hub.find_checkpoint(name)
    if is_run(path):
        return final_folder(path) / "tokenizer"
    if (path / PIPELINE).is_file():
        return path / "tokenizer"
    folder = path / "files" if store.is_converted(path) else path
    return folder if has_vocabulary(folder) else None


def is_run(path: str | os.PathLike) -> bool:
    """Whether a folder is a run of ours, finished or not, or its exported model."""
    path = Path(path).expanduser()
    return (path / "metrics.csv").is_file() or (path / "final").is_dir() or (path / "weights").is_dir() and not store.is_converted(path)


def _tower(name: str, slot: Slot, config: Mapping[str, Any], progress: bool) -> Tower:
    """A public checkpoint, a run of a tower, or a run of the same paper, of which the branch at the slot's own place is taken."""
    if not is_run(name):
        path = hub.find_checkpoint(name)
        several = slot.model and ((path / PIPELINE).is_file() or path.suffix == ".ckpt")
        return load_pretrained(name, part=slot.model if several else None, progress=progress)
    folder = final_folder(name)
    model = load_export(folder)
    if model.config.paper != config["paper"]:
        return open_tower_run(folder)
    collection, _, place = slot.state.partition("/")
    trees = {"params": _part(model.params, slot.params), **({collection: _part(model.model_state, slot.state)} if place else {})}
    if not trees["params"]:
        raise UsageError(f"{shown(name)}: this run has trained '{model.card.get('task')}', and holds no '{slot.params}'; name another")
    whole_tree = {name: _nested(slot.part, tree) for name, tree in trees.items()}
    digest = model_digest(config_to_json(model.config), model.params, model.model_state)
    return Tower(None, None, whole_tree, None, folder, digest)


def _nested(path: str, tree: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in reversed(list(filter(None, path.split("/")))):
        tree = {name: tree}
    return tree


def _outside(name: str, wanted: Mapping[str, Any], config: Mapping[str, Any], progress: bool) -> Tower:
    """A tower as large as a machine: its weights go straight to their devices, in the type that the model stores them in."""
    if is_run(name):
        raise UsageError(f"{shown(name)}: is a run of a tower; what stays outside of a run is a public checkpoint in a folder of its own")
    dtype = next(iter(wanted.values())).dtype.name
    return load_pretrained(name, dtype=dtype, sharding=_mesh(config), progress=progress)


def _mesh(config: Mapping[str, Any]) -> Mesh | None:
    return make_layout(config["parallel"], config["mesh"]).mesh if config["parallel"] == "mesh" else None


def _part(tree: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    for name in filter(None, path.split("/")):
        tree = tree.get(name, {})
    return tree


def _whole_run(name: str, paper: Paper, config: Mapping[str, Any], abstract: Mapping[str, Any]) -> Start:
    """Everything that a finished run of the same paper holds; what its phases do not have at all, later ones add.

    Towers that the run has not changed, since it stored what they make, keep their names and hashes.
    """
    folder = final_folder(name)
    model = whole(load_export(folder), name, _mesh(config))
    if model.config.paper != config["paper"]:
        raise UsageError(f"init.start: {shown(name)} holds a '{model.config.paper}' model, and this config trains '{config['paper']}'")
    paper.continues(config, to_dict(model.config))
    hint = "give the sizes in config.model that it has, and in config.phases those that follow its last one, or that again"
    params, state = (
        _fitting("start", name, flat_paths({top: below for top, below in abstract[part].items() if top in tree}), flat_paths(tree), hint)
        for part, tree in (("params", model.params), ("model_state", model.model_state))
    )
    digest = model_digest(config_to_json(model.config), model.params, model.model_state)
    kept = model.card.get("started from", {}) if model.config.data.get("states") else {}
    card = {**kept, "start": {"source": shown(folder), "digest": digest}, **model.card.get("outside", {})}
    return Start(from_paths(params), from_paths(state), card)


def _tower_leaves(key: str, name: str, slot: Slot, place: str, tower: Mapping[str, Any], whole: Mapping[str, Any]) -> dict[str, Any]:
    """path in the paper's tree -> values, for every leaf below `place` that the tower has."""
    wanted = _below(place, whole)
    tower = slot.fit(tower, _part(whole, place))
    placed = {f"{place}/{path}": leaf for path, leaf in flat_paths(tower).items()}
    given = {path: leaf for path, leaf in placed.items() if path in wanted or not re.match(HEADS, path.removeprefix(f"{place}/"))}
    if slot.partial and given:
        wanted = {path: leaf for path, leaf in wanted.items() if path in given}
    return _fitting(key, name, wanted, given, "choose another checkpoint, or other sizes in config.model")


def _merged(trees: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One tree with the leaves of all."""
    return from_paths({path: leaf for tree in trees for path, leaf in flat_paths(tree).items()})


def _below(place: str, tree: Mapping[str, Any]) -> dict[str, Any]:
    """path -> leaf of what lies below a path of a tree."""
    return {path: leaf for path, leaf in flat_paths(tree).items() if path.startswith(f"{place}/")}


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
