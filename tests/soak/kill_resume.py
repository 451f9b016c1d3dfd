"""Kills a training run with SIGKILL at random moments, resumes it, and compares every bit with a run that was left alone.

  python -m tests.soak.kill_resume --trials 20 [--seed 0] [--workers 0]

Each trial is killed one to three times: while it starts, steps, evaluates or saves, as chance has it.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.trainer import processes

OPTIONS = ("--steps", 40, "--save-every", 3, "--eval-every", 10, "--delay", 0.005)


def reference(folder, *options):
    """Seconds that an undisturbed run takes; its result stays in `folder`."""
    begin = time.monotonic()
    processes.finish(processes.start(folder, *options))
    return time.monotonic() - begin


def trial(folder, expected, seconds, rng, *options, kills=None):
    """Kills the run at random moments, lets the last one finish, and returns (deaths, differing arrays and lines)."""
    deaths = 0
    for _ in range(kills or rng.randint(1, 3)):
        process = processes.start(folder, *options)
        try:
            process.wait(timeout=rng.uniform(0.3, 1.0) * seconds)
        except Exception:
            process.kill()
            deaths += 1
        process.communicate()
    processes.finish(processes.start(folder, *options))
    want, got = processes.result(expected), processes.result(folder)
    different = [
        name for name in want.keys() | got.keys() if name not in want or name not in got or not np.array_equal(want[name], got[name])
    ]
    if processes.metrics(folder) != processes.metrics(expected):
        different.append("metrics.csv")
    return deaths, different


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="loader processes of each run")
    arguments = parser.parse_args()
    options = (*OPTIONS, "--workers", arguments.workers)
    rng = random.Random(arguments.seed)
    root = Path(tempfile.mkdtemp(prefix="kill_resume_"))
    seconds = reference(root / "left_alone", *options)
    print(f"undisturbed: {seconds:.1f} s", flush=True)
    equal = 0
    for number in range(1, arguments.trials + 1):
        deaths, different = trial(root / str(number), root / "left_alone", seconds, rng, *options)
        equal += not different
        print(
            f"trial {number}: killed {deaths} times, {'bit-equal' if not different else 'DIFFERENT: ' + ', '.join(different)}", flush=True
        )
        shutil.rmtree(root / str(number))
    print(f"{equal} of {arguments.trials} trials bit-equal")
    shutil.rmtree(root)
    return 0 if equal == arguments.trials else 1


if __name__ == "__main__":
    sys.exit(main())
