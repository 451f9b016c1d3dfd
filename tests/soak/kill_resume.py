"""Kills a training run with SIGKILL at random moments, resumes it, and compares every bit with a run that was left alone.

  python -m tests.soak.kill_resume --trials 20 [--seed 0] [--workers 0]

Each trial is killed one to three times: a random time after it has logged a random step, so while it steps, evaluates, saves or, after an
earlier death, starts. All runs share a compilation cache, which is killed with them.
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

STEPS = 40
OPTIONS = ("--steps", STEPS, "--save-every", 3, "--eval-every", 10, "--delay", 0.005)


def reference(folder, *options, cache=None):
    """An undisturbed run; its result stays in `folder`."""
    processes.finish(processes.start(folder, *options, environment=_environment(cache)), timeout=600)


def trial(folder, expected, rng, *options, steps=STEPS, kills=None, cache=None):
    """Kills the run at random moments, lets the last one finish, and returns (deaths, differing arrays and lines)."""
    deaths = 0
    for _ in range(kills or rng.randint(1, 3)):
        process = processes.start(folder, *options, environment=_environment(cache))
        deaths += _kill(process, folder, rng.randint(1, steps - 1), rng.uniform(0.0, 0.3))
        process.communicate()
    processes.finish(processes.start(folder, *options, environment=_environment(cache)), timeout=600)
    want, got = processes.result(expected), processes.result(folder)
    different = [
        name for name in want.keys() | got.keys() if name not in want or name not in got or not np.array_equal(want[name], got[name])
    ]
    if processes.metrics(folder) != processes.metrics(expected):
        different.append("metrics.csv")
    return deaths, different


def _kill(process, folder, step, delay):
    """Kills the process `delay` seconds after metrics.csv shows `step`; False if it ended before."""
    while process.poll() is None and not _logged(folder, step):
        time.sleep(0.02)
    time.sleep(delay)
    alive = process.poll() is None
    process.kill()
    return alive


def _logged(folder, step):
    path = Path(folder) / "metrics.csv"
    return path.exists() and f"first,{step},train/loss," in path.read_text()


def _environment(cache):
    return {} if cache is None else {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="loader processes of each run")
    arguments = parser.parse_args()
    options = (*OPTIONS, "--workers", arguments.workers)
    rng = random.Random(arguments.seed)
    root = Path(tempfile.mkdtemp(prefix="kill_resume_"))
    reference(root / "left_alone", *options, cache=root / "cache")
    equal = 0
    for number in range(1, arguments.trials + 1):
        deaths, different = trial(root / str(number), root / "left_alone", rng, *options, cache=root / "cache")
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
