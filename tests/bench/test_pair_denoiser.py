"""The pair denoiser bench at toy sizes: its workers run, and torch's literal loop gives what our sampler gives."""

from typing import ClassVar

import jax
import pytest

from audiojax.bench import harness, pair_denoiser, pair_denoiser_jax
from audiojax.bench.harness import Sample
from audiojax.errors import UsageError
from audiojax.papers.diffatr import inference

TOY = {
    "queries": 20,
    "gallery": 12,
    "top_m": 6,
    "steps": 10,
    "width": 16,
    "query_block": 8,
    "torch_queries": 7,
    "samples": 1,
    "attempts": 1,
}


def test_our_side_alone():
    lines = []
    (row,) = pair_denoiser.run(**TOY, torch_forms=(), report=lines.append)
    assert lines[0].startswith("audiojax: first call ")
    assert lines[1:] == [line for line in lines if line.startswith(f"audiojax: {row.median:.3g} s")]
    assert row.side == "audiojax"
    assert row.items == 20
    assert row.samples == 1
    assert row.per_second == pytest.approx(20 / row.median)
    assert row.compile_seconds > 0
    assert row.memory_mib > 50
    assert (row.platform, row.device) == ("cpu", "cpu")
    assert row.as_dict()["device"] == "cpu"


@pytest.mark.parity
def test_both_sides_do_the_same_maths():
    pytest.importorskip("torch")
    rows = pair_denoiser.run(**TOY, torch_forms=("eager", "bfloat16"), allow_noise=True)
    assert [row.side for row in rows] == ["audiojax", "torch eager", "torch bfloat16"]
    assert [row.items for row in rows] == [20, 7, 7]
    assert all(row.ratio > 0 for row in rows[1:])
    assert all(row.as_dict()["device"] == "cpu" for row in rows)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("ours", "cuda", "expected"), [("gpu", True, "cuda"), ("gpu", False, "cpu"), ("cpu", True, "cpu"), ("tpu", True, "cpu")]
)
def test_torch_takes_a_gpu_where_ours_does(monkeypatch, ours, cuda, expected):
    torch = pytest.importorskip("torch")
    from audiojax.bench.torch_device import describe, device_for

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    assert device_for(ours) == torch.device(expected)
    named = {"cuda": {"platform": "gpu", "device": "NVIDIA H100"}, "cpu": {"platform": "cpu", "device": "cpu"}}
    assert describe(device_for(ours)) == named[expected]


@pytest.mark.parity
def test_the_clock_stops_when_the_gpu_has_finished(monkeypatch, tmp_path):
    torch = pytest.importorskip("torch")
    from audiojax.bench import pair_denoiser_torch

    shared, log = str(tmp_path / "shared.npz"), []
    pair_denoiser_jax.prepare(TOY | {"checked": 7, "shared": shared})
    to, sample = torch.Tensor.to, pair_denoiser_torch.sample
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *where: to(self, *(item for item in where if isinstance(item, torch.dtype))))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: log.append("synchronize"))
    monkeypatch.setattr(pair_denoiser_torch, "sample", lambda *args: log.append("sample") or sample(*args))
    call, facts = pair_denoiser_torch.prepare({"shared": shared, "dtype": "float32", "ours": {"platform": "gpu"}})
    call()
    assert log == ["sample", "synchronize"] * 2
    assert facts["device"] == "NVIDIA H100"
    assert facts["difference"] < pair_denoiser.TOLERANCE["float32"]


class FakeWorker:
    """Notes what it was asked to do, and says that it ran on a GPU."""

    specs: ClassVar[list[dict]]
    samples: ClassVar[int]

    def __init__(self, module, spec):
        self.specs.append(spec)
        self.facts = {"first_seconds": 1.0, "platform": "gpu", "device": "NVIDIA H100", "difference": 0.0, "items": 5}
        self.memory_mib = 1.0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def sample(self):
        FakeWorker.samples += 1
        return Sample(1.0, 0.5)


def test_torch_is_told_where_ours_runs_and_asked_often_enough(monkeypatch):
    monkeypatch.setattr(harness, "find_spec", lambda name: True)
    monkeypatch.setattr(harness, "Worker", FakeWorker)
    FakeWorker.specs, FakeWorker.samples = [], 0
    rows = pair_denoiser.run(samples=20)
    assert FakeWorker.specs[1]["ours"]["platform"] == "gpu"
    assert [(row.platform, row.device) for row in rows] == [("gpu", "NVIDIA H100")] * 2
    assert FakeWorker.samples == 2 * 80  # none was quiet


def test_our_side_takes_no_tf32(monkeypatch, tmp_path):
    seen = []

    def diffuse_scores(*args, **options):
        seen.append(jax.config.jax_default_matmul_precision)
        return inference.diffuse_scores(*args, **options)

    monkeypatch.setattr(pair_denoiser_jax, "diffuse_scores", diffuse_scores)
    call, _ = pair_denoiser_jax.prepare(TOY | {"checked": 7, "shared": str(tmp_path / "shared.npz")})
    call()
    assert seen == ["highest", "highest"]


def test_without_torch_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr(harness, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"audiojax\[parity\]"):
        pair_denoiser.run(**TOY)
