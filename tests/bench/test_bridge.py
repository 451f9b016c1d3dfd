"""The bridge bench at toy sizes: both sides bridge alike, and what it counts is what the network needs."""

import jax
import numpy as np
import pytest

from audiojax.bench import bridge, bridge_jax
from audiojax.bench.bridge import SMALL, useful_operations
from audiojax.bench.coattention import PRODUCT
from audiojax.bench.towers_jax import operations
from audiojax.models.residual_mlp import ResidualMlp, ResidualMlpConfig

WORKER = {"config": SMALL["config"], "batch": 32, "batches": 2}


def test_operations_are_those_of_the_products():
    """XLA counts them, and a few per cent for the rest."""
    network, rows = ResidualMlp(64, ResidualMlpConfig(width=128, blocks=2)), jax.ShapeDtypeStruct((50, 64), "float32")
    step = jax.ShapeDtypeStruct((1,), "int32")
    params = jax.eval_shape(network.init, jax.random.key(0), rows, step)
    modulation = jax.eval_shape(lambda p, t: network.apply(p, t, method="modulation"), params, step)
    counted = operations(jax.jit(lambda *x: network.apply(*x, method="denoise")), (params, rows, modulation))
    sizes = {"features": 64, "width": 128, "blocks": 2}
    assert counted / 1.15 < useful_operations(50, steps=1, **sizes) < counted
    assert useful_operations(10, steps=5, **sizes) == useful_operations(50, steps=1, **sizes)


def test_the_result_is_written_for_torch(tmp_path):
    call, facts = bridge_jax.prepare(WORKER | {"shared": str(tmp_path / "shared.npz")})
    with np.load(tmp_path / "shared.npz") as stored:
        result = stored["result"]
        assert stored["grid"].tolist() == [99, 79, 59, 39, 19, -1]
    assert facts["items"] == 64
    assert 0 < facts["compile_seconds"] < facts["first_seconds"]
    np.testing.assert_array_equal(call()[1], result)
    np.testing.assert_allclose(np.linalg.norm(result, axis=1), 1, atol=1e-5)


@pytest.mark.parity
def test_both_sides_do_the_same_maths():
    pytest.importorskip("torch")
    rows = bridge.run(**SMALL, samples=1, attempts=1, allow_noise=True)
    assert [row.side for row in rows] == ["audiojax", PRODUCT, "torch eager"]
    assert [row.items for row in rows] == [64, 1, 64]
    assert all(row.ratio > 0 for row in rows[1:])
