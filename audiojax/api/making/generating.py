"""Sounds for a file of prompts, in a folder that is gone on with: a sound that the same model, prompt and settings have made stays.

Beside the sounds lies sounds.csv, a row a sound: what was wished for, what was made, and a hash of all that decides it.
"""

import csv
import hashlib
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from audiojax.api.making.maker import Maker
from audiojax.api.making.wishes import Made, Plan, Wish
from audiojax.audio.writing import FORMATS, check_place
from audiojax.errors import AudiojaxError, UsageError
from audiojax.files import shown
from audiojax.papers.re_audioldm.clips import Reference
from audiojax.progress import counting_bar
from audiojax.report.tables import write_file

TABLE = "sounds.csv"
COLUMNS = ("file", "prompt", "negative", "seed", "candidate", "score", "seconds", "facts")
FLUSH_SECONDS = 10.0  # between two writes of the table
SOON = 64  # sounds whose rows leave the table together, before the first of them is replaced
WORDS = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class Order:
    """A sound to make.

    Attributes:
      name: of its file, without the ending.
    """

    name: str
    wish: Wish


@dataclass(frozen=True)
class Written:
    """A sound in a folder, as its row of the table says.

    Attributes:
      score: cosine with the prompt, where candidates were ranked.
    """

    path: Path
    prompt: str
    negative: str
    seed: int
    candidate: int
    score: float | None
    seconds: float
    facts: str


def order_of(wish: Wish, name: str = "") -> Order:
    """The order of a wish; without a name, one is made of its words and a hash, so that other prompts do not change it."""
    words = WORDS.sub("-", wish.prompt.lower()).strip("-")[:40].strip("-")
    mark = hashlib.blake2b(repr((wish.prompt, wish.negative, wish.seed)).encode(), digest_size=4).hexdigest()
    return Order(name or "-".join(filter(None, (words, mark))), wish)


def read_prompts(path: str | os.PathLike, negative: str = "", seed: int = 0) -> list[Order]:
    """The orders in a file: a prompt on each line, or a .csv with the column "prompt" and, where wanted, "name", "negative" and "seed".

    Args:
      negative, seed: of prompts that have none of their own.

    Raises:
      UsageError: it cannot be read, has no prompts, an empty one, a name that is none, or two sounds of one name.
    """
    path = Path(path).expanduser()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix == ".csv":
                rows = list(csv.DictReader(file, strict=True))
            else:
                rows = [{"prompt": line.strip()} for line in file if line.strip()]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{shown(path)}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not rows or "prompt" not in rows[0]:
        raise UsageError(f"{shown(path)}: holds no prompts; write one on each line, or a .csv with a column 'prompt'")
    orders = [_order(path, i, row, negative, seed) for i, row in enumerate(rows, 1)]
    names = [order.name.lower() for order in orders]  # some file systems do not tell a from A
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"{shown(path)}: two sounds would be called {twice!a:.80}; give them names or seeds of their own")
    return orders


def _order(path: Path, number: int, row: Mapping[str, str | None], negative: str, seed: int) -> Order:
    prompt, name, own_seed = ((row.get(key) or "").strip() for key in ("prompt", "name", "seed"))
    if not prompt:
        raise UsageError(f"{shown(path)}: prompt {number} is empty")
    if name and (name != Path(name).name or name.startswith(".")):
        raise UsageError(f"{shown(path)}: prompt {number} has the name {name!a:.80}, which is no plain file name")
    if own_seed and not (own_seed.isascii() and own_seed.isdigit()):
        raise UsageError(f"{shown(path)}: prompt {number} has the seed {own_seed!a:.80}; a whole number from 0 up is needed")
    return order_of(Wish(prompt, (row.get("negative") or "").strip() or negative, int(own_seed) if own_seed else seed), name)


def write_one(
    maker: Maker,
    wish: Wish,
    path: str | os.PathLike,
    plan: Plan,
    reference: Reference | None = None,
    *,
    batch_size: int | None = None,
    progress: bool = True,
) -> Written:
    """Makes a sound and writes it to a .wav or .flac, whole or not at all; one that is there is replaced. UsageError as `write_sounds`."""
    check_place(path)
    with counting_bar("sounds", progress) as bar:
        task = bar.add_task("making", total=1)
        (made,) = maker.make([wish], plan, reference, batch_size)
        bar.advance(task)
    return _written(made.save(path), made, _facts(maker, wish, plan, reference))


