"""Damages weight files of every format in every way that comes to mind and opens them all: none may run code, crash, hang or go unnamed.

    python -m tests.soak.weight_mutations --count 1000

Prints a table of kinds of damage against outcomes. "same" and "other" are files that were read, with the tensors that were written or with
others: a flipped bit among the values is no fault that anyone could name, nor is one in a name that has no checksum.
"""

import argparse
import collections
import contextlib
import json
import os
import re
import resource
import struct
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from audiojax.pretrained.reading import open_weights
from audiojax.pretrained.stored import WeightFileError
from tests.pretrained.torch_layout import Call, legacy_file, legacy_of, parameter, pickled, tensor, zip_file, zip_of
from tests.soak.audio_mutations import cut_out, flip_bits, insert, truncate, zero_fill

HANG_SECONDS = 5.0  # of processor time, of this process and of the child that reads pickles: other work on the machine does not count
MEMORY_BYTES = 500 * 2**20  # how much the process that opens may grow: headers of a few megabytes are parsed in it
FORMATS = ["safetensors", "zip", "legacy"]
HOSTILE_CALLS = [
    ("os", "system"),
    ("posix", "system"),
    ("subprocess", "Popen"),
    ("builtins", "eval"),
    ("torch.storage", "_load_from_bytes"),
]
HOSTILE_CODES = [b"i", b"o", b"\x81", b"b", b"R", b"\x82\1", b"\x93", b"Q", b"\x92", b"cos\nsystem\n", b"c__builtin__\neval\n", b"0", b"2"]


