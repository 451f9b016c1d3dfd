"""Public weights: open them in one call, see what they are, keep them as Orbax."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from jax.sharding import Mesh, Sharding
from rich.console import Console

from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.pretrained import hub, store
from audiojax.pretrained.catalog import CATALOG, licence_by_name
from audiojax.pretrained.llama_lora import add_adapter
from audiojax.pretrained.load import KINDS, draw, find_kind, load_tower, look_at
from audiojax.pretrained.parts import folder_of, select
from audiojax.pretrained.reading import open_weights
from audiojax.pretrained.rules import plan
from audiojax.towers.base import Tower
from audiojax.towers.llama import LlamaTower

DTYPES = ("float32", "bfloat16", "float16")


def load_pretrained(
    name: str | os.PathLike,
    *,
    part: str | None = None,
    adapter: str | os.PathLike | None = None,
    dtype: str = "float32",
    param_dtype: str | None = None,
    sharding: Sharding | Mesh | None = None,
    download: bool = False,
    revision: str | None = None,
    progress: bool = True,
    **options: Any,
) -> Tower:
    """A public checkpoint as a tower: module, weights, and methods named after its task.

        clap = audiojax.load_pretrained("laion/clap-htsat-unfused")
        clap.embed_text(["rain on a roof"]) @ clap.embed_audio(waveform, 44_100).T

    Args:
      name: a folder or file in a public layout, a folder that `audiojax weights convert` wrote, or a name on the Hugging Face hub, which is
        looked for in the local hub cache.
      part: which model of a pipeline: "unet", "vae", "vocoder" or "text_encoder" of AudioLDM; "unet_ema" where its .ckpt keeps averages.
      adapter: folder, or name on the hub, of a LoRA adapter of peft, which a LLaMA then has beside its weights.
      dtype: of the computation: "float32", "bfloat16" or "float16".
      param_dtype: of the weights; `dtype` by default.
      sharding: of every weight, or a mesh with the axes data, fsdp and tensor, on which the family's rules lay them out; by default all are
        on the first device, where an adapter's always are. Each tensor goes from the file straight to its place.
      download: whether a name that is not in the cache may be fetched, the adapter's too.
      revision: of the hub's repository.
      progress: say on stderr what was loaded, and under which licence.
      options: of the kind of checkpoint, such as heads="diffusers" of a U-Net.

    Raises:
      UsageError: nothing of that name, a kind that is not known, an option that it does not have.
      AudiojaxError: damaged or refused weights, or weights that do not fit their config, or an adapter that does not fit the model.
    """
    types = {"dtype": _dtype("dtype", dtype), "param_dtype": _dtype("param_dtype", param_dtype or dtype)}
    path = hub.find_checkpoint(name, download=download, revision=revision)
    added = None if adapter is None else hub.find_checkpoint(adapter, download=download)
    if store.is_converted(path):
        if part is not None or options:
            given = "part" if part is not None else next(iter(options))
            raise UsageError(f"{shown(path)}: '{given}' was chosen when it was converted; leave it out")
        tower, licence = store.open_converted(path, sharding=sharding, **types), store.read_card(path).licence
    else:
        tower = load_tower(path, part=part, sharding=sharding, **types, **options)
        licence = licence_of(name, path)
    if added is not None:
        if not isinstance(tower, LlamaTower):
            raise UsageError(f"{shown(path)}: an adapter goes with a LLaMA, and this is none: leave out adapter={shown(adapter)}")
        tower = add_adapter(tower, added)
    said = f"{shown(name)}: {tower.report.summary()}; licence: {licence or 'not stated'}"
    Console(stderr=True, quiet=not progress).print(said, soft_wrap=True, highlight=False, markup=False)
    return tower


def convert(
    name: str | os.PathLike,
    out: str | os.PathLike,
    *,
    part: str | None = None,
    dtype: str = "float32",
    download: bool = False,
    revision: str | None = None,
    **options: Any,
) -> Path:
    """Writes a public checkpoint as Orbax, with its config, tokenizer, source hash and licence, to a folder that `load_pretrained` opens.

    Args as for `load_pretrained`; `dtype` is that of the stored weights.

    Raises:
      UsageError, AudiojaxError: as `load_pretrained`; `out` holds something already; too little disk.
    """
    _dtype("dtype", dtype)
    path = hub.find_checkpoint(name, download=download, revision=revision)
    if store.is_converted(path):
        raise UsageError(f"{shown(path)}: is converted already")
    source = shown(name) if hub.is_hub_name(str(name)) and not Path(name).expanduser().exists() else None
    return store.convert(path, out, part=part, param_dtype=dtype, source=source, licence=licence_of(name, path), **options)


def fetch(name: str) -> tuple[Path, str | None]:
    """Downloads a repository of the Hugging Face hub into its local cache, where every command finds it by its name.

    Of each folder one form of the weights comes, and the small files. Returns where it lies, and its licence.

    Raises:
      UsageError: a path, or the hub has no such repository or does not give it out.
      AudiojaxError: the download failed, or a file is not what the hub says it is.
    """
    if Path(name).expanduser().exists():
        raise UsageError(f"{shown(name)}: is here already, and is no name on the hub")
    path = hub.find_checkpoint(name, download=True)
    return path, licence_of(name, path)


@dataclass(frozen=True)
class Found:
    """What a checkpoint is, without its values being read.

    Attributes:
      tower: name of the kind.
      config: sizes of the module.
      parameters: numbers that the module has.
      tensors: name in the file -> (shape, name of the dtype).
      ignored: names in the file that the tower does not need.
      form: of the file: "safetensors", "torch zip", ...
      sha256: of the file, None unless it was asked for.
    """

    source: Path
    form: str
    tower: str
    config: Any
    parameters: int
    tensors: Mapping[str, tuple[tuple[int, ...], str]]
    ignored: tuple[str, ...]
    licence: str | None
    sha256: str | None


def inspect(name: str | os.PathLike, *, part: str | None = None, digest: bool = False, **options: Any) -> Found:
    """What a checkpoint is: its kind, sizes and tensors, and whether they fit together.

    Raises:
      UsageError, AudiojaxError: as `load_pretrained`.
    """
    given = hub.find_checkpoint(name)
    if store.is_converted(given):
        raise UsageError(f"{shown(given)}: is converted already; its card.json says what it is")
    path, inner_part = folder_of(given, part)
    with open_weights(path) as weights:
        checkpoint, names = select(path, inner_part, look_at(path, weights), weights)
        found = draw(find_kind(path, checkpoint), checkpoint, jnp.float32, jnp.float32, options)
        _, report = plan(checkpoint.shapes, found.variables, found.kind.family(found.config))
        dtypes = weights.dtypes()
        tensors = {names[key]: (shape, str(dtypes[names[key]])) for key, shape in checkpoint.shapes.items()}
        ignored = tuple(names[key] for key in report.ignored)
        facts = (weights.source, weights.format, found.name, found.config, report.parameters, tensors, ignored, licence_of(name, path))
        return Found(*facts, weights.digest() if digest else None)


def licence_of(name: str | os.PathLike, path: Path) -> str | None:
    """The licence that the model card beside the weights names, else the one that the catalog knows."""
    return hub.licence_of(path) or licence_by_name(str(name))


def cached(name: str) -> Path | None:
    """Where the local hub cache has a repository, or None."""
    try:
        return hub.find_checkpoint(name)
    except UsageError:
        return None


def _dtype(argument: str, name: str) -> Any:
    text = name if isinstance(name, str) else jnp.dtype(name).name
    if text not in DTYPES:
        raise UsageError(f"{argument} is '{text}'; it takes one of {', '.join(DTYPES)}")
    return jnp.dtype(text)


__all__ = ["CATALOG", "KINDS", "Found", "cached", "convert", "fetch", "inspect", "load_pretrained"]
