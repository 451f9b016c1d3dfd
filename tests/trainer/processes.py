"""Starts the toy program, or another one, in processes of its own."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]


def start(workdir, *options, environment=None, program="tests.trainer.run_toy"):
    """One process; its output goes to a pipe."""
    command = [sys.executable, "-m", program, str(workdir), *map(str, options)]
    clean = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    return subprocess.Popen(
        command, cwd=ROOT, env=clean | (environment or {}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )


def start_many(count, workdir, *options, program="tests.trainer.run_toy"):
    """`count` processes of one run on this machine."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    common = {"AUDIOJAX_COORDINATOR": f"localhost:{port}", "AUDIOJAX_NUM_PROCESSES": str(count)}
    return [start(workdir, *options, environment=common | {"AUDIOJAX_PROCESS_ID": str(i)}, program=program) for i in range(count)]


def finish(*processes, timeout=240):
    """Texts of processes that ended well."""
    texts = [process.communicate(timeout=timeout)[0] for process in processes]
    for process, text in zip(processes, texts, strict=True):
        assert process.returncode == 0, text[-3000:]
    return texts


def result(workdir):
    """path -> array of a finished run."""
    with np.load(Path(workdir) / "result.npz") as file:
        return dict(file)


def metrics(workdir):
    """metrics.csv without the speed."""
    return [line for line in (Path(workdir) / "metrics.csv").read_text().splitlines() if ",speed/" not in line]
