"""Worker of the packing bench, of all its sides; bound to one core with the children that it starts."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from audiojax.bench.harness import serve
from audiojax.data.layouts.clips import Clip, Dataset, Sound
from audiojax.data.recordings import pack
from audiojax.data.sources import open_records
from audiojax.data.transforms import to_int16


def prepare(spec: dict[str, Any]) -> tuple[Callable[[], int], dict[str, Any]]:
    """Writes the sound files where they are not there yet; a call goes over all clips and returns the length of the last, in samples."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    folder = Path(spec["folder"])
    paths = write_sounds(folder / "sounds", spec["files"], spec["seconds"], spec["rates"][0])
    listed = [paths[i % len(paths)] for i in range(spec["clips"])]
    sides = {"pack": lambda: packed(listed, folder / "packed", spec["rates"][1])}
    sides |= {
        "loop": lambda: loop(listed, spec["rates"][1]),
        "stored_loop": lambda: stored_loop(listed, folder / "samples", spec["rates"][1]),
    }
    call = sides[spec["side"]]
    start = time.perf_counter()
    length = call()
    first_seconds = time.perf_counter() - start
    return call, {"first_seconds": first_seconds, "items": spec["clips"], "platform": "cpu", "device": "cpu", "length": length}


def packed(paths: list[Path], out: Path, sample_rate: int) -> int:
    """Packs the files anew."""
    shutil.rmtree(out, ignore_errors=True)
    clips = tuple(Clip(f"{i:06d}", "train", ("a fading tone in noise",), Sound(path)) for i, path in enumerate(paths))
    dataset = Dataset(paths[0].parent, "folder", "", "FLAC files", clips)
    folder = pack(dataset, out, sample_rate=sample_rate, workers=1, progress=False)
    return len(open_records(folder, "train")[len(clips) - 1]["audio"])


def loop(paths: list[Path], sample_rate: int) -> int:
    """Decodes and resamples."""
    for path in paths:
        samples, rate = soundfile.read(path, dtype="float32")
        samples = soxr.resample(samples, rate, sample_rate)
    return len(samples)


def stored_loop(paths: list[Path], out: Path, sample_rate: int) -> int:
    """Decodes, resamples, and stores the samples one after the other."""
    with out.open("wb") as file:
        for path in paths:
            samples, rate = soundfile.read(path, dtype="float32")
            samples = soxr.resample(samples, rate, sample_rate)
            file.write(to_int16(samples))
    return len(samples)


def write_sounds(folder: Path, count: int, seconds: float, rate: int) -> list[Path]:
    """FLAC files of fading tones in noise, 16 bit mono: broadband, as recordings are, so that FLAC has work to do."""
    paths = [folder / f"{i:03d}.flac" for i in range(count)]
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    time_of = np.arange(round(seconds * rate)) / rate
    for path in paths:
        pitch, fading = rng.uniform(100, 2_000), np.exp(-4 * (time_of % 1))
        noise = rng.standard_normal(len(time_of), np.float32)
        if not path.is_file():
            soundfile.write(path, 0.2 * fading * np.sin(2 * np.pi * pitch * time_of) + 0.02 * noise, rate, subtype="PCM_16")
    return paths


if __name__ == "__main__":
    serve(prepare)