def write_sounds(
    maker: Maker,
    orders: Sequence[Order],
    folder: str | os.PathLike,
    plan: Plan,
    reference: Reference | None = None,
    *,
    ending: str = ".wav",
    batch_size: int | None = None,
    progress: bool = True,
) -> tuple[list[Written], int]:
    """Makes what is not there yet, and returns the sounds of all orders, and how many of them are new.

    Every sound appears whole; a second call goes on where the first one stopped. Other sounds of the table stay.

    Args:
      ending: ".wav" or ".flac".

    Raises:
      UsageError: as `Maker.make`; another ending, a folder that cannot be written, or one that is a file.
      AudiojaxError: the table there is damaged.
    """
    folder = Path(folder).expanduser()
    if ending not in FORMATS:
        raise UsageError(f"sounds end in {' or '.join(FORMATS)}, not in {ending!a:.80}")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{shown(folder)}: is a file; name a folder for the sounds of several prompts")
    maker.check([order.wish for order in orders], plan)
    table = _read_table(folder / TABLE)
    facts = {order.name + ending: _facts(maker, order.wish, plan, reference) for order in orders}
    there = {name for name in facts if name in table and table[name].facts == facts[name] and (folder / name).is_file()}
    missing = [order for order in orders if order.name + ending not in there]
    _write_table(folder, table)  # a place that cannot be written shows before the work
    due = time.monotonic() + FLUSH_SECONDS
    try:
        with counting_bar("sounds", progress) as bar:
            task = bar.add_task("making", total=len(orders), completed=len(there))
            for i, made in enumerate(maker.make([order.wish for order in missing], plan, reference, batch_size)):
                if i % SOON == 0 and (stale := {order.name + ending for order in missing[i : i + SOON]} & table.keys()):
                    table = {name: row for name, row in table.items() if name not in stale}  # none speaks of a sound that is replaced
                    _write_table(folder, table)
                name = missing[i].name + ending
                table[name] = _written(made.save(folder / name), made, facts[name])
                bar.advance(task)
                if time.monotonic() > due:
                    _write_table(folder, table)
                    due = time.monotonic() + FLUSH_SECONDS
    finally:
        _write_table(folder, table)
    return [table[name] for name in facts], len(missing)


def _facts(maker: Maker, wish: Wish, plan: Plan, reference: Reference | None) -> str:
    """Hash of all that decides a sound."""
    digest = hashlib.blake2b(repr((maker.model_id, wish, plan)).encode(), digest_size=8)
    if reference is not None:
        digest.update(repr((reference.length, reference.hole, reference.mean, reference.gain)).encode() + reference.sound.tobytes())
    return digest.hexdigest()


def _written(path: Path, made: Made, facts: str) -> Written:
    wish, seconds = made.wish, round(len(made.waveform) / made.sample_rate, 4)
    return Written(path, wish.prompt, wish.negative, wish.seed, made.candidate, made.score, seconds, facts)


def _write_table(folder: Path, table: Mapping[str, Written]) -> None:
    rows = []
    for name, one in table.items():
        score = "" if one.score is None else round(one.score, 4)
        values = (name, one.prompt, one.negative, one.seed, one.candidate, score, one.seconds, one.facts)
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    write_file(folder / TABLE, rows, columns=COLUMNS)


def _read_table(path: Path) -> dict[str, Written]:
    """File name -> row; empty where there is no table yet."""
    found: dict[str, Written] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, strict=True):
                name, prompt, negative, seed, candidate, score, seconds, facts = (row[column] for column in COLUMNS)
                place = path.parent / name
                found[name] = Written(
                    place, prompt, negative, int(seed), int(candidate), float(score) if score else None, float(seconds), facts
                )
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, csv.Error) as error:
        raise AudiojaxError(f"{shown(path)}: is damaged ({type(error).__name__}: {error}); name another folder") from error
    return found
