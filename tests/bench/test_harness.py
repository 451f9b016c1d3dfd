"""The noise rule: what counts as quiet, when a ratio is refused, and how samples are taken in turns."""

import math
import os
import subprocess
import sys

import pytest

from audiojax.bench import harness
from audiojax.bench.harness import Sample, Worker, alternate, busy_seconds, make_row, take_sample, with_ratios
from audiojax.errors import AudiojaxError

QUIET, NOISY = 0.02, 0.7


class FakeWorker:
    """Answers with prepared loads, and logs its turns."""

    def __init__(self, name, loads, log):
        self.name, self.loads, self.log = name, iter(loads), log

    def sample(self):
        self.log.append(self.name)
        return Sample(1.0, next(self.loads))


def row(side, loads, seconds=1.0, items=10, **where):
    return make_row("case", side, items, [Sample(seconds, load) for load in loads], first_seconds=seconds + 2.0, memory_mib=5.0, **where)


def test_busy_seconds_adds_what_is_not_idle(tmp_path):
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 20 30 4000 500 6 7 8 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
    assert busy_seconds(stat) == pytest.approx((100 + 20 + 30 + 6 + 7 + 8) / os.sysconf("SC_CLK_TCK"))
    assert math.isnan(busy_seconds(tmp_path / "missing"))


def test_foreign_time_is_the_machine_s_minus_our_own(monkeypatch):
    clocks = {"machine": iter([100.0, 103.0]), "own": iter([5.0, 7.5]), "wall": iter([0.0, 1.0, 2.0])}
    monkeypatch.setattr(harness, "busy_seconds", lambda: next(clocks["machine"]))
    monkeypatch.setattr(harness, "own_seconds", lambda: next(clocks["own"]))
    monkeypatch.setattr(harness.time, "perf_counter", lambda: next(clocks["wall"]))
    calls = []
    sample = take_sample(lambda: calls.append(None), min_seconds=1.5)
    assert len(calls) == 2  # the first call took 1 s, less than the 1.5 s asked for
    assert sample == Sample(seconds=1.0, foreign_cores=pytest.approx(0.25))


def test_ended_children_count_as_our_own():
    before = harness.own_seconds()
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True)
    assert harness.own_seconds() - before > 0.25


def test_a_busy_neighbour_is_seen():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as burner:
        try:
            loads = [take_sample(lambda: harness.time.sleep(0.4)).foreign_cores for _ in range(3)]
        finally:
            burner.kill()
    assert max(loads) > 0.3
    assert not Sample(1.0, max(loads)).quiet


def test_an_unknown_load_is_not_quiet():
    assert Sample(1.0, 0.1).quiet
    assert not Sample(1.0, 0.11).quiet
    assert not Sample(1.0, float("nan")).quiet


def test_workers_take_turns_until_each_has_enough_quiet_samples():
    log = []
    taken = alternate([FakeWorker("a", [QUIET] * 9, log), FakeWorker("b", [NOISY, QUIET, QUIET, QUIET], log)], wanted=3, attempts=9)
    assert log == ["a", "b", "a", "b", "a", "b", "b"]
    assert [len(samples) for samples in taken] == [3, 4]
    log.clear()
    alternate([FakeWorker("a", [NOISY] * 9, log)], wanted=3, attempts=5)
    assert len(log) == 5


def test_a_row_rests_on_quiet_samples():
    samples = [Sample(9.0, NOISY), Sample(1.0, QUIET), Sample(2.0, QUIET), Sample(4.0, QUIET)]
    made = make_row("case", "side", 10, samples, first_seconds=7.0, memory_mib=1.0)
    assert (made.median, made.minimum, made.per_second, made.compile_seconds) == (2.0, 1.0, 5.0, 5.0)
    assert (made.quiet, made.samples) == (3, 4)
    told = make_row("case", "side", 10, samples, first_seconds=7.0, memory_mib=1.0, compile_seconds=6.5)
    assert (told.median, told.compile_seconds) == (2.0, 6.5)
    noisy = make_row("case", "side", 10, samples[:1], first_seconds=7.0, memory_mib=1.0)
    assert (noisy.median, noisy.quiet, noisy.compile_seconds) == (9.0, 0, 0.0)


def test_a_ratio_needs_three_quiet_samples_of_each_side():
    fast, slow = row("ours", [QUIET] * 3), row("torch", [QUIET] * 3, seconds=8.0, items=5)
    assert with_ratios([fast, slow])[0].ratio is None
    assert with_ratios([fast, slow])[1].ratio == pytest.approx(16.0)  # 10 items in 1 s against 5 in 8 s
    for first, second, guilty in ((row("ours", [QUIET, QUIET, NOISY]), slow, "ours"), (fast, row("torch", [QUIET] * 2, 8.0, 5), "torch")):
        refused = with_ratios([first, second])[1]
        assert refused.ratio is None
        assert refused.note.startswith(f"no ratio: {guilty} has 2 quiet samples of")
        forced = with_ratios([first, second], allow_noise=True)[1]
        assert forced.ratio == pytest.approx(16.0)
        assert forced.note == "noisy"


@pytest.mark.parametrize("allow_noise", [False, True])
def test_there_is_no_ratio_between_two_kinds_of_device(allow_noise):
    ours = row("ours", [QUIET] * 3, platform="gpu", device="NVIDIA H100")
    theirs = row("torch", [QUIET] * 3)
    refused = with_ratios([ours, theirs], allow_noise)[1]
    assert refused.ratio is None
    assert refused.note == "no ratio: it ran on cpu and ours on NVIDIA H100; JAX_PLATFORMS=cpu puts both on the CPU"
    assert with_ratios([ours, row("torch", [QUIET] * 3, platform="gpu", device="NVIDIA H100")])[1].ratio == 1.0


def test_a_worker_that_stops_is_named():
    with pytest.raises(AudiojaxError, match=r"audiojax\.bench\.no_such_worker stopped: .*No module named"):
        Worker("audiojax.bench.no_such_worker", {})


def loads_jax(*modules):
    code = f"import sys, {', '.join(modules)}; print('jax' in sys.modules)"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == "True"


def test_what_workers_of_all_frameworks_share_does_not_load_jax():
    assert not loads_jax("audiojax.bench.harness", "audiojax.bench.pair_denoiser", "audiojax.bench.towers")


@pytest.mark.parity
def test_the_torch_workers_do_not_load_jax():
    pytest.importorskip("torch")
    assert not loads_jax("audiojax.bench.coattention_torch", "audiojax.bench.pair_denoiser_torch", "audiojax.bench.towers_torch")
