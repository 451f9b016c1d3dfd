"""Partition rules and the halves of a parameter tree."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from audiojax.errors import UsageError
from audiojax.partition import each_its_own, flat_paths, merge_params, param_spec, split_params, state_shardings, unmatched_rules
from audiojax.trainer.layout import make_layout, shardings_of
from audiojax.trainer.optim import make_optimizer
from audiojax.trainer.state import create_state
from tests.trainer import toy


@pytest.fixture(scope="module")
def mesh():
    return make_layout("mesh", (2, 2, 2)).mesh


@pytest.fixture(scope="module")
def params():
    return jax.eval_shape(toy.init, jax.random.key(0), toy.batch(2))["params"]


def test_split_and_merge_are_inverse(params):
    trainable, frozen = split_params(params, "^audio/")
    assert set(flat_paths(trainable)) == {p for p in flat_paths(params) if p.startswith("audio/")}
    assert not set(flat_paths(trainable)) & set(flat_paths(frozen))
    assert merge_params(trainable, frozen) == params
    assert split_params(params, ".*")[1] == {}
    with pytest.raises(UsageError, match="matches no parameter"):
        split_params(params, "^video/")


def test_every_rule_of_the_toy_matches_and_a_stale_one_is_found(params):
    assert unmatched_rules(toy.RULES, params) == []
    assert unmatched_rules((*toy.RULES, ("^video/", P())), params) == ["^video/"]


@pytest.mark.parametrize(
    ("path", "shape", "spec"),
    [
        ("audio/hidden/kernel", (6, 16), P("fsdp", "tensor")),  # a rule
        ("other", (6, 16), P(None, "fsdp")),  # largest divisible dimension
        ("other", (17, 4), P(None, "fsdp")),
        ("other", (8, 8), P("fsdp")),  # of equal ones the first
        ("other", (3, 5), P()),
        ("other", (4, 4, 6, 2), P(None, None, "fsdp")),  # never the space of a kernel
        ("other", (4, 4, 1, 3), P()),
        ("other", (), P()),
    ],
)
def test_rule_first_then_largest_divisible_dimension(mesh, path, shape, spec):
    assert param_spec(path, shape, toy.RULES, mesh) == spec


def test_rule_that_does_not_divide_names_the_numbers(mesh):
    with pytest.raises(UsageError, match=r"dimension 7 of 'audio/hidden/kernel' is not divisible by 2"):
        param_spec("audio/hidden/kernel", (7, 16), toy.RULES, mesh)
    with pytest.raises(UsageError, match="more dimensions"):
        param_spec("a/hidden/kernel", (8,), toy.RULES, mesh)


def test_moments_and_average_lie_like_their_parameter(mesh, params):
    optimizer = make_optimizer(toy.GROUPS, params, 10)
    create = lambda p: create_state(p, {"mean": jnp.zeros(6)}, optimizer, jax.random.key(0), ema=True)  # noqa: E731
    state = jax.eval_shape(create, params)
    shardings = state_shardings(state, params, toy.RULES, mesh)
    found = {
        jax.tree_util.keystr(path, simple=True, separator="/"): sharding.spec
        for path, sharding in jax.tree_util.tree_leaves_with_path(shardings)
    }
    kernels = {path: spec for path, spec in found.items() if path.endswith("audio/hidden/kernel")}
    assert len(kernels) == 4  # parameter, two moments, average
    assert set(kernels.values()) == {P("fsdp", "tensor")}
    assert found["step"] == P()
    assert found["key"] == P()
    assert found["model_state/mean"] == P("fsdp")


def test_pmap_replicates_on_local_devices(params):
    layout = make_layout("pmap")
    shardings = jax.tree.leaves(shardings_of(layout, params, params, toy.RULES))
    assert all(s.spec == P() and s.mesh.size == 8 for s in shardings)


@pytest.mark.parametrize("parallel", ["pmap", "mesh"])
def test_devices_do_their_own_rows_of_what_the_compiler_does_not_split(parallel):
    """It would gather all rows on every device for the loop and the Fourier transform."""
    layout, rows = make_layout(parallel), np.random.default_rng(0).normal(size=(16, 32)).astype(np.float32)
    compute = lambda weight, x: weight * jnp.abs(jax.lax.map(jnp.fft.rfft, x))  # noqa: E731
    split, whole = (jax.jit(partial(each_its_own, compute, kind)) for kind in (layout.batch_sharding, layout.replicated))
    placed = jax.device_put(rows, layout.batch_sharding)
    np.testing.assert_allclose(split(2.0, placed), 2 * np.abs(np.fft.rfft(rows)), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(split(2.0, placed), whole(2.0, rows))
    assert "all-gather" not in split.lower(2.0, placed).compile().as_text()
    assert "all-gather" in whole.lower(2.0, placed).compile().as_text()
