"""pmap, mesh and one device in float64, as a program: JAX_ENABLE_X64=1 python -m tests.trainer.x64_layouts"""

import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np

from audiojax.trainer.layout import make_layout
from tests.trainer import test_step, toy

single = toy.batch


def double(size, start=0, seed=0):
    return {name: x.astype(np.float64) if x.dtype == np.float32 else x for name, x in single(size, start, seed).items()}


def main():
    toy.batch = double
    expected, history = test_step.on_one_device()
    start = test_step.variables()["params"]
    moved = jax.tree.map(lambda a, b: a - b, expected.params, start)  # minus the sum of three gradients
    assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves(moved))
    for parallel, sizes in (("pmap", (-1, 1, 1)), ("mesh", (8, 1, 1)), ("mesh", (2, 2, 2))):
        got, other = test_step.run(make_layout(parallel, sizes))
        test_step.assert_trees_close(jax.tree.map(lambda a, b: a - b, got.params, start), moved, 1e-9)
        for a, b in zip(history, other, strict=True):
            np.testing.assert_allclose(b["grad_norm/all"], a["grad_norm/all"], rtol=1e-9)
        worst = max(
            float(np.max(np.abs(a - b))) for a, b in zip(jax.tree.leaves(got.params), jax.tree.leaves(expected.params), strict=True)
        )
        print(f"{parallel} {sizes}: largest difference {worst:.1e}")


if __name__ == "__main__":
    main()
