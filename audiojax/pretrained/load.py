"""A public checkpoint as one of our towers: finds out what a file or folder holds, makes the module, and fills it. Offline.

A folder in the layout of transformers or diffusers says what it is in config.json; a bare file is known by its tensors' names, else by the
config.json beside it.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, Sharding

from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.partition import param_spec
from audiojax.pretrained import audiomae, beats, bert, clap, fluency, hifigan, laion_clap, llama, panns, parts, rules, t5, unet, vae
from audiojax.pretrained.kinds import ADAPTER, Checkpoint, Kind, Shapes
from audiojax.pretrained.reading import WeightFile, open_weights
from audiojax.towers.base import Tower
from audiojax.typing import Array

KINDS = {
    "clap": clap.KIND,
    "clap text": clap.TEXT_KIND,
    "laion clap": laion_clap.KIND,
    "panns": panns.KIND,
    "audiomae": audiomae.KIND,
    "beats": beats.KIND,
    "bert": bert.KIND,
    "fluency detector": fluency.KIND,
    "t5": t5.KIND,
    "llama": llama.KIND,
    "unet": unet.KIND,
    "original unet": unet.ORIGINAL,
    "vae": vae.KIND,
    "original vae": vae.ORIGINAL,
    "hifigan": hifigan.KIND,
    "original hifigan": hifigan.ORIGINAL,
}


@dataclass(frozen=True)
class Blueprint:
    """All that is known of a tower but its values.

    Attributes:
      name: of the kind, in `KINDS`.
      variables: abstract, for structure, shapes and dtypes.
    """

    name: str
    kind: Kind
    checkpoint: Checkpoint
    config: Any
    module: nn.Module
    variables: Mapping[str, Any]

    def tower(self, params: Mapping[str, Any], report: rules.Report, source: Path, digest: str) -> Tower:
        """The tower with these values."""
        fields = self.kind.fields(self.checkpoint, self.config) if self.kind.fields else {}
        return self.kind.tower(self.module, self.config, params, report, source, digest, **fields)

    def sharding(self, path: str, shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
        """Where a parameter lies on a mesh with the axes data, fsdp and tensor: by the family's rules, along fsdp where it has none."""
        return NamedSharding(mesh, param_spec(path, shape, self.kind.rules, mesh))


def load_tower(
    path: str | os.PathLike,
    *,
    part: str | None = None,
    dtype: jnp.dtype = jnp.float32,
    param_dtype: jnp.dtype = jnp.float32,
    sharding: Sharding | Mesh | None = None,
    **options: Any,
) -> Tower:
    """The tower in a file or folder: CLAP, PANNs, AudioMAE, BEATs, BERT, RoBERTa, T5's encoder, LLaMA, or a part of AudioLDM (2).

    Tensors are read one at a time, and go from the file to their devices, so that no more than one is held beside those that are placed.

    Args:
      path: a folder with config.json and weights, or a bare file.
      part: which model of a pipeline's folder ("unet", "vae", "vocoder", ...) or of AudioLDM's .ckpt, which hold several; of a .ckpt
        "unet_ema" is the U-Net with the running averages of its weights.
      dtype: of the computation.
      param_dtype: of the parameters.
      sharding: of every parameter, or a mesh (see `Blueprint.sharding`); by default all lie on the first device.
      options: what the kind of checkpoint lets one choose, see `Kind.options`.

    Raises:
      UsageError: nothing there, a kind that is not known, or an option that it does not have.
      AudiojaxError: damaged or refused weights, or weights that do not fit the model.
    """
    path, part = parts.folder_of(Path(path).expanduser(), part)
    with open_weights(path) as weights:
        checkpoint, names = parts.select(path, part, look_at(path, weights), weights)
        plan = draw(find_kind(path, checkpoint), checkpoint, dtype, param_dtype, options)
        params, report = read(plan, weights, names, placer(plan, sharding))
        return plan.tower(params, report, weights.source, weights.digest())


def draw(name: str, checkpoint: Checkpoint, dtype: jnp.dtype, param_dtype: jnp.dtype, options: Mapping[str, Any]) -> Blueprint:
    """The blueprint of a checkpoint of the kind `name`.

    Raises:
      UsageError: an option that the kind does not have, or sizes that make no model.
    """
    kind = KINDS[name]
    if unknown := sorted(options.keys() - set(kind.options)):
        known = f"it has {', '.join(kind.options)}" if kind.options else "it has none"
        raise UsageError(f"{shown(checkpoint.folder)}: this kind of checkpoint has no option '{unknown[0]}'; {known}")
    config = kind.config(checkpoint, **options)
    module = kind.module(config, dtype=dtype, param_dtype=param_dtype)
    check_depth(config, checkpoint)
    try:
        variables = jax.eval_shape(lambda: module.init(jax.random.key(0), *kind.example(config), train=False))
    except (
        ValueError,
        TypeError,
        ZeroDivisionError,
    ) as error:  # sizes that do not go together, such as a width that the heads do not divide
        raise UsageError(f"{shown(checkpoint.folder)}: its sizes make no model ({str(error).splitlines()[0]})") from error
    return Blueprint(name, kind, checkpoint, config, module, variables)


