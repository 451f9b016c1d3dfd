"""A converted checkpoint as a folder of our own: what `audiojax weights convert` writes.

<folder>/weights/    Orbax: the variables of the module
<folder>/files/      config.json, tokenizer and front-end settings as they lay beside the source
<folder>/card.json   kind, options, source and its SHA-256, licence, and which name of the file became which parameter
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import Mesh, Sharding, SingleDeviceSharding

from audiojax.errors import AudiojaxError, UsageError
from audiojax.files import shown
from audiojax.pretrained import parts, rules
from audiojax.pretrained.kinds import Checkpoint
from audiojax.pretrained.load import KINDS, Blueprint, draw, find_kind, look_at, read
from audiojax.pretrained.reading import open_weights
from audiojax.towers.base import Tower

CARD_KIND = "audiojax tower"
FORMAT = 1
SMALL_FILES = (".json", ".txt", ".model", ".md")
LARGEST_SMALL_FILE = 64 * 2**20  # bytes; a vocabulary has a few MB
LARGEST_EXTRA = 2**16  # characters


@dataclass(frozen=True)
class Card:
    """What a converted folder says of itself.

    Attributes:
      tower: name of the kind.
      options: that it was converted with.
      facts, shapes, extra: as in `Checkpoint`.
      report: as in `rules.Report`.
      source: the name or path that was given.
      sha256: of the weight file.
      licence: of the weights, None where nothing states it.
      dtype: of the stored parameters.
    """

    tower: str
    options: Mapping[str, Any]
    facts: Mapping[str, Any]
    shapes: Mapping[str, list[int]]
    extra: Mapping[str, Any]
    report: Mapping[str, Any]
    source: str
    sha256: str
    licence: str | None
    dtype: str


def convert(
    path: str | os.PathLike,
    folder: str | os.PathLike,
    *,
    part: str | None = None,
    param_dtype: str = "float32",
    source: str | None = None,
    licence: str | None = None,
    **options: Any,
) -> Path:
    """Writes the tower in a public checkpoint to a new `folder`, whole or not at all, and returns it.

    Args:
      path, part, options: as for `load_tower`.
      param_dtype: of the stored parameters.
      source: what to call the checkpoint; by default its path.

    Raises:
      UsageError, AudiojaxError: as `load_tower`; `folder` holds something already, or there is too little disk.
    """
    target = new_folder(folder)
    inner, inner_part = parts.folder_of(Path(path).expanduser(), part)
    with open_weights(inner) as weights:
        checkpoint, names = parts.select(inner, inner_part, look_at(inner, weights), weights)
        plan = draw(find_kind(inner, checkpoint), checkpoint, jnp.float32, jnp.dtype(param_dtype), options)
        need = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(plan.variables))
        check_disk(target, need)
        params, report = read(plan, weights, names, lambda _, array: np.array(array))
        extra = {key: value for key, value in checkpoint.extra.items() if _is_small(value)}
        shapes = {name: list(shape) for name, shape in checkpoint.shapes.items()}
        named = source or shown(Path(path).expanduser().absolute())
        card = Card(plan.name, options, checkpoint.facts, shapes, extra, asdict(report), named, weights.digest(), licence, param_dtype)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (partial / "files").mkdir(parents=True)
        for file in small_files(checkpoint.folder) if checkpoint.facts or inner.is_dir() else ():
            shutil.copyfile(file, partial / "files" / file.name)
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(partial / "weights", params)
        text = json.dumps({"kind": CARD_KIND, "format": FORMAT, **asdict(card)}, indent=1)
        (partial / "card.json").write_text(text + "\n", encoding="utf-8")
        os.replace(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return target


def is_converted(path: str | os.PathLike) -> bool:
    """Whether a folder was written by `convert`."""
    try:
        return json.loads((Path(path) / "card.json").read_text(encoding="utf-8")).get("kind") == CARD_KIND
    except (OSError, ValueError, AttributeError):
        return False


def open_converted(
    folder: str | os.PathLike,
    *,
    dtype: jnp.dtype = jnp.float32,
    param_dtype: jnp.dtype = jnp.float32,
    sharding: Sharding | Mesh | None = None,
) -> Tower:
    """The tower in a folder that `convert` wrote; parameters are read straight into their sharding, see `load_tower`.

    Raises:
      UsageError: no such folder, or one of a newer audiojax.
      AudiojaxError: its card or its weights are damaged.
    """
    folder = Path(folder).expanduser().absolute()
    card = read_card(folder)
    plan = _blueprint(folder, card, dtype, param_dtype)

    def target(key_path: Any, leaf: Any) -> jax.ShapeDtypeStruct:
        path = "/".join(str(key.key) for key in key_path[1:])  # without the collection
        where = SingleDeviceSharding(jax.local_devices()[0]) if sharding is None else sharding
        where = plan.sharding(path, leaf.shape, where) if isinstance(where, Mesh) else where
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)

    try:
        with ocp.StandardCheckpointer() as checkpointer:
            params = checkpointer.restore(folder / "weights", jax.tree_util.tree_map_with_path(target, plan.variables))
    except Exception as error:  # Orbax and tensorstore have many
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise AudiojaxError(f"{shown(folder / 'weights')} cannot be read: {reason}") from error
    return plan.tower(params, rules.Report(**card.report), Path(card.source), card.sha256)


def read_card(folder: Path) -> Card:
    """What a converted folder says of itself.

    Raises:
      UsageError: it is none, or of a newer format.
      AudiojaxError: its card is damaged.
    """
    if not is_converted(folder):
        raise UsageError(f"{shown(folder)}: was not written by `audiojax weights convert`")
    facts = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    if facts.pop("format", None) != FORMAT:
        raise UsageError(f"{shown(folder)} is of another format than this audiojax reads ({FORMAT}): update audiojax, or convert again")
    del facts["kind"]
    try:
        card = Card(**facts)
        KINDS[card.tower]
    except (TypeError, KeyError) as error:
        raise AudiojaxError(f"{shown(folder / 'card.json')} is damaged ({error}); convert again") from error
    return card


def small_files(folder: Path) -> list[Path]:
    """What lies beside the weights and is needed to use them, or read with them: configs, vocabularies, the model card."""
    found = [path for path in sorted(folder.iterdir()) if path.suffix in SMALL_FILES and path.is_file() and path.name[0] != "."]
    return [path for path in found if not path.name.endswith(".index.json") and path.stat().st_size <= LARGEST_SMALL_FILE]


def new_folder(folder: str | os.PathLike) -> Path:
    """The absolute path of a folder that is free to be written. UsageError where it is not."""
    target = Path(folder).expanduser().absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{shown(folder)}: holds something already; --out takes a new or empty folder")
    return target


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A new folder beside `target`, whose parent is made; what is written to it becomes `target`, whole or not at all.

    Raises:
      UsageError: the place cannot be written.
    """
    make_parent(target)
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as made:
            partial = Path(made) / target.name
            partial.mkdir()
            yield partial
            os.replace(partial, target)
    except OSError as error:
        raise UsageError(f"{shown(target)}: cannot be written ({error.strerror or error}); choose another place") from error


def make_parent(target: Path) -> None:
    """Makes the folder that `target` is to lie in. UsageError where it cannot be made."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{shown(target.parent)}: cannot be made ({error.strerror}); choose another place") from error


def check_disk(target: Path, need: int) -> None:
    """AudiojaxError where `need` bytes and a tenth more are not free for `target`, whose parent is made; UsageError where it cannot be."""
    make_parent(target)
    free = shutil.disk_usage(target.parent).free
    if free < 1.1 * need + 2**20:
        raise AudiojaxError(f"{shown(target)}: needs {1.1 * need / 2**20:.0f} MiB and {free / 2**20:.0f} MiB are free; free some disk")


def _blueprint(folder: Path, card: Card, dtype: jnp.dtype, param_dtype: jnp.dtype) -> Blueprint:
    shapes = {name: tuple(shape) for name, shape in card.shapes.items()}
    return draw(card.tower, Checkpoint(folder / "files", card.facts, shapes, card.extra), dtype, param_dtype, card.options)


def _is_small(value: Any) -> bool:
    """Whether a value fits in a card: settings do, the state of an optimiser does not."""
    try:
        return len(json.dumps(value)) < LARGEST_EXTRA
    except (TypeError, ValueError):
        return False
