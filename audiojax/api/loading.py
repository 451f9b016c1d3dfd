"""Opening a finished model, whatever it does: finds sounds, describes them, or encodes them."""

import os
from pathlib import Path

from audiojax.api.captioning import Captioner
from audiojax.api.clap_search import ClapFinder
from audiojax.api.coattention_search import CoAttentionFinder
from audiojax.api.dac_captioning import DacCaptioner
from audiojax.api.find import Finder
from audiojax.api.opening import final_folder, is_public, open_tower_run
from audiojax.api.runs import RunFinder
from audiojax.api.search import Reranker, Searcher
from audiojax.api.weights import load_pretrained
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.towers.base import Tower
from audiojax.towers.clap import ClapTower
from audiojax.trainer.export import load_export

OPENERS: dict[str, type[RunFinder] | type[Captioner]] = {"coattention": CoAttentionFinder, "dac": DacCaptioner, "diffatr": Finder}


def load(path: str | os.PathLike) -> RunFinder | Captioner | Tower:
    """The finished model of a run, an exported folder, or a public checkpoint: what searches, what describes, or a tower that encodes.

    Args:
      path: of the run or folder, or what `load_pretrained` takes.

    Raises:
      UsageError: there is no finished model at `path`, or it is of a kind that this audiojax does not know.
      AudiojaxError: its weights cannot be read.
    """
    if is_public(path):
        return load_pretrained(path)
    folder = final_folder(path)
    model = load_export(folder)
    if model.config.paper in OPENERS:
        return OPENERS[model.config.paper](model, source=_source(path))
    if model.config.paper == "towers":
        return open_tower_run(folder)
    raise UsageError(f"{folder}: holds a '{model.config.paper}' model, which this audiojax cannot open; update audiojax")


def load_finder(path: str | os.PathLike) -> Searcher:
    """What `load` gives, ready to search: DiffATR, or a CLAP of whatever origin.

    Raises:
      UsageError: as `load`, or the model does not search.
    """
    model = load(path)
    if isinstance(model, ClapTower):
        return ClapFinder(model, source=_source(path))
    if not isinstance(model, Searcher):
        raise UsageError(f"{shown(path)}: holds a {type(model).__name__}, which does not search; DiffATR, co-attention and CLAP do")
    return model


def load_reranker(path: str | os.PathLike) -> Reranker:
    """What `load` gives, ready to re-rank what another model has found.

    Raises:
      UsageError: as `load`, or the model does not re-rank.
    """
    model = load(path)
    if not isinstance(model, Reranker):
        raise UsageError(f"{shown(path)}: holds a {type(model).__name__}, which does not re-rank; DiffATR and co-attention do")
    return model


def load_captioner(path: str | os.PathLike) -> Captioner:
    """What `load` gives, ready to describe sounds.

    Raises:
      UsageError: as `load`, or the model does not describe.
    """
    model = load(path)
    if not isinstance(model, Captioner):
        raise UsageError(f"{shown(path)}: holds a {type(model).__name__}, which does not describe sounds; DAC does")
    return model


def _source(path: str | os.PathLike) -> str:
    """A model's path as others find it too: a hub name as it is, a folder from the root."""
    here = Path(path).expanduser()
    return os.path.abspath(here) if here.exists() else str(path)
