"""Checkpoints that hold several models: a pipeline's folder in the layout of diffusers, and AudioLDM's `.ckpt` files."""

import json
import math
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


def select(path: Path, part: str | None, checkpoint: Checkpoint, weights: WeightFile) -> tuple[Checkpoint, str]:
    """One part of a file by the names below its prefix, and that prefix; a file of one model as it is, and "".

    Raises:
      UsageError: a file of several models without a `part`, or without this one; a `part` of what has none.
    """
    shapes = checkpoint.shapes
    found = [part for part, prefix in PREFIXES.items() if any(name.startswith(prefix) for name in shapes)]
    if not found:
        if part is not None:
            raise UsageError(f"{shown(path)} holds one model: leave out part={part!a:.80}")
        return checkpoint, ""
    _check(path, part, found)
    prefix, extra = PREFIXES[part], dict(checkpoint.extra)
    if shapes.get("scale_factor") == () and math.isfinite(factor := float(weights["scale_factor"])):
        extra["scale_factor"] = factor
    below = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
    return replace(checkpoint, facts={}, shapes=below, extra=extra), prefix


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