def arrays(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A small model; the sizes leave room for damage in its values."""
    kinds = ["float32", "float16", "int64", "bool", "uint8", "float32"]
    return {f"layers.{i}.weight": (rng.standard_normal((i + 1, 16)) * 9).astype(kind) for i, kind in enumerate(kinds)}


def written(form: str, values: dict[str, np.ndarray], **more: object) -> bytes:
    """The bytes of a healthy file of a format, with more entries in those that are pickles."""
    if form == "safetensors":
        return save(values)
    saved = checkpoint(values, **more)
    return zip_file(saved) if form == "zip" else legacy_file(saved)


def checkpoint(values: dict[str, np.ndarray], **more: object) -> dict[str, object]:
    """What a training run saves."""
    model = {name: parameter(value) if name.startswith("layers.0") else tensor(value) for name, value in values.items()}
    return {"model": model, "epoch": 3, "cfg": {"depth": 12}, **more}


def edit_front(data: bytearray, rng: np.random.Generator) -> None:
    for place in rng.integers(0, min(400, len(data)), int(rng.integers(1, 6))):
        data[place] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(0, 256)]))


def edit_end(data: bytearray, rng: np.random.Generator) -> None:
    """The directory of a zip file, and the last values of the others."""
    for place in rng.integers(max(0, len(data) - 700), len(data), int(rng.integers(1, 6))):
        data[place] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(0, 256)]))


def claim_giants(data: bytearray, rng: np.random.Generator) -> None:
    """Lengths become huge: of the header, of text in a pickle, of members of a zip file."""
    if data[8:9] == b"{":
        data[:8] = struct.pack("<Q", int(rng.choice([2**63, 2**40, len(data), 2**32 - 1, 1])))
    marks = [match.start() for match in re.finditer(b"[XT]..\0\0|PK\1\2", bytes(data), re.DOTALL)]
    for place in rng.choice(marks, min(3, len(marks)), replace=False) if marks else []:
        size = struct.pack("<I", int(rng.choice([2**31, 2**32 - 1, 2**30, 2**27])))
        start = place + (20 if data[place : place + 2] == b"PK" else 1)
        data[start : start + 4] = size


def shift_numbers(data: bytearray, rng: np.random.Generator) -> None:
    """Shapes, offsets and sizes that are written as numbers become others: overlaps, holes, reaches beyond the file."""
    places = [match.span() for match in re.finditer(rb"(?<=[\[,])\d+(?=[\],])|K[\x01-\x40]", bytes(data[:4000]), re.DOTALL)]
    for start, stop in [places[int(i)] for i in rng.integers(0, len(places), 2)] if places else []:
        if data[start : start + 1] == b"K":
            data[start + 1] = int(rng.integers(0, 256))
        else:
            data[start:stop] = (
                str(int(rng.choice([0, 1, 10**9, 2**62, rng.integers(0, 500)]))).rjust(stop - start).encode()[-(stop - start) :]
            )


DAMAGE: list[Callable[[bytearray, np.random.Generator], None]] = [
    *(flip_bits, truncate, insert, zero_fill, cut_out),
    *(edit_front, edit_end, claim_giants, shift_numbers),
]


def hostile_call(form: str, values: dict[str, np.ndarray], rng: np.random.Generator, marker: Path) -> bytes:
    """A well-formed checkpoint that asks for something to be run, at some place."""
    call = Call(*HOSTILE_CALLS[int(rng.integers(len(HOSTILE_CALLS)))], f"touch {marker}")
    nested = [
        call,
        {"a": [call]},
        Call("torch._utils", "_rebuild_parameter", call, True, {}),
        Call("collections", "OrderedDict", [("a", call)]),
    ]
    return written(form, values, settings=nested[int(rng.integers(len(nested)))])


def hostile_codes(form: str, values: dict[str, np.ndarray], rng: np.random.Generator, marker: Path) -> bytes:
    """Instructions put into the pickle at some place, with checksums that hold."""
    program, storages = pickled(checkpoint(values), legacy=form == "legacy")
    place = 2 + int(rng.integers(0, len(program) - 2))
    command = f"touch {marker}".encode()
    words = b"cos\nsystem\n(X" + struct.pack("<I", len(command)) + command + b"tR"
    codes = b"".join(HOSTILE_CODES[int(i)] for i in rng.integers(0, len(HOSTILE_CODES), 3))
    pieces = [codes, words] if rng.integers(2) else [codes]
    return (zip_of if form == "zip" else legacy_of)(b"".join((program[:place], *pieces, program[place:])), storages)


def pickle_bomb(form: str, values: dict[str, np.ndarray], rng: np.random.Generator, marker: Path) -> bytes:
    """Little in the file, much when it is unfolded: shared lists, deep lists, long text many times, a wide dictionary."""
    shared: list = [0] * 10
    for _ in range(int(rng.integers(5, 30))):
        shared = [shared] * 10
    deep: list = []
    for _ in range(90):
        deep = [deep]
    text = "a" * 200_000
    bombs = [shared, deep, [text] * 300, 2**100_000, {i: i for i in range(150_000)}]
    return written(form, values, bomb=bombs[int(rng.integers(len(bombs)))])


def zip_trick(form: str, values: dict[str, np.ndarray], rng: np.random.Generator, marker: Path) -> bytes:
    """Members that are compressed, doubled, renamed, elsewhere than they say, or too many."""
    content = bytearray(written("zip", values))
    trick = int(rng.integers(4))
    if trick == 0:
        path = marker.with_suffix(".zip")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data.pkl", bytes(50_000_000))
        return path.read_bytes()
    if trick == 1:
        return bytes(content.replace(b"archive/data/1", b"archive/data/0"))
    if trick == 2:
        return bytes(content.replace(b"archive/data/1", b"../../../data1"))
    directory = [match.start() for match in re.finditer(b"PK\1\2", bytes(content))]
    first, second = rng.choice(directory, 2, replace=False)
    content[first + 42 : first + 46] = content[second + 42 : second + 46]
    return bytes(content)


def bad_header(form: str, values: dict[str, np.ndarray], rng: np.random.Generator, marker: Path) -> bytes:
    """Safetensors headers that are JSON but describe the file wrongly, or nest without end."""
    content = save(values)
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    names = list(header)
    one, other = header[names[0]], header[names[1]]
    trick = int(rng.integers(6))
    if trick == 0:
        one["data_offsets"] = other["data_offsets"]
    elif trick == 1:
        one["shape"] = [2**31, 2**31]
    elif trick == 2:
        one["dtype"] = "Q4"
    elif trick == 3:
        other["data_offsets"] = [other["data_offsets"][0], 2**61]
    text = json.dumps(header).encode()
    if trick == 4:
        text = b"[" * 1_000_000
    elif trick == 5:
        text = b"{" + b",".join([text[1:-1], text[1:-1]]) + b"}"
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


HOSTILE = [hostile_call, hostile_codes, pickle_bomb, zip_trick, bad_header]
FORM_OF = {zip_trick: ["zip"], bad_header: ["safetensors"]}  # the others are of pickles


def mutation(number: int, rng: np.random.Generator, marker: Path) -> tuple[str, str, bytes, dict[str, np.ndarray]]:
    """Damage, format, bytes, and the arrays before it, of file `number`."""
    values = arrays(rng)
    damage = (DAMAGE + HOSTILE)[number % len(DAMAGE + HOSTILE)]
    turn = number // len(DAMAGE + HOSTILE)
    if damage in HOSTILE:
        forms = FORM_OF.get(damage, ["zip", "legacy"])
        form = forms[turn % len(forms)]
        return damage.__name__, form, damage(form, values, rng, marker), values
    form = FORMATS[turn % 3]
    content = bytearray(written(form, values))
    damage(content, rng)
    return damage.__name__, form, bytes(content), values


def outcome_of(path: Path, values: dict[str, np.ndarray]) -> tuple[str, str]:
    """Column of the table, and the words of a refusal without their numbers and quotations."""
    try:
        with open_weights(path) as weights:
            for name in weights:
                assert weights[name].shape == weights.shapes()[name]
                assert weights[name].nbytes <= path.stat().st_size, "more in memory than in the file"
            same = weights.shapes() == {name: value.shape for name, value in values.items()}
            return ("same" if same and weights.dtypes() == {name: value.dtype for name, value in values.items()} else "other"), ""
    except WeightFileError as error:
        message = str(error)
        assert message.startswith(str(path)), message
        assert "\n" not in message, message
        words = message.removeprefix(str(path)).split(";")[0].strip()
        return "refused", re.sub(r"\(.*|b?'.*?'|b?\".*?\"|\d+", "_", words)[:70]


def soak(folder: Path, count: int, seed: int = 0) -> tuple[dict[str, collections.Counter], collections.Counter, float]:
    """Opens `count` damaged files; damage -> outcomes, reasons, and the most processor time that one file took, in seconds."""
    rng = np.random.default_rng(seed)
    marker = folder / "ran"
    table: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    reasons: collections.Counter = collections.Counter()
    slowest = 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(count):
        damage, form, content, values = mutation(number, rng, marker)
        path = folder / f"{number:05d}_{damage}.{form if form == 'safetensors' else 'pt'}"
        path.write_bytes(content)
        began = sum(os.times()[:4])
        outcome, words = outcome_of(path, values)
        slowest = max(slowest, sum(os.times()[:4]) - began)
        assert not marker.exists(), f"{path} ran its payload"
        assert damage not in ("hostile_call", "zip_trick", "bad_header") or outcome == "refused", f"{path} was read"
        table[damage][outcome] += 1
        reasons.update([words] if words else [])
        with contextlib.suppress(OSError):
            path.unlink()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < MEMORY_BYTES, f"opening took {grown / 2**20:.0f} MiB"
    return table, reasons, slowest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000, help="files to damage")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        table, reasons, slowest = soak(Path(folder), arguments.count, arguments.seed)
    columns = ["refused", "same", "other"]
    print(" " * 16 + "".join(f"{name:>10}" for name in columns))
    for row, counts in [*table.items(), ("all", sum(table.values(), collections.Counter()))]:
        print(f"{row:16}" + "".join(f"{counts[name]:>10}" for name in columns))
    for words, number in reasons.most_common():
        print(f"{number:6d}  {words}")
    print(f"{arguments.count} files in {time.monotonic() - began:.1f} s; the slowest took {slowest:.2f} s of processor time")
    assert slowest < HANG_SECONDS, "a file held up the run"


if __name__ == "__main__":
    main()
