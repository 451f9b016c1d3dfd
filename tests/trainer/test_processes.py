"""Real processes: killed and resumed, several on one machine, and more or fewer of them after a restart."""

import random
import signal
import time

import numpy as np
import pytest

from tests.soak import kill_resume
from tests.trainer import processes

SHORT = ("--steps", 8, "--eval-every", 4, "--save-every", 2)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    kill_resume.reference(folder, *SHORT)
    return folder


def assert_close(folder, expected, tolerance):
    want, got = processes.result(expected), processes.result(folder)
    for name, value in got.items():
        np.testing.assert_allclose(value, want[name], rtol=tolerance, atol=tolerance, err_msg=name)
    assert got


def losses(folder):
    return [float(line.split(",")[3]) for line in processes.metrics(folder) if ",train/loss," in line]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_run_killed_again_and_again_resumes_bit_equal(tmp_path, workers):
    options = (*kill_resume.OPTIONS, "--workers", workers)
    kill_resume.reference(tmp_path / "alone", *options)
    deaths, different = kill_resume.trial(tmp_path / "killed", tmp_path / "alone", random.Random(5), *options, kills=3)
    assert deaths >= 2
    assert different == []


@pytest.mark.slow
@pytest.mark.parametrize(("count", "devices", "parallel"), [(2, 1, "mesh"), (4, 1, "pmap"), (4, 2, "mesh"), (2, 2, "pmap")])
def test_processes_equal_one(alone, tmp_path, count, devices, parallel):
    processes.finish(*processes.start_many(count, tmp_path, *SHORT, "--devices", devices, "--parallel", parallel))
    assert_close(tmp_path, alone, 1e-5)
    np.testing.assert_allclose(losses(tmp_path), losses(alone), rtol=1e-5)
    assert len(losses(tmp_path)) == 8


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["pmap", "mesh"])
def test_resume_on_other_process_counts_keeps_the_global_order(alone, tmp_path, parallel):
    options = (*SHORT, "--parallel", parallel)
    stopped = processes.start_many(2, tmp_path, *options, "--devices", 1, "--stop-at", 3)
    texts = [process.communicate(timeout=240)[0] for process in stopped]
    assert [process.returncode for process in stopped] == [143, 143], texts
    again = processes.start(tmp_path, *options, "--stop-at", 5)
    assert "saved step 5 after SIGTERM" in again.communicate(timeout=240)[0]
    processes.finish(*processes.start_many(4, tmp_path, *options, "--devices", 1))
    np.testing.assert_allclose(losses(tmp_path), losses(alone), rtol=1e-4)
    assert_close(tmp_path, alone, 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["pmap", "mesh"])
def test_step_that_one_process_cannot_read_is_read_by_none(alone, tmp_path, parallel):
    options = ("--eval-every", 4, "--save-every", 2, "--devices", 1, "--parallel", parallel)
    processes.finish(*processes.start_many(2, tmp_path, "--steps", 6, *options))
    stale = processes.start_many(2, tmp_path, "--steps", 8, *options, "--unreadable", 6, "stale")
    texts = [process.communicate(timeout=240)[0] for process in stale]
    assert [process.returncode for process in stale] == [1, 1], texts
    assert "first/6 failed on another process" in texts[0]
    assert "first/6 is out of reach ([Errno 116] Stale file handle)" in texts[1]
    assert not (tmp_path / "checkpoints" / "first-damaged").exists()
    texts = processes.finish(*processes.start_many(2, tmp_path, "--steps", 8, *options, "--unreadable", 6, "damaged"))
    assert "checkpoint first/6 is damaged" in texts[0]
    assert [place.name for place in (tmp_path / "checkpoints" / "first-damaged").iterdir()] == ["6"]
    assert len(losses(tmp_path)) == 8


@pytest.mark.slow
def test_signal_between_the_last_report_and_the_end_stops_both(tmp_path):
    options = ("--steps", 4, "--log-every", 25, "--eval-every", 0, "--devices", 1, "--stop-at", 2)
    both = processes.start_many(2, tmp_path, *options)
    texts = [process.communicate(timeout=240)[0] for process in both]
    assert [process.returncode for process in both] == [143, 143], texts
    assert all("saved step 4 after SIGTERM" in text for text in texts)


@pytest.mark.slow
def test_sigterm_to_one_of_two_processes_stops_both_after_the_same_step(tmp_path):
    options = ("--steps", 400, "--delay", 0.01, "--eval-every", 0, "--save-every", 50, "--devices", 1)
    both = processes.start_many(2, tmp_path, *options)
    deadline = time.monotonic() + 120
    while not (tmp_path / "metrics.csv").exists() or len(losses(tmp_path)) < 3:
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in both)
        time.sleep(0.1)
    both[1].send_signal(signal.SIGTERM)
    texts = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [143, 143], texts
    stopped = [next(line for line in text.splitlines() if "after SIGTERM" in line) for text in texts]
    assert stopped[0] == stopped[1]
    step = int(stopped[0].split("saved step ")[1].split()[0])
    assert (tmp_path / "checkpoints" / "first" / str(step)).is_dir()
