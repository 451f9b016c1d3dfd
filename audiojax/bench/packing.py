"""Speed of `audiojax data pack` beside plain loops over soundfile and soxr, each on one core: FLAC at 44.1 kHz to 32 kHz.

Our side is a whole `pack`: a child process is started, and each clip is checked, decoded, resampled, rounded to int16, serialised and
written. One plain loop decodes and resamples and keeps nothing; the other also rounds and writes the samples to a file.
"""

import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from audiojax.bench.harness import MIN_QUIET, Row, Side, compare
from audiojax.errors import AudiojaxError

SIZES = {"files": 100, "clips": 1_000, "seconds": 10.0}
SMALL = {"files": 2, "clips": 4, "seconds": 1.0}
RATES = (44_100, 32_000)  # Hz, of the files and of the packed clips


def run(
    *,
    small: bool = False,
    samples: int = MIN_QUIET,
    attempts: int | None = None,
    allow_noise: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Rows of audiojax and of both loops, items = clips; see `compare`.

    Args:
      small: at a size for tests.
      samples, attempts, allow_noise, report: see `compare`.

    Raises:
      AudiojaxError: a worker stopped, or the loops make clips of other lengths than ours.
    """
    sizes = SMALL if small else SIZES
    title = f"packing: {sizes['clips']} clips of {sizes['seconds']:g} s, FLAC at {RATES[0]} Hz to {RATES[1]} Hz, on one core"
    with tempfile.TemporaryDirectory(prefix="audiojax-bench-") as folder:
        spec = {**sizes, "folder": folder, "rates": RATES}
        names = {"audiojax": "pack", "soundfile + soxr": "loop", "soundfile + soxr, stored": "stored_loop"}
        sides = [Side(name, "audiojax.bench.packing_worker", {**spec, "side": side}) for name, side in names.items()]
        return compare(title, sides, check=check, samples=samples, attempts=attempts, allow_noise=allow_noise, report=report)


def check(side: Side, facts: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """AudiojaxError where a loop makes clips of another length than ours."""
    if facts["length"] != ours["length"]:
        raise AudiojaxError(f"{side.name} makes clips of {facts['length']} samples and audiojax of {ours['length']}: not the same work")
