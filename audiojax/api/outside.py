"""Towers too large to be kept with every run: a finished model names them with the hash of their weights, and they are read again."""

import os
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import jax
from jax.sharding import Mesh

from audiojax.api.weights import load_pretrained
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.trainer.export import Exported
from audiojax.trainer.layout import Layout, make_layout


def layout_for(outside: Collection[str]) -> Layout:
    """How a finished model lies on the devices of this process: whole on each of them, so that rows go over them; or, with towers that are
    too large to be kept with a run, these split over all of them."""
    return make_layout("mesh", (1, 1, -1), jax.local_devices()) if outside else make_layout("pmap")


def whole(model: Exported, source: str | os.PathLike, mesh: Mesh | None = None) -> Exported:
    """The model with the towers that its run left in their folders; any other model as it is.

    Args:
      source: of the model, for errors.
      mesh: on which these towers are laid out; None = that of `layout_for`.

    Raises:
      UsageError: a tower is not where it was, or its weights are others than those of the training.
      AudiojaxError: its weights cannot be read.
    """
    entries = model.card.get("outside", {})
    if not entries:
        return model
    params, mesh = dict(model.params), mesh or layout_for(entries).mesh
    for key, facts in entries.items():
        tower = load_pretrained(facts["name"], dtype=facts["dtype"], sharding=mesh, progress=False)
        if tower.digest != facts["digest"]:
            raise UsageError(
                f"{shown(facts['name'])}: holds other weights ({tower.digest[:12]}) than those that {shown(source)} was trained beside"
                f" ({facts['digest'][:12]}), and its adapters fit these alone; card.json there names the folder of '{key}'"
            )
        params[key] = tower.params["params"]
    return replace(model, params=params)


def lasting_name(name: str | os.PathLike) -> str:
    """A model's path as others find it too: a hub name as it is, a folder from the root."""
    here = Path(name).expanduser()
    return os.path.abspath(here) if here.exists() else str(name)
