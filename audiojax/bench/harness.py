"""Fair timing on a machine that others use too: workers in their own processes, taking turns, and a rule about noise.

Each side of a comparison is a worker process, so that two frameworks never share one. The parent asks one worker after the other for a
sample; a worker measures the wall time of one call and how many cores other processes used meanwhile (/proc/stat minus its own time).
Samples above `MAX_FOREIGN_CORES` are dropped, and a ratio needs `MIN_QUIET` quiet samples of both sides: foreign load slows some frameworks
far more than others, so a careless ratio flatters one of them. So does a ratio between two kinds of device, which there is none of.

This module imports no array library: workers of any framework use it.
"""

import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from audiojax.errors import AudiojaxError, UsageError

MAX_FOREIGN_CORES = 0.1
MIN_QUIET = 3
MIN_SECONDS = 0.3  # of a sample: /proc/stat counts in steps of 10 ms


@dataclass(frozen=True)
class Sample:
    """One timed call.

    Attributes:
      seconds: wall time.
      foreign_cores: mean number of cores that other processes kept busy meanwhile; nan where the system does not tell.
    """

    seconds: float
    foreign_cores: float

    @property
    def quiet(self) -> bool:
        """Whether it may enter a comparison (an unknown load may not)."""
        return self.foreign_cores <= MAX_FOREIGN_CORES


@dataclass(frozen=True)
class Row:
    """One line of a bench table.

    Attributes:
      case, side: what was run, and by whom.
      items: how many items one call handles.
      median, minimum: seconds a call over the quiet samples, over all where there are none.
      per_second: items a second, from the median.
      quiet, samples: how many samples were quiet, of how many taken.
      compile_seconds: tracing and compilation, or warming up: as the worker says, or else its first call less the median.
      memory_mib: peak resident memory of the worker, on the host.
      platform: kind of device it ran on, "cpu", "gpu" or "tpu".
      device: name of that device.
      ratio: how many times faster the first side of the case is, per item; None for the first side itself, or where it was refused.
      note: why the ratio was refused, or empty.
      gflops: billions of floating-point operations a second, by the side's own count, or else the first side's; None where there is none.
    """

    case: str
    side: str
    items: int
    median: float
    minimum: float
    per_second: float
    quiet: int
    samples: int
    compile_seconds: float
    memory_mib: float
    platform: str = "cpu"
    device: str = "cpu"
    ratio: float | None = None
    note: str = ""
    gflops: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON or CSV."""
        return asdict(self)


def busy_seconds(stat: Path = Path("/proc/stat")) -> float:
    """CPU seconds that all processes of the machine have used since boot (idle and waiting left out); nan where /proc/stat is missing."""
    try:
        fields = [int(field) for field in stat.read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return float("nan")
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    """CPU seconds that this process has used, and its children that have ended and were waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def take_sample(function: Callable[[], Any], min_seconds: float = MIN_SECONDS) -> Sample:
    """Times `function`; short ones are called until `min_seconds` have passed. When it returns, its work is done and its children ended."""
    machine, own, start = busy_seconds(), own_seconds(), time.perf_counter()
    calls = elapsed = 0
    while elapsed < min_seconds or calls == 0:
        function()
        calls, elapsed = calls + 1, time.perf_counter() - start
    foreign = (busy_seconds() - machine) - (own_seconds() - own)
    return Sample(elapsed / calls, foreign if math.isnan(foreign) else max(0.0, foreign / elapsed))


def serve(prepare: Callable[[dict[str, Any]], tuple[Callable[[], Any], dict[str, Any]]]) -> None:
    """The main of a worker module: `prepare(spec) -> (call, facts)`, then one sample for every line "sample" on stdin.

    The spec is the JSON of the command line's only argument; answers are JSON lines on stdout. `prepare` makes the first call itself. Its
    `facts` say how long that took, `first_seconds`, where it ran, `platform` and `device` (see `Row`), how many `items` a call handles,
    where that first call had less to do than the others also its `compile_seconds`, and anything else it likes.
    """
    spec = json.loads(sys.argv[1])
    answers, sys.stdout = sys.stdout, sys.stderr  # a library's chatter must not look like an answer
    call, facts = prepare(spec)
    print(json.dumps(facts), file=answers, flush=True)
    for line in sys.stdin:
        if line.strip() != "sample":
            break
        sample = take_sample(call)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            json.dumps({"seconds": sample.seconds, "foreign_cores": sample.foreign_cores, "memory_mib": memory}), file=answers, flush=True
        )


class Worker:
    """A worker process of `module` (run as `python -m module SPEC`); a context manager that ends it."""

    def __init__(self, module: str, spec: Mapping[str, Any]):
        self.module = module
        self.memory_mib = 0.0
        command = [sys.executable, "-m", module, json.dumps(dict(spec))]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True)
        self.facts = self._answer()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()
        self._errors.close()

    def sample(self) -> Sample:
        """Asks for one sample and waits for it."""
        print("sample", file=self._process.stdin, flush=True)
        answer = self._answer()
        self.memory_mib = answer.pop("memory_mib")
        return Sample(**answer)

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        self._process.wait()
        self._errors.seek(0)
        last = ([line for line in self._errors.read().splitlines() if line.strip()] or ["no message"])[-1]
        self.close()
        raise AudiojaxError(f"bench worker {self.module} stopped: {last}")


