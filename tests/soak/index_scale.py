"""Searches millions of float16 vectors in memory-mapped files, and measures time, memory, and what float16 loses against float32.

    python -m tests.soak.index_scale [--rows 5000000] [--folder DIR]

Writes an index of made-up vectors into a temporary folder, 5 GB, which is deleted at the end. A process of its own opens it and asks
for the ten best of a hundred queries: the first search compiles and fills the page cache, the others are timed. The truth is a search over
the same vectors in float32, drawn again block by block. Queries are vectors of the index with noise on them, as captions are to sounds.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

WIDTH, QUERIES, K = 512, 100, 10
PIECE = 16_384
NOISE = 2.0  # norm of the noise on a query's unit vector


def draw_vectors(rows: int) -> Iterator[np.ndarray]:
    """Unit vectors, float32, PIECE at a time; each piece has a seed of its own."""
    for first in range(0, rows, PIECE):
        piece = np.random.default_rng(first).standard_normal((min(PIECE, rows - first), WIDTH), np.float32)
        yield piece / np.linalg.norm(piece, axis=1, keepdims=True)


def draw_queries() -> np.ndarray:
    """The first vectors with noise on them, as unit vectors."""
    rows = next(draw_vectors(PIECE))[:QUERIES]
    queries = rows + NOISE * np.random.default_rng(10**9).standard_normal(rows.shape) / np.sqrt(WIDTH)
    return (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)


def write(folder: Path, rows: int) -> None:
    """An index of `rows` made-up files of one window each."""
    from audiojax.index import store

    schema = store.window_schema(WIDTH, "float16")
    batches = (store.window_batch(piece, np.zeros(len(piece)), np.ones(len(piece)), "float16") for piece in draw_vectors(rows))
    constant = {"duration": 1.0, "digest": "", "size": 1, "modified": 1, "silent": False, "windows": 1}
    columns = {name: pa.repeat(pa.scalar(value, store.FILES.field(name).type), rows) for name, value in constant.items()}
    columns |= {"path": pa.array([f"{i:08d}.wav".encode() for i in range(rows)]), "row": pa.array(np.arange(rows))}
    columns |= {name: pa.nulls(rows, store.FILES.field(name).type) for name in ("reason", "detail", "decoder", "captions")}
    files = pa.table({name: columns[name] for name in store.FILES.names}, store.FILES)
    with store.locked(folder):
        windows = store.write_part(folder, "windows", schema, batches)
        table = store.write_part(folder, "files", store.FILES, files.to_batches())
        settings = store.Settings("made-up", "made-up", 16_000, 1.0, dtype="float16")
        store.commit(folder, settings, Path("/made-up"), WIDTH, (table, windows))


def search(folder: Path, rows: int) -> dict:
    """Seconds of each search, processor seconds of the last, resident memory after them, and the rows that were found."""
    from audiojax.index.search import Index

    queries, seconds = draw_queries(), []
    begun = time.perf_counter()
    index = Index.open(folder)
    opening = time.perf_counter() - begun
    for _ in range(4):
        begun, worked = time.perf_counter(), time.process_time()
        hits = index.search(queries, K)
        seconds.append(time.perf_counter() - begun)
    cores = time.process_time() - worked
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    memory = {name: int(status[name].split()[0]) // 1024 for name in ("RssAnon", "RssFile")}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {
        "open": opening,
        "seconds": seconds,
        "cores": cores,
        "peak": peak,
        **memory,
        "rows": [[hit.row for hit in line] for line in hits],
    }


def truth(folder: Path, rows: int) -> dict:
    """The rows that a search in float32 finds."""
    from audiojax.index.exact import ExactSearch

    best = ExactSearch(partial(draw_vectors, rows), np.arange(rows)).search(draw_queries(), K)
    return {"rows": best.rows.tolist()}


STEPS = {"write": write, "search": search, "truth": truth}


def child(step: str, folder: Path, rows: int) -> dict:
    """What a step gives in a process of its own."""
    command = [sys.executable, "-m", "tests.soak.index_scale", "--step", step, "--folder", os.fspath(folder), "--rows", str(rows)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=5_000_000, help="vectors (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where to make the temporary folder (default: the system's)")
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(STEPS[arguments.step](arguments.folder, arguments.rows)))
        return 0
    needed = arguments.rows * (WIDTH * 2 + 100)
    with tempfile.TemporaryDirectory(prefix="index_scale_", dir=arguments.folder) as root:
        if (free := shutil.disk_usage(root).free) < 1.2 * needed:
            print(f"{root}: {needed / 2**30:.1f} GiB are needed, {free / 2**30:.1f} are free; name another --folder")
            return 2
        child("write", Path(root) / "index", arguments.rows)
        size = sum(path.stat().st_size for path in (Path(root) / "index").iterdir())
        print(f"{arguments.rows:,} x {WIDTH} float16: {size / 2**30:.2f} GiB on the disk", flush=True)
        found = child("search", Path(root) / "index", arguments.rows)
        first, *others = found["seconds"]
        print(f"opening {found['open']:.1f} s; first search {first:.1f} s, then {min(others):.1f} to {max(others):.1f} s", end=" ")
        print(f"({found['cores']:.1f} s of processor time)")
        print(f"memory: peak {found['peak']} MiB; at the end {found['RssAnon']} MiB own and {found['RssFile']} MiB of files", flush=True)
        exact = child("truth", Path(root), arguments.rows)
    shared = [len(set(mine) & set(theirs)) for mine, theirs in zip(found["rows"], exact["rows"], strict=True)]
    first = np.mean([mine[0] == theirs[0] for mine, theirs in zip(found["rows"], exact["rows"], strict=True)])
    print(f"recall@{K} against float32: {np.mean(shared) / K:.4f}; the same first hit: {first:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
