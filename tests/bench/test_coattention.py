"""The co-attention bench at toy sizes: both sides score alike, and what it counts is what the scores need."""

import jax
import pytest

from audiojax.bench import coattention, coattention_jax, harness
from audiojax.bench.coattention import PRODUCT, SMALL, TOLERANCE, share, useful_operations
from audiojax.bench.harness import Row
from audiojax.bench.towers_jax import operations
from audiojax.errors import AudiojaxError, UsageError
from audiojax.models.co_attention import CoAttention, CoAttentionConfig, States, pair_scores

WORKER = {name: value for name, value in SMALL.items() if name != "product"} | {"steps": 2}
SIZES = {"words": 6, "segments": 10, "width": 64, "hidden": 256, "input_width": 96}


def states(rows, length):
    return States(jax.ShapeDtypeStruct((rows, length, 96), "float32"), jax.ShapeDtypeStruct((rows, length), bool))


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_operations_are_those_of_the_products(steps):
    """XLA counts them, and a few per cent for the rest, in the one turn of a loop whose block holds all sounds."""
    network = CoAttention(CoAttentionConfig(width=64, heads=4, hidden=256, depth=steps))
    text, audio = states(5, 6), states(3, 10)
    params = jax.eval_shape(lambda key, *pair: network.init(key, *pair, train=False), jax.random.key(0), states(1, 6), states(1, 10))
    function = jax.jit(lambda params, text, audio: pair_scores(network, params, text, audio, block=3))
    counted = operations(function, (params["params"], text, audio))
    assert counted / 1.1 < useful_operations(5, 3, **SIZES, steps=steps) < counted


def test_a_side_alone_is_counted_once():
    def count(texts, sounds):
        return useful_operations(texts, sounds, **SIZES, steps=2)

    assert count(4, 6) - count(2, 6) == pytest.approx(2 * (count(1, 6) - count(0, 6)))
    assert count(4, 6) < 24 * count(1, 1)
    assert count(4, 0) == 4 * count(1, 0) > 0


def test_the_scores_are_written_for_torch(tmp_path):
    call, facts = coattention_jax.prepare(WORKER | {"shared": str(tmp_path / "shared.npz")})
    assert call().shape == (4, 3)
    assert facts["items"] == 12
    assert facts["first_seconds"] > 0
    assert (facts["platform"], facts["device"]) == ("cpu", "cpu")
    assert (tmp_path / "shared.npz").stat().st_size > 0


def test_the_product_counts_its_own_operations():
    call, facts = coattention_jax.prepare({"product": 8})
    assert call().shape == (8, 8)
    assert (facts["items"], facts["flops"]) == (1, 1024)


def test_the_ratio_of_the_product_is_that_of_the_operations():
    ours = Row("case", "audiojax", 12, 1.0, 1.0, 12.0, 3, 3, 0.0, 1.0, gflops=30.0)
    product = Row("case", PRODUCT, 1, 1.0, 1.0, 1.0, 3, 3, 0.0, 1.0, ratio=12.0, gflops=40.0)
    assert share(product, ours).ratio == 0.75
    refused = Row("case", PRODUCT, 1, 1.0, 1.0, 1.0, 0, 3, 0.0, 1.0, note="no ratio", gflops=40.0)
    assert share(refused, ours) == refused


class FakeWorker:
    """Answers at once; torch's scores are off by `difference`."""

    difference = 0.0

    def __init__(self, module, spec):
        self.facts = {"first_seconds": 1.0, "platform": "cpu", "device": "cpu", "items": 4, "memory_mib": 1.0}
        if module.endswith("_jax"):
            self.facts |= {"flops": 8e9 if "product" in spec else 4e9, "items": 1 if "product" in spec else 4}
        else:
            self.facts |= {"difference": self.difference}
        self.memory_mib = 1.0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def sample(self):
        return harness.Sample(2.0, 0.0)


@pytest.fixture
def workers(monkeypatch):
    monkeypatch.setattr(harness, "find_spec", lambda name: True)
    monkeypatch.setattr(harness, "Worker", FakeWorker)
    return FakeWorker


def test_rows_and_their_operations(workers):
    rows = coattention.run()
    assert [row.side for row in rows] == ["audiojax", PRODUCT, "torch eager"]
    assert [row.gflops for row in rows] == [2.0, 4.0, 2.0]
    assert [row.ratio for row in rows] == [None, 0.5, 1.0]


def test_a_worker_may_say_itself_what_compiling_took(workers, monkeypatch):
    assert [row.compile_seconds for row in coattention.run()] == [0.0, 0.0, 0.0]  # the first calls took less than the samples

    class Told(workers):
        def __init__(self, module, spec):
            super().__init__(module, spec)
            if module.endswith("_jax"):
                self.facts["compile_seconds"] = 0.75

    monkeypatch.setattr(harness, "Worker", Told)
    assert [row.compile_seconds for row in coattention.run()] == [0.75, 0.75, 0.0]


@pytest.mark.parametrize("difference", [2 * TOLERANCE, float("nan")])
def test_other_scores_are_refused(workers, monkeypatch, difference):
    monkeypatch.setattr(workers, "difference", difference)
    with pytest.raises(AudiojaxError, match="torch eager differs from audiojax"):
        coattention.run()


def test_without_torch_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr(harness, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"audiojax\[parity\]"):
        coattention.run(**SMALL)


@pytest.mark.parity
def test_both_sides_do_the_same_maths():
    pytest.importorskip("torch")
    rows = coattention.run(**SMALL, samples=1, attempts=1, allow_noise=True)
    assert [row.side for row in rows] == ["audiojax", PRODUCT, "torch eager"]
    assert [row.items for row in rows] == [12, 1, 12]
    assert all(row.ratio > 0 for row in rows[1:])