def alternate(
    workers: Sequence[Worker],
    wanted: int = MIN_QUIET,
    attempts: int = 12,
    report: Callable[[int, Sample], None] = lambda worker, sample: None,
) -> list[list[Sample]]:
    """Samples of every worker, one after the other in turns, until each has `wanted` quiet ones or was asked `attempts` times.

    Args:
      report: called after every sample with the number of its worker.
    """
    taken: list[list[Sample]] = [[] for _ in workers]
    for _ in range(attempts):
        waiting = [i for i, samples in enumerate(taken) if sum(sample.quiet for sample in samples) < wanted]
        if not waiting:
            break
        for i in waiting:
            taken[i].append(workers[i].sample())
            report(i, taken[i][-1])
    return taken


def make_row(
    case: str,
    side: str,
    items: int,
    samples: Sequence[Sample],
    first_seconds: float,
    memory_mib: float,
    platform: str = "cpu",
    device: str = "cpu",
    compile_seconds: float | None = None,
) -> Row:
    """The line of one side, from its quiet samples, or from all of them where none was quiet (which the counts show).

    Args:
      compile_seconds: None where the first call had as much to do as the samples, and what it took beyond them is the compilation.
    """
    quiet = [sample.seconds for sample in samples if sample.quiet]
    seconds = quiet or [sample.seconds for sample in samples]
    median = statistics.median(seconds)
    if compile_seconds is None:
        compile_seconds = first_seconds - median
    counts = (len(quiet), len(samples))
    return Row(case, side, items, median, min(seconds), items / median, *counts, max(0.0, compile_seconds), memory_mib, platform, device)


def with_ratios(rows: Sequence[Row], allow_noise: bool = False) -> list[Row]:
    """The rows with `ratio` filled in against the first one: its items a second over theirs, or a note why not."""
    first, *others = rows
    done = [first]
    for row in others:
        short = [side for side in (first, row) if side.quiet < MIN_QUIET]
        ratio, note = None, ""
        if row.platform != first.platform:
            note = f"no ratio: it ran on {row.device} and {first.side} on {first.device}; JAX_PLATFORMS=cpu puts both on the CPU"
        elif short and not allow_noise:
            note = f"no ratio: {short[0].side} has {short[0].quiet} quiet samples of {short[0].samples}, {MIN_QUIET} are needed"
        else:
            ratio, note = first.per_second / row.per_second, "noisy" if short else ""
        done.append(replace(row, ratio=ratio, note=note))
    return done


@dataclass(frozen=True)
class Side:
    """One party of a comparison.

    Attributes:
      name: in the table.
      module: of its worker.
      spec: what the worker is told, beside the facts of the first side's worker as "ours".
      needs: packages that it imports and that may be missing.
    """

    name: str
    module: str
    spec: Mapping[str, Any]
    needs: Sequence[str] = ()


def same_maths(tolerance: Callable[[Side], float], where: str) -> Callable[[Side, Mapping[str, Any], Mapping[str, Any]], None]:
    """A `check` for `compare`: the fact "difference", which a worker has measured against our result, is at most the tolerance of its side.

    Args:
      where: what differs, for the error, such as "in a score".
    """

    def check(side: Side, facts: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
        difference = facts.get("difference", 0.0)
        if not difference <= tolerance(side):
            raise AudiojaxError(f"{side.name} differs from audiojax by {difference:.2g} {where}: not the same maths")

    return check


def compare(
    case: str,
    sides: Sequence[Side],
    *,
    check: Callable[[Side, Mapping[str, Any], Mapping[str, Any]], None],
    samples: int = MIN_QUIET,
    attempts: int | None = None,
    allow_noise: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """A row of each side, ours first; the workers of all of them live until the last sample.

    Args:
      check: is called with every side, its worker's facts and those of our worker, before anything is timed; raises where they disagree.
      samples: quiet samples wanted of each side.
      attempts: samples of each side at most; None for four times as many as wanted.
      allow_noise: see `with_ratios`.
      report: called with a line of text when a side is ready and after every sample: all of it takes minutes.

    Raises:
      UsageError: a package is not installed.
      AudiojaxError: a worker stopped.
    """
    if missing := sorted({name for side in sides for name in side.needs if find_spec(name) is None}):
        raise UsageError(f"the bench compares with {', '.join(missing)}: pip install 'audiojax[parity]', or leave torch out (--no-torch)")
    workers: list[Worker] = []

    def told(worker: int, sample: Sample) -> None:
        report(f"{sides[worker].name}: {sample.seconds:.3g} s" + ("" if sample.quiet else ", other programs were busy"))

    with ExitStack() as stack:
        for side in sides:
            ours = {"ours": workers[0].facts} if workers else {}
            workers.append(stack.enter_context(Worker(side.module, {**side.spec, **ours})))
            report(f"{side.name}: first call {workers[-1].facts['first_seconds']:.1f} s")
            check(side, workers[-1].facts, workers[0].facts)
        taken = alternate(workers, samples, attempts or 4 * samples, told)
    rows = []
    for side, got, worker in zip(sides, taken, workers, strict=True):
        items, first_seconds, platform, device = (worker.facts[name] for name in ("items", "first_seconds", "platform", "device"))
        row = make_row(case, side.name, items, got, first_seconds, worker.memory_mib, platform, device, worker.facts.get("compile_seconds"))
        counted = worker.facts if "flops" in worker.facts else workers[0].facts
        flops, of_items = (counted.get(name) for name in ("flops", "items"))
        rows.append(replace(row, gflops=flops / of_items * row.per_second / 1e9) if flops else row)
    return with_ratios(rows, allow_noise)
