"""Worker of the index bench: faiss's flat index of inner products, on all cores."""

import time
from typing import Any

import faiss

from audiojax.bench.harness import serve
from audiojax.bench.index import added_copies, draw_queries, draw_vectors, peak_mib


def prepare(spec: dict[str, Any]):
    """Adds the vectors piece by piece; the first call warms up."""
    queries = draw_queries(spec["queries"], spec["width"])
    before = peak_mib()
    index = faiss.IndexFlatIP(spec["width"])
    for piece in draw_vectors(spec["rows"], spec["width"]):
        index.add(piece)

    def call():
        return index.search(queries, spec["k"])

    start = time.perf_counter()
    scores, _ = call()
    first_seconds = time.perf_counter() - start
    copies = added_copies(before, spec["rows"], spec["width"])
    return call, {
        "first_seconds": first_seconds,
        "items": spec["queries"],
        "scores": scores.tolist(),
        "copies": copies,
        "platform": "cpu",
        "device": "cpu",
    }


if __name__ == "__main__":
    serve(prepare)
