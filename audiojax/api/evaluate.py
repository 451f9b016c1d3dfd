"""Scores of a finished model on a split, as tables, JSON and an HTML report; what is measured depends on what the model does."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audiojax.api.bridging.bridge import Bridge
from audiojax.api.bridging.evaluate import evaluate_bridge, measure_gap
from audiojax.api.data import data_name
from audiojax.api.describing.caption_models import CaptionModel
from audiojax.api.describing.captioning import Captioner
from audiojax.api.describing.evaluate import evaluate_captioner
from audiojax.api.describing.link_captioning import LinkCaptioner
from audiojax.api.evaluation import Evaluation, open_tested
from audiojax.api.finding.evaluate import evaluate_finder
from audiojax.api.finding.run_finding import RunFinder
from audiojax.api.loading import load, load_bridge, load_maker, makes_sounds
from audiojax.api.making.evaluate import SoundTest, evaluate_maker
from audiojax.api.making.maker import Maker
from audiojax.api.opening import final_folder
from audiojax.api.start import is_run
from audiojax.config import to_dict
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.trainer.distributed import require_one_process
from audiojax.trainer.export import load_export, read_config


def evaluate(
    workdir: str | os.PathLike,
    split: str = "test",
    *,
    domain: str | None = None,
    data_dir: str | os.PathLike | None = None,
    out: str | os.PathLike | None = None,
    probes: bool = False,
    candidates: int = 1,
    batch_size: int | None = None,
    models: Sequence[CaptionModel] = (),
    options: Mapping[str, Any] | None = None,
    sounds: SoundTest | None = None,
    progress: bool = True,
) -> Evaluation:
    """Evaluates the finished model of a run and writes `<workdir>/evaluation/<split>[-domain]/report.html` and `scores.json`.

    Args:
      workdir: a run directory or an exported model.
      split: train | val | test | any split of the data.
      domain: another SoundWorld domain than the model was trained on.
      data_dir: another data set in the builder's schema, for tests out of domain or where the data have moved.
      out: another folder for the files.
      probes: also ask for the minimal pairs of SoundWorld; of systems that find.
      candidates: captions of each clip, for diversity; of systems that describe. The first one is scored.
      batch_size: clips described at a time.
      models: measures of captions that need a model, opened; see `audiojax.api.describing.caption_models`.
      options: how a system that describes writes, see `Captioner.defaults`.
      sounds: how a system that makes sounds is measured; such a system needs it, and others do not take it.

    Raises:
      UsageError: no finished model, no such split, domain or option, or one of several processes.
    """
    require_one_process("evaluate")
    model = load(workdir) if sounds is None and not _makes_sounds(workdir) else _maker(workdir, sounds, data_dir, progress)
    where = {"domain": domain, "data_dir": data_dir, "out": out, "progress": progress}
    if isinstance(model, Maker):
        if candidates != 1 or options or batch_size or models:
            raise UsageError(
                "how sounds are made and measured is said in `sounds`, a SoundTest; the other options are for systems that describe"
            )
        return _evaluate_maker(model, workdir, split, where, sounds, probes=probes, progress=progress)
    if isinstance(model, Captioner):
        if probes:
            raise UsageError("--probes is for systems that find, and this one describes")
        chosen = model.options(**(options or {}))
        model.require_candidates(candidates, chosen)
        others = {name: value for name, value in chosen.items() if value != model.defaults[name]}
        tested = open_tested(workdir, model.config["data"], split, chosen=others, **where)
        written = {"candidates": candidates, "batch_size": batch_size}
        further = measure_gap(load_bridge(workdir), tested.source).sections if isinstance(model, LinkCaptioner) else ()
        return evaluate_captioner(model, tested, chosen, models=models, further=further, **written, progress=progress)
    if isinstance(model, RunFinder | Bridge) and (candidates != 1 or options or batch_size or models):
        raise UsageError("--candidates, --batch-size, and how captions are written and measured are for systems that describe")
    if isinstance(model, Bridge):
        if probes:
            raise UsageError("--probes is for systems that find, and this one bridges")
        return evaluate_bridge(model, open_tested(workdir, model.config["data"], split, **where))
    if isinstance(model, RunFinder):
        return evaluate_finder(model, open_tested(workdir, model.config["data"], split, **where), probes=probes, progress=progress)
    raise UsageError(
        f"{shown(workdir)}: is no run of a system that finds, describes, bridges or makes sounds, which this measures; `audiojax towers`"
        " measures towers"
    )


def _makes_sounds(workdir: Any) -> bool:
    return is_run(workdir) and makes_sounds(read_config(final_folder(workdir) / "config.json"))


def _maker(workdir: Any, sounds: SoundTest | None, data_dir: str | os.PathLike | None, progress: bool) -> Maker:
    """The model that is measured; it retrieves from `data_dir` where the data of its training are gone and this has their name."""
    if sounds is None:
        raise UsageError(
            "--backbone is missing: the CNN14 weights, or the run of a tagger, by which made sounds are compared with real ones"
        )
    moved = None
    if data_dir is not None and _makes_sounds(workdir):
        data = to_dict(read_config(final_folder(workdir) / "config.json").data)
        gone = data["source"] == "tfds" and not Path(data["dir"]).expanduser().is_dir()
        moved = data_dir if gone and data_name(data) == data_name({**data, "dir": data_dir}) else None
    return load_maker(workdir, ranker=sounds.ranker, retrieval=sounds.retrieval, data_dir=moved, progress=progress)


def _evaluate_maker(
    maker: Maker, workdir: Any, split: str, where: Mapping[str, Any], sounds: SoundTest | None, *, probes: bool, progress: bool
) -> Evaluation:
    if not is_run(workdir) or sounds is None:
        raise UsageError(f"{shown(workdir)}: names no data to be measured on; `audiojax generate` and `audiojax score-audio` measure it")
    if probes:
        raise UsageError("--probes is for systems that find, and this one makes sounds")
    exported = load_export(final_folder(workdir))
    tested = open_tested(workdir, exported.config.data.to_dict(), split, chosen=sounds.chosen, **where)
    return evaluate_maker(maker, exported, tested, sounds, progress=progress)
