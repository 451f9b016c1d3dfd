"""Opening a finished model, whatever it does: finds sounds, describes or makes them, bridges their embeddings, or encodes them."""

import os
from collections.abc import Mapping
from typing import Any

from audiojax.api.bridging.bridge import Bridge
from audiojax.api.describing.captioning import Captioner
from audiojax.api.describing.dac_captioning import DacCaptioner
from audiojax.api.describing.link_captioning import LinkCaptioner
from audiojax.api.finding.clap_search import ClapFinder
from audiojax.api.finding.coattention_search import CoAttentionFinder
from audiojax.api.finding.find import Finder
from audiojax.api.finding.run_finding import RunFinder
from audiojax.api.finding.search import Reranker, Searcher
from audiojax.api.making.maker import Maker
from audiojax.api.making.maker_parts import is_maker, open_maker
from audiojax.api.making.run_making import open_run_maker
from audiojax.api.opening import final_folder, is_public, open_tower_run
from audiojax.api.outside import lasting_name, whole
from audiojax.api.weights import load_pretrained
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.towers.base import Tower
from audiojax.towers.clap import ClapTower
from audiojax.trainer.export import load_export

OPENERS: dict[str, type[RunFinder] | type[Captioner] | type[Bridge]] = {  # of papers, or of a paper's last phase
    "coattention": CoAttentionFinder,
    "dac": DacCaptioner,
    "diffatr": Finder,
    "diffusion_link/decoder": LinkCaptioner,
    "diffusion_link/link": Bridge,
}


def opener_of(config: Any) -> type[RunFinder] | type[Captioner] | type[Bridge] | None:
    """The class of a run's model, None for a paper without one."""
    return OPENERS.get(config.paper) or OPENERS.get(f"{config.paper}/{config.phases[-1]}")


def load(path: str | os.PathLike) -> RunFinder | Captioner | Bridge | Maker | Tower:
    """The finished model of a run, an exported folder, or a public checkpoint: it searches, describes, bridges, makes sounds, or is a tower
    that encodes.

    Args:
      path: of the run or folder, or what `load_pretrained` takes.

    Raises:
      UsageError: there is no finished model at `path`, or it is of a kind that this audiojax does not know.
      AudiojaxError: its weights cannot be read.
    """
    if is_maker(path):
        return open_maker(path)
    if is_public(path):
        return load_pretrained(path)
    folder = final_folder(path)
    model = whole(load_export(folder), path)
    if opener := opener_of(model.config):
        return opener(model, source=lasting_name(path))
    if makes_sounds(model.config):
        return open_run_maker(model, lasting_name(path))
    if model.config.paper in ("towers", "re_audioldm"):
        return open_tower_run(folder)
    raise UsageError(f"{folder}: holds a '{model.config.paper}' model, which this audiojax cannot open; update audiojax")


def load_finder(path: str | os.PathLike) -> Searcher:
    """What `load` gives, ready to search: DiffATR, or a CLAP of whatever origin.

    Raises:
      UsageError: as `load`, or the model does not search.
    """
    model = load(path)
    if isinstance(model, ClapTower):
        return ClapFinder(model, source=lasting_name(path))
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
        raise UsageError(f"{shown(path)}: holds a {type(model).__name__}, which does not describe sounds; DAC and Diffusion-Link do")
    return model


def load_bridge(path: str | os.PathLike) -> Bridge:
    """The bridge of a Diffusion-Link run, whether or not a decoder stands behind it.

    Raises:
      UsageError: as `load`, or the model does not bridge.
    """
    if not is_public(path):
        model = load_export(final_folder(path))
        if model.config.paper == "diffusion_link":
            return Bridge(model, source=lasting_name(path))
    raise UsageError(f"{shown(path)}: holds a {type(load(path)).__name__}, which does not bridge embeddings; Diffusion-Link does")


def load_maker(
    path: str | os.PathLike,
    *,
    ranker: str | os.PathLike | None = None,
    retrieval: Mapping[str, Any] | None = None,
    vocoder: str | os.PathLike | None = None,
    data_dir: str | os.PathLike | None = None,
    progress: bool = True,
    **public: Any,
) -> Maker:
    """What `load` gives, ready to make sounds.

    Args:
      ranker: a CLAP that picks among candidates.
      retrieval: of a run, keys of its config's section `retrieval` that differ from training: datastore (splits of its data joined by "+",
        or the folder of a sound index), mode, count.
      vocoder: of a run, one in place of that of its config, or of Griffin-Lim.
      data_dir: of a run that retrieves from packed data, where they lie now if they are no longer where its config says.
      progress: say on stderr what was loaded, and under which licence.
      public: of public weights: heads, dtype, tokenizer; see `audiojax.api.making.maker_parts.open_maker`.

    Raises:
      UsageError: as `load`, the model does not make sounds, or does not take an option.
    """
    if is_maker(path):
        if retrieval:
            raise UsageError(f"{shown(path)}: is AudioLDM, which retrieves nothing and has no use for retrieval.{next(iter(retrieval))}")
        if vocoder or data_dir:
            raise UsageError(f"{shown(path)}: has a vocoder of its own" if vocoder else f"{shown(path)}: is AudioLDM, which needs no data")
        return open_maker(path, ranker=ranker, progress=progress, **public)
    model = None if is_public(path) else whole(load_export(final_folder(path)), path)
    if model is None or not makes_sounds(model.config):
        raise UsageError(f"{shown(path)}: holds a {type(load(path)).__name__}, which does not make sounds; a folder of AudioLDM does")
    if public:
        raise UsageError(f"{shown(path)}: is a run, whose config says it all; {next(iter(public))} is an option of public weights")
    chosen = {"retrieval": retrieval, "vocoder": vocoder, "ranker": ranker, "data_dir": data_dir}
    return open_run_maker(model, lasting_name(path), **chosen, progress=progress)


def makes_sounds(config: Any) -> bool:
    """Whether a run makes sounds from texts."""
    return config.paper == "re_audioldm" and config.phases[-1] == "diffusion"