def read(
    plan: Blueprint, weights: WeightFile, names: Mapping[str, str], place: Callable[[str, np.ndarray], Any]
) -> tuple[Mapping[str, Any], rules.Report]:
    """The values of a blueprint, each placed as soon as it is read, and the report.

    Args:
      names: of this part -> in the file.

    Raises:
      ConversionError: the file does not fit; names the config.json that it was held against.
    """

    def put(path: str, array: np.ndarray) -> Any:
        placed = place(path, array)
        weights.forget()
        return placed

    family = plan.kind.family(plan.config)
    try:
        params, report = rules.load(plan.checkpoint.shapes, lambda name: weights[names[name]], plan.variables, family, put)
    except rules.ConversionError as error:
        held = f"{shown(plan.checkpoint.folder / 'config.json')}: " if plan.checkpoint.facts else ""
        raise rules.ConversionError(f"{held}{error}") from error
    return params, replace(report, used={path: names[name] for path, name in report.used.items()})


def placer(plan: Blueprint, sharding: Sharding | Mesh | None) -> Callable[[str, np.ndarray], Array]:
    """(path, values) -> array on its devices; every process keeps the rows that lie on its own."""
    if sharding is None:
        return lambda _, array: jnp.array(array)  # a copy: the file may be closed, or changed

    def place(path: str, array: np.ndarray) -> Array:
        where = plan.sharding(path, array.shape, sharding) if isinstance(sharding, Mesh) else sharding
        return jax.make_array_from_callback(array.shape, where, lambda index: array[index])

    return place


def look_at(path: Path, weights: WeightFile) -> Checkpoint:
    """What can be seen of a file or folder; of a file that its tensors' names tell all about no config.json, which may be another model's.

    Raises:
      UsageError: its config.json cannot be read.
    """
    folder = path if path.is_dir() else path.parent
    file = folder / "config.json"
    facts, shapes = {}, weights.shapes()
    if file.is_file() and not (path.is_file() and (recognised(shapes) or parts.parts_in(shapes))):
        try:
            facts = json.loads(file.read_text(encoding="utf-8"))
            if "architecture" in facts:  # timm's names one of its networks and no sizes: the tensors say more
                facts = {}
            else:
                type_of(facts)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UsageError(f"{shown(file)}: is no config of transformers or diffusers (no model_type can be read)") from error
    extra = weights.extra if weights.format.startswith("torch") else {key: _value(text) for key, text in weights.extra.items()}
    return Checkpoint(folder, facts, shapes, extra, weights.source.name)


def recognised(shapes: Shapes) -> str | None:
    """The name of the kind whose bare files have tensors of these names and shapes."""
    return next((name for name, kind in KINDS.items() if kind.recognise and kind.recognise(shapes)), None)


def _value(text: Any) -> Any:
    """What the metadata of a safetensors file say: JSON, or text as it is."""
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return text


def type_of(facts: dict[str, Any]) -> Any:
    """What config.json calls the model."""
    return facts["model_type"] if "model_type" in facts else facts["_class_name"]


def find_kind(path: Path, checkpoint: Checkpoint) -> str:
    """The name of the kind of a checkpoint.

    Raises:
      UsageError: it is not known.
    """
    if checkpoint.facts:
        model = type_of(checkpoint.facts)
        for name, kind in KINDS.items():
            if model in kind.types:
                return name
        known = ", ".join(sorted(name for kind in KINDS.values() for name in kind.types))
        raise UsageError(f"{shown(checkpoint.folder / 'config.json')}: models of type {model!a:.80} are not known; there are {known}")
    if name := recognised(checkpoint.shapes):
        return name
    if (checkpoint.folder / ADAPTER).is_file():
        raise UsageError(f"{shown(path)}: holds an adapter and no model: load_pretrained(LLAMA, adapter={shown(path)!r}) opens both")
    raise UsageError(f"{shown(path)}: no config.json, and its tensors' names are not known: give the folder that the model came in")


def check_depth(config: Any, checkpoint: Checkpoint) -> None:
    """A model of a million layers would take hours to trace, and it can be seen at once that the file has not as many tensors."""
    layers, tensors = getattr(config, "layers", 0), len(checkpoint.shapes)
    if layers > tensors:
        told = f"{shown(checkpoint.folder)}: its config speaks of {layers} layers, and the file has {tensors} tensors"
        raise UsageError(f"{told}: they do not belong together")
