"""Checkpoints that hold several models: a pipeline's folder in the layout of diffusers, and AudioLDM's `.ckpt` files."""

import json
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.pretrained.kinds import Checkpoint
from audiojax.pretrained.reading import WeightFile

PREFIXES = {
    "unet": "model.diffusion_model.",
    "vae": "first_stage_model.",
    "vocoder": "first_stage_model.vocoder.",
    "text_encoder": "cond_stage_model.model.",
}
AVERAGED = "unet_ema"  # the U-Net with the running averages of its weights, where training kept them beside the weights
AVERAGES = "model_ema."  # before names of which "model." is left out and all dots are
PIPELINE = "model_index.json"


def folder_of(path: Path, part: str | None) -> tuple[Path, str | None]:
    """The folder of a part of a pipeline, and None; where `path` is no pipeline, `path` itself with the part that is still to be chosen.

    Raises:
      UsageError: a pipeline without a `part`, or without this one.
    """
    if not (path / PIPELINE).is_file():
        return path, part
    _check(path, part, [name for name in _listed(path / PIPELINE) if (path / name / "config.json").is_file()])
    return path / part, None


def parts_in(names: Iterable[str]) -> list[str]:
    """The models whose tensors have these names in a file of several; none where it is a file of one."""
    names = list(names)
    return [part for part, prefix in PREFIXES.items() if any(name.startswith(prefix) for name in names)]


def select(path: Path, part: str | None, checkpoint: Checkpoint, weights: WeightFile) -> tuple[Checkpoint, dict[str, str]]:
    """(one part of a file, its names without the part's prefix, each with the name in the file); a file of one model is that part.

    Raises:
      UsageError: a file of several models without a `part`, or without this one; a `part` of what has none; averages that lack a weight.
    """
    shapes = checkpoint.shapes
    found = parts_in(shapes)
    if not found:
        if part is not None:
            raise UsageError(f"{shown(path)} holds one model: leave out part={part!a:.80}")
        return checkpoint, {name: name for name in shapes}
    averaged = [AVERAGED] if "unet" in found and any(name.startswith(AVERAGES) for name in shapes) else []
    _check(path, part, found + averaged)
    prefix, extra = PREFIXES["unet" if part == AVERAGED else part], dict(checkpoint.extra)
    if shapes.get("scale_factor") == () and math.isfinite(factor := float(weights["scale_factor"])):
        extra["scale_factor"] = factor
    names = {name.removeprefix(prefix): name for name in shapes if name.startswith(prefix)}
    if part == AVERAGED:
        names = {name: AVERAGES + original.removeprefix("model.").replace(".", "") for name, original in names.items()}
    if missing := [name for name in names.values() if name not in shapes]:
        raise UsageError(
            f"{shown(path)}: {len(missing)} weights of the U-Net have no average, such as {missing[0]!a:.120}; take part='unet'"
        )
    return replace(checkpoint, facts={}, shapes={name: shapes[original] for name, original in names.items()}, extra=extra), names


def _listed(file: Path) -> list[str]:
    """Names of the models in a pipeline's list."""
    try:
        listed = json.loads(file.read_text(encoding="utf-8"))
        return [name for name, value in listed.items() if name.isidentifier() and isinstance(value, list)]
    except (ValueError, AttributeError, RecursionError) as error:
        raise UsageError(f"{shown(file)}: is no list of a pipeline's models") from error


def _check(path: Path, part: str | None, parts: list[str]) -> None:
    if part not in parts:
        problem = "holds several models" if part is None else f"has no part {part!a:.80}"
        raise UsageError(f"{shown(path)} {problem}: choose part= from {', '.join(sorted(parts)) or 'nothing, its folders are missing'}")
