"""The README's first command: SoundWorld, DiffATR in both phases, the report, and a search over a folder of sound files."""

import os
import time
from pathlib import Path
from typing import Any

import soundfile
from rich.console import Console
from rich.text import Text

from audiojax.api.data import open_split
from audiojax.api.evaluate import evaluate
from audiojax.api.evaluation import Evaluation
from audiojax.api.loading import load_finder
from audiojax.api.train import train
from audiojax.config import load_config
from audiojax.files import shown
from audiojax.report.sections import Table
from audiojax.report.tables import print_section
from audiojax.trainer.distributed import require_one_process

QUERIES = 3  # captions of clips in that folder, other ones than the file names show
FOLDER_CLIPS = 24  # test clips written as sound files for the search


def demo(out: str | os.PathLike = "runs/demo", *, all: bool = False, progress: bool = True) -> Evaluation:
    """Trains DiffATR on SoundWorld `mini`, evaluates it, and searches a folder of sound files; a second call shows the results at once.

    Args:
      out: the run directory.
      all: also test on the other domain, whose rooms, microphones and wording the model has never met.
    """
    require_one_process("demo")
    out, console, begun = Path(out).expanduser(), Console(stderr=True, quiet=not progress), time.perf_counter()
    console.print("[bold]1 of 3[/] SoundWorld and training: two phases, contrastive and hybrid")
    train(load_config("diffatr/soundworld"), out, progress=progress)
    console.print("[bold]2 of 3[/] evaluation on clips that training never saw")
    found = evaluate(out, "test", progress=progress)
    other = evaluate(out, "test", domain="field", progress=progress) if all else None
    console.print("[bold]3 of 3[/] search: describe a sound, get files")
    sounds = write_sounds(out / "sounds", progress)
    finder = load_finder(out)
    finder.index(sounds, cache_dir=out / "indexes", progress=progress)
    rows = []
    for query in folder_queries(progress):
        rows += [(query if i == 0 else "", f"{hit.score:.3f}", hit.path.name) for i, hit in enumerate(finder.search(query, k=3))]
    page = Console()
    for section in (
        *found.sections,
        *(other.sections[:2] if other else ()),
        Table(f"Search in {shown(sounds)}", ("query", "score", "file"), rows),
    ):
        print_section(section, console=page)
    minutes = (time.perf_counter() - begun) / 60
    took = f"   ({minutes:.1f} minutes in all)"
    page.print(Text.assemble("\nReport: ", (shown(found.report), "bold"), took), soft_wrap=True)
    if other:
        page.print(Text.assemble("On the other domain: ", (shown(other.report), "bold")), soft_wrap=True)
    command = f'audiojax search "rain on a roof" --audio {shown(sounds)} --model {shown(out)}'
    page.print(f"Try: {command}", soft_wrap=True, highlight=False, markup=False)
    return found


def folder_clips(progress: bool = True) -> tuple[Any, range]:
    """The test split, and the numbers of the clips that the searched folder holds."""
    source = open_split(load_config("diffatr/soundworld").data.to_dict(), "test", progress=progress)
    return source, range(0, len(source), max(1, len(source) // FOLDER_CLIPS))


def folder_queries(progress: bool = True) -> list[str]:
    """The second captions of some clips of that folder, spread evenly over them."""
    source, written = folder_clips(progress)
    return [source[i]["captions"][1] for i in written[:: max(1, len(written) // QUERIES)]][:QUERIES]


def write_sounds(folder: Path, progress: bool = True) -> Path:
    """Some test clips as FLAC files named after their first caption."""
    if folder.is_dir():
        return folder
    source, written = folder_clips(progress)
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    for i in written:
        record = source[i]
        words = "-".join(record["captions"][0].replace(",", "").replace(".", "").split()[:12])
        soundfile.write(partial / f"{i:03d}-{words}.flac", record["audio"], record["sample_rate"])
    partial.rename(folder)
    return folder
