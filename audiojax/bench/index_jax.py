"""Worker of the index bench: our search, the vectors resident in blocks."""

import time
from functools import partial
from typing import Any

import jax
import numpy as np

from audiojax.bench.harness import serve
from audiojax.bench.index import PIECE, added_copies, draw_queries, draw_vectors, peak_mib
from audiojax.index.exact import ExactSearch


def prepare(spec: dict[str, Any]):
    """Compiles with the first piece alone, which is then read and searched once more, and puts all vectors on the devices."""
    queries = draw_queries(spec["queries"], spec["width"])
    (device, *_) = jax.block_until_ready(jax.numpy.zeros(8) + 1).devices()  # a backend and its compiler
    before = peak_mib()
    piece, search = (
        ExactSearch(partial(draw_vectors, rows, spec["width"]), np.arange(rows), resident=resident)
        for rows, resident in ((min(spec["rows"], PIECE), False), (spec["rows"], True))
    )

    def call():
        return search.search(queries, spec["k"])

    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        piece.search(queries, spec["k"])
        seconds.append(time.perf_counter() - start)
    took = {"first_seconds": seconds[0], "compile_seconds": seconds[0] - seconds[1]}
    best = call()
    where = {"platform": device.platform, "device": device.device_kind}
    copies = added_copies(before, spec["rows"], spec["width"])
    return call, {**took, "items": spec["queries"], "scores": best.scores.tolist(), "copies": copies, **where}


if __name__ == "__main__":
    serve(prepare)
