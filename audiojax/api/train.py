"""Training from a config to a self-contained run directory, and its export.

  workdir/config.json   data.json   statistics.json   checkpoints/<phase>/<step>/   metrics.csv   tensorboard/   tokenizer/   final/

final/ holds all that `audiojax.load` needs: parameters, the config with the fusion chosen on validation, tokenizer, metric card.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from rich.console import Console

from audiojax.api.data import (
    SECOND,
    clip_batches,
    example_rows,
    make_second_tokenizer,
    make_tokenizer,
    make_transform,
    open_split,
    training_stream,
    with_extra_captions,
)
from audiojax.api.making.datastore import open_datastore, pairs_transform, with_neighbours
from audiojax.api.start import Start, start_of, without
from audiojax.api.states import stored_states
from audiojax.api.statistics import with_statistics
from audiojax.api.writing import WRITER, make_sentences
from audiojax.config import config_from_json, config_to_json, flat_items, to_dict
from audiojax.data.examples import MemorySource, captions_of_each
from audiojax.data.transforms import ClipTransform, StatesTransform
from audiojax.errors import UsageError
from audiojax.files import shown, write_whole
from audiojax.papers import PAPERS
from audiojax.papers.re_audioldm.diffusion_settings import DiffusionSettings, make_diffusion_settings
from audiojax.papers.re_audioldm.retrieval import PairsTransform
from audiojax.papers.task import Encoders, Paper, Task
from audiojax.report.pictures import spectrogram_pixels
from audiojax.text.sentences import Sentences
from audiojax.text.tokenizer import Tokenizer
from audiojax.trainer import distributed
from audiojax.trainer.agreement import from_first
from audiojax.trainer.evaluate import predict_all
from audiojax.trainer.export import export_model, to_numpy
from audiojax.trainer.layout import make_layout, wrap_predict
from audiojax.trainer.log import Writer
from audiojax.trainer.loop import FitResult, check_phase, fit
from audiojax.trainer.settings import Phase, make_phase

FREE_KEYS = (
    *("parallel", "mesh", "data.dir", "data.threads", "data.workers", "data.in_memory"),
    *("train.log_every", "train.save_every", "train.keep"),
)
DATA = "data.json"  # of a run: which packed data it began with
PREPARATION = 6 * 3600.0  # s that the other processes wait for one that builds or reads the data
LOGGED_QUERIES = 3  # validation queries whose best hit is logged as picture and audio


def train(config: ConfigDict, workdir: str | os.PathLike, *, progress: bool = True) -> Path:
    """Trains every phase of a config, chooses on validation what is to be chosen, and returns the folder of the finished model.

    The same call on the same workdir goes on where the last one stopped; of a finished run it returns the model as it is.

    Args:
      config: locked, from `audiojax.config.load_config`.
      workdir: folder of the run, made if it is missing.
      progress: show bars on stderr.

    Raises:
      UsageError: the config does not fit the data, the devices or the run that is in `workdir`.
      RunInterrupted: SIGTERM or SIGINT came; the state is saved.
    """
    workdir = Path(workdir).expanduser()
    distributed.initialize()
    console = Console(stderr=True, quiet=not progress)
    plain = to_dict(config)
    if plain["paper"] not in PAPERS:
        raise UsageError(f"config key 'paper' is '{plain['paper']}'; it takes one of {', '.join(PAPERS)}")
    paper = PAPERS[plain["paper"]]
    check_claim(workdir, config)
    check_same_data(workdir, plain["data"])
    if from_first((workdir / "final" / "card.json").is_file()):
        console.print(f"{shown(workdir)}: finished before; nothing is left to do", soft_wrap=True, highlight=False, markup=False)
        return workdir / "final"
    _check_values(paper, plain)
    train_source, val_source, text_source = _open_together(plain, progress)
    captions_of_each(val_source)  # not equally many is said now, not at the first evaluation
    tokenizer = make_tokenizer(plain, text_source, stored=workdir / "tokenizer")
    sentences = make_sentences(plain, tokenizer, stored=workdir / "tokenizer")
    second = make_second_tokenizer(plain, stored=workdir / "tokenizer")
    clip_transform = transform = make_transform(plain["data"], tokenizer, second)
    example = example_rows(plain, train_source, transform)
    stages = [(paper.make_task(plain, name, vocab_size=tokenizer.vocab_size), _phase(plain, name)) for name in plain["phases"]]
    for task, phase in stages:
        check_phase(task, phase, example)
    shapes = [jax.eval_shape(task.init, jax.random.key(0), example) for task, _ in stages]
    start = start_of(paper, plain, shapes[0], progress, later=shapes[1:])
    claim(workdir, config, tokenizer, sentences, second[0] if second else None)
    clips = val_source
    if plain["data"].get("states"):
        encoders = paper.encoders(plain, vocab_size=tokenizer.vocab_size)
        inside = without(start, paper.outside(plain))
        records = [train_source, val_source]
        states = _states_together(plain, encoders, inside, *records, transform, progress)
        transform = StatesTransform(sentences)
        if "retrieval" in plain:
            settings = make_diffusion_settings(plain, tokenizer.vocab_size)
            states, transform = _retrieving(plain, settings, encoders, inside, clip_transform, transform, records, states, progress)
        train_source, val_source = states
        example = example_rows(plain, train_source, transform)
    distributed.wait_for_all("data ready", PREPARATION)
    blank = clip_transform.words([""], blank=True) if paper.statistics and paper.statistics.blank else None
    model_state = with_statistics(paper, plain, start, train_source, transform, workdir, tokenizer.vocab_size, blank)

    def eval_data():
        return clip_batches(val_source, transform, plain["train"]["eval_batch_size"])

    result: FitResult | None = None
    for (task, phase), shape in zip(stages, shapes, strict=True):
        fresh = {name: tree for name, tree in start.params.items() if name in shape["params"]}
        result = fit(
            task,
            phase,
            workdir=workdir,
            train_data=lambda step, size=phase.batch_size: training_stream(plain, train_source, transform, size, step),
            eval_data=eval_data,
            init_batch=example,
            init_params=fresh | paper.hand_over(phase.name, result.params) if result else fresh,
            init_model_state=result.model_state if result else model_state,
            on_eval=lambda step, predictions, writer: log_examples(clips, step, predictions, writer),
            console=console,
        )
    return _finish(paper, plain, stages[-1][0], workdir, tokenizer, result, eval_data, start.card)


def log_examples(source: Any, step: int, predictions: Mapping[str, np.ndarray], writer: Writer) -> None:
    """Logs the best hit of a few validation captions, for models that embed both: the words, its sound and its spectrogram."""
    if not {"audio", "text"} <= predictions.keys():
        return
    audio = predictions["audio"] / np.linalg.norm(predictions["audio"], axis=1, keepdims=True)
    chosen = np.linspace(0, len(audio) - 1, min(LOGGED_QUERIES, len(audio))).astype(int)
    for number, clip in enumerate(chosen):
        best = int(np.argmax(audio @ predictions["text"][clip, 0]))
        record = source[best]
        waveform = record["audio"].astype(np.float32) / 32768
        verdict = "its own clip" if best == clip else f"clip {record['id']}, not {source[int(clip)]['id']}"
        writer.text(step, f"example {number}/query", f"“{source[int(clip)]['captions'][0]}” finds {verdict}")
        writer.audio(step, f"example {number}/sound", waveform, record["sample_rate"])
        writer.image(step, f"example {number}/spectrogram", spectrogram_pixels(waveform, record["sample_rate"]))


def check_claim(workdir: Path, config: ConfigDict) -> None:
    """Whether `workdir` is free or holds a run of this config; where and how fast that runs may change.

    Raises:
      UsageError: the run there has another config, or `workdir` is a file.
    """
    path = workdir / "config.json"
    if path.is_file():
        theirs, ours = (dict(flat_items(to_dict(c))) for c in (config_from_json(path.read_text(encoding="utf-8")), config))
        changed = sorted(key for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key) and not key.startswith(FREE_KEYS))
        if changed:
            key = changed[0]
            raise UsageError(
                f"{workdir}: holds a run with another config ({key} was {theirs.get(key)!r}, now {ours.get(key)!r}); use another --workdir"
            )
    elif workdir.exists() and not workdir.is_dir():
        raise UsageError(f"{workdir}: is a file; --workdir takes a folder")


def check_same_data(workdir: Path, data: Mapping[str, Any]) -> None:
    """Whether the packed data are those that the run in `workdir` began with, wherever they lie now. UsageError where they are others."""
    path = workdir / DATA
    if data["source"] != "tfds" or not path.is_file() or not Path(data["dir"]).expanduser().is_dir():
        return
    if json.loads(path.read_text(encoding="utf-8")) != identities_of(data):
        further = f" with those of {shown(data['extra_captions'])}" if data.get("extra_captions") else ""
        raise UsageError(
            f"{workdir}: holds a run on other data than those in data.dir {shown(data['dir'])}{further}; use another --workdir"
        )


def identities_of(data: Mapping[str, Any]) -> dict[str, str]:
    """Hashes of the splits that are trained and validated on, by their names."""
    split = data.get("train_split", "train")
    train_source, val_source = (open_split(data, name, progress=False) for name in (split, "val"))
    return {split: with_extra_captions(data, train_source).identity(), "val": val_source.identity()}


def claim(
    workdir: Path, config: ConfigDict, tokenizer: Tokenizer, sentences: Sentences | None = None, second: Tokenizer | None = None
) -> None:
    """Writes tokenizer/, with those of a language model and of a second text tower inside, data.json of packed data and config.json where
    they are missing, once everything in the config is known to work."""
    if jax.process_index() != 0:
        return
    workdir.mkdir(parents=True, exist_ok=True)
    folder = workdir / "tokenizer"
    if not folder.is_dir():
        partial = folder.with_name("tokenizer.partial")
        shutil.rmtree(partial, ignore_errors=True)
        tokenizer.save(partial)
        if sentences is not None:
            sentences.tokenizer.save(partial / WRITER)
        if second is not None:
            second.save(partial / SECOND)
        partial.rename(folder)
    data = to_dict(config)["data"]
    if data["source"] == "tfds" and not (workdir / DATA).is_file():
        write_whole(workdir / DATA, json.dumps(identities_of(data), indent=2) + "\n")
    if not (workdir / "config.json").is_file():
        write_whole(workdir / "config.json", config_to_json(config))


def _phase(config: Mapping[str, Any], name: str) -> Phase:
    common = {key: value for key, value in config["train"].items() if key != "eval_batch_size"}
    return make_phase(name, {key: config[key] for key in ("seed", "parallel", "mesh")}, common, config[name])


def _check_values(paper: Paper, config: Mapping[str, Any]) -> None:
    """What would otherwise fail only at the first evaluation or the second phase."""
    if not config["phases"]:
        raise UsageError("config key 'phases' is empty; it takes at least one value")
    for name in config["phases"]:
        if name not in config or name not in paper.phases:
            raise UsageError(f"config key 'phases' names '{name}'; it takes some of {', '.join(paper.phases)}")
    if config["train"]["eval_batch_size"] < 1:
        raise UsageError(f"config key 'train.eval_batch_size' is {config['train']['eval_batch_size']}; it takes 1 or more")
    if config["data"]["workers"] < 0:
        raise UsageError(f"config key 'data.workers' is {config['data']['workers']}; it takes 0 (threads only) or more")
    paper.check(config)


def _open_together(config: Mapping[str, Any], progress: bool) -> list[Any]:
    """The records of training, of validation, and those whose captions the tokenizer learns.

    Of several processes the first builds what is not there yet, and the others wait for it.
    """
    data = config["data"]
    split, domain = data.get("train_split", "train"), config["tokenizer"].get("domain") or data["domain"]
    with _first_alone("data built"):
        train_source, val_source = (open_split(data, name, progress=progress) for name in (split, "val"))
        train_source = with_extra_captions(data, train_source)
        same = domain == data["domain"] or config["tokenizer"].get("folder")
        return [train_source, val_source, train_source if same else open_split({**data, "domain": domain}, split, progress=progress)]


def _states_together(
    config: Mapping[str, Any],
    encoders: Encoders,
    start: Start,
    train_source: Any,
    val_source: Any,
    transform: ClipTransform,
    progress: bool,
) -> list[Any]:
    """What the frozen towers make of the training and the validation split; of several processes the first one runs them."""
    splits = {config["data"].get("train_split", "train"): train_source, "val": val_source}
    with _first_alone("states made"):
        found = [stored_states(config, encoders, start, source, transform, name, progress=progress) for name, source in splits.items()]
    return [MemorySource(states) for states in found] if config["data"]["in_memory"] else found


def _retrieving(
    config: Mapping[str, Any],
    settings: DiffusionSettings,
    encoders: Encoders,
    start: Start,
    clip_transform: ClipTransform,
    inner: StatesTransform,
    records: list[Any],
    states: list[Any],
    progress: bool,
) -> tuple[list[Any], PairsTransform]:
    """(states of the training and the validation split with the neighbours of every caption, what makes examples of them)."""
    splits = (config["data"].get("train_split", "train"), "val")
    known = dict(zip(splits, zip(records, states, strict=True), strict=True))
    with _first_alone("neighbours found"):
        datastore = open_datastore(config, settings, encoders, start, clip_transform, known, progress=progress)
        if datastore is not None:
            states = [with_neighbours(datastore, *known[split], progress=progress) for split in splits]
    return states, pairs_transform(settings, inner, datastore)


@contextlib.contextmanager
def _first_alone(what: str) -> Iterator[None]:
    """Process 0 does the work of the body, then the others do it, and find it done."""
    first = jax.process_index() == 0
    if not first:
        distributed.wait_for_all(what, PREPARATION)
    try:
        yield
    finally:
        if first:  # also when it failed: what the first one could not do, the others try, and say so
            distributed.wait_for_all(what, PREPARATION)


def _finish(
    paper: Paper,
    config: dict[str, Any],
    task: Task,
    workdir: Path,
    tokenizer: Tokenizer,
    result: FitResult,
    eval_data: Any,
    started_from: Mapping[str, Any] | None,
) -> Path:
    """Chooses on validation what the paper leaves to it, and writes final/."""
    outside = paper.outside(config)
    params = to_numpy({name: tree for name, tree in result.params.items() if name not in outside})
    if paper.finish:
        layout = make_layout(config["parallel"], config["mesh"])
        predictions = predict_all(layout, wrap_predict(layout, task.predict), result.params, result.model_state, eval_data())
        config = paper.finish(config, params, predictions, jax.random.key(config["seed"]), vocab_size=tokenizer.vocab_size)
    card = {
        "task": task.name,
        "step": result.step,
        "choice": result.choice,
        "skipped_steps": result.skipped,
        "validation": dict(result.metrics),
        **({"started from": started_from} if started_from else {}),
        **({"outside": {key: started_from[key] for key in outside}} if outside else {}),
    }
    return export_model(
        workdir / "final",
        params=params,
        model_state=result.model_state,
        config=ConfigDict(config),
        tokenizer=workdir / "tokenizer",
        card=card,
    )
