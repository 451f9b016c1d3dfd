"""Where a config's data come from: records of a split, the transform that makes examples of them, and batches."""

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import numpy as np

from audiojax.api.start import tokenizer_beside, tokenizer_folder
from audiojax.data.examples import CaptionSource, MemorySource, captions_of
from audiojax.data.layouts.extra_captions import read_extra_captions
from audiojax.data.pipeline import Transform, eval_batches, train_batches
from audiojax.data.soundworld.builder import build
from audiojax.data.soundworld.scenes import class_activity
from audiojax.data.soundworld.source import SceneSource
from audiojax.data.sources import ExtraCaptions, JoinedRecords, open_records
from audiojax.data.transforms import ClipTransform
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.folders import data_home
from audiojax.text.normalise import clean_caption
from audiojax.text.tokenizer import Tokenizer

SECOND = "t5"  # folder in that of a run's tokenizer


def data_name(data: Mapping[str, Any]) -> str:
    """What a config's `data` section names, for people and folders: SoundWorld's domain, or the TFDS folder without its version."""
    if data["source"] != "tfds":
        return data["domain"]
    parts = Path(data["dir"]).expanduser().absolute().parts
    return shown(next((part for part in reversed(parts) if not re.fullmatch(r"\d+\.\d+\.\d+", part)), "data"))


def open_split(data: Mapping[str, Any], split: str, *, progress: bool = True) -> Any:
    """Random-access records of a split of the config's `data` section; SoundWorld is built the first time, "studio+field" is both.

    Where `data.audio` is False, the records are captions alone.

    Raises:
      UsageError: an unknown source, split or folder.
    """
    kind = data["source"]
    if kind == "tfds":
        if not data["dir"]:
            raise UsageError("data.source 'tfds' needs --config.data.dir=FOLDER, a data set that `audiojax data pack` wrote")
        source = open_records(data["dir"], split)
    elif kind in ("soundworld", "memory"):
        sources = [_soundworld({**data, "domain": domain}, split, progress) for domain in data["domain"].split("+")]
        source = sources[0] if len(sources) == 1 else JoinedRecords(sources)
    else:
        raise UsageError(f"data.source '{kind}' is none of soundworld, memory, tfds")
    source = source if data.get("audio", True) else CaptionSource(source)
    return MemorySource(source) if data["in_memory"] or kind == "memory" else source


def with_extra_captions(data: Mapping[str, Any], source: Any) -> Any:
    """The training records with the captions of the file that `data.extra_captions` names, {clip id: [captions]}, if it names one.

    Raises:
      UsageError: the file cannot be read, or no clip has one of its ids.
    """
    path = data.get("extra_captions")
    if not path:
        return source
    extra, faults = read_extra_captions(path)
    if faults:
        raise UsageError(f"data.extra_captions: {faults[0].where}: {faults[0].detail or faults[0].kind}; {len(faults)} entries are wrong")
    found = ExtraCaptions(source, extra)
    if not found.matched:
        raise UsageError(f"data.extra_captions: {shown(path)} names {len(extra)} clips, and none of the {len(source)} training clips")
    return found


def _soundworld(data: Mapping[str, Any], split: str, progress: bool) -> Any:
    world = {"size": data["size"], "domain": data["domain"], "seed": data["world_seed"]}
    world |= {"sample_rate": data["sample_rate"], "seconds": data["seconds"]}
    if data["source"] == "memory":
        return SceneSource(split, **world)
    return open_records(build(data_dir=data["dir"] or data_home(), progress=progress, **world), split)


def make_transform(data: Mapping[str, Any], tokenizer: Tokenizer, second: tuple[Tokenizer, int] | None = None) -> ClipTransform:
    """Record -> example, as the config's `data` section says.

    Args:
      second: tokenizer and tokens of a text tower that has its own.
    """
    sizes = (data["sample_rate"], data["seconds"], data["padding"], data["max_tokens"])
    clean = clean_caption if data.get("clean_captions", True) else str
    labels, windows = class_activity if data.get("labels") else None, data.get("windows", 0)
    return ClipTransform(tokenizer, *sizes, clean, labels, windows, *(second or ()))


def make_tokenizer(config: Mapping[str, Any], source: Any, stored: Path) -> Tokenizer:
    """The tokenizer that a run has stored already, else that of the config, else WordPiece learned from the training captions.

    That of the config is the folder it names, else what lies beside the text tower that it starts from.
    """
    if stored.is_dir():
        return Tokenizer.load(stored)
    if folder := config["tokenizer"]["folder"] or tokenizer_folder(config):
        return Tokenizer.load(folder)
    captions = (clean_caption(text) for i in range(len(source)) for text in captions_of(source, i))
    return Tokenizer.train(captions, config["tokenizer"]["vocab_size"])


def make_second_tokenizer(config: Mapping[str, Any], stored: Path) -> tuple[Tokenizer, int] | None:
    """Tokenizer of a T5 that has its own, and tokens of a caption for it; None of a config without one.

    Args:
      stored: folder of the run's tokenizer, which holds this one, too, once there is one.

    Raises:
      UsageError: there is no tokenizer beside the T5 that `init.t5` names.
    """
    length, init = config["model"].get("t5_max_tokens", 0), config.get("init", {})
    if not length:
        return None
    folder: Path | None = stored / SECOND
    if not folder.is_dir():
        started = tokenizer_beside(init["start"]) if init["start"] else None
        folder = started / SECOND if started else tokenizer_beside(init["t5"]) if init["t5"] else None
    if folder is None or not folder.is_dir():
        raise UsageError(f"init.t5: '{init['t5']}' has no tokenizer beside its weights; model.t5_max_tokens says that it has its own")
    return Tokenizer.load(folder), length


def training_stream(
    config: Mapping[str, Any], source: Any, transform: Transform, batch_size: int, start_step: int, *, whole: bool = False
) -> Iterator:
    """This process's rows of every global batch from `start_step` on; all rows where `whole` is set."""
    data, processes = config["data"], (0, 1) if whole else (jax.process_index(), jax.process_count())
    return train_batches(
        source,
        transform,
        batch_size=batch_size,
        seed=config["seed"],
        start_step=start_step,
        process_index=processes[0],
        process_count=processes[1],
        mode=data["mode"],
        captions=None if data.get("extra_captions") else data["captions"] or None,
        threads=data["threads"],
        workers=data["workers"],
    )


def example_rows(config: Mapping[str, Any], source: Any, transform: Transform) -> dict[str, np.ndarray]:
    """One training example on each process, whose shapes initialise a model; read without worker processes."""
    alone = {**config, "data": {**config["data"], "threads": 1, "workers": 0}}
    with closing(training_stream(alone, source, transform, jax.process_count(), 0)) as stream:
        return next(stream)


def clip_batches(source: Any, transform: Transform, batch_size: int) -> Iterator[dict[str, np.ndarray]]:
    """Every clip once with all its captions, in order; text leaves are [b, captions, l]."""
    processes = jax.process_count()
    rows = -(-batch_size // processes) * processes
    return eval_batches(
        source, transform, batch_size=rows, process_index=jax.process_index(), process_count=processes, mode="clips", threads=2
    )
