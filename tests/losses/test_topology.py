"""The topology loss (note of Diffusion-Link, checks 4 and 5)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from audiojax.losses.topology import topology_loss

ROWS, WIDTH = 6, 4
ENTRIES = st.floats(-2, 2, width=32).filter(lambda x: abs(x) > 1e-3)


def by_hand(generated, original):
    """The mean over pairs, one by one."""
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (generated, original))
    pairs = [(i, j) for i in range(len(a)) for j in range(len(a)) if i != j]
    return np.mean([(a[i] @ a[j] - b[i] @ b[j]) ** 2 for i, j in pairs])


@pytest.fixture(scope="module")
def clouds():
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, ROWS, WIDTH)).astype(np.float32)


def test_it_is_the_mean_over_pairs(clouds):
    assert topology_loss(*clouds) == pytest.approx(by_hand(*clouds), rel=1e-5)


@settings(max_examples=20, deadline=None)
@given(arrays(np.float32, (2, ROWS, WIDTH), elements=ENTRIES), st.permutations(range(ROWS)), st.floats(0.1, 10))
def test_rotation_lengths_and_order_change_nothing(both, order, factor):
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(WIDTH, WIDTH)))
    plain = float(topology_loss(*both))
    lengths = np.linspace(0.5, factor + 0.5, ROWS)[:, None].astype(np.float32)
    moved = (both[0] * lengths) @ rotation.astype(np.float32)
    assert float(topology_loss(moved[list(order)], both[1][list(order)])) == pytest.approx(plain, rel=1e-3, abs=1e-5)


def test_what_is_the_same_costs_nothing_and_one_row_neither(clouds):
    assert topology_loss(clouds[0], 3 * clouds[0]) == pytest.approx(0, abs=1e-12)
    assert topology_loss(clouds[0][:1], clouds[1][:1]) == 0


def test_collapse_costs(clouds):
    unit = clouds[1] / np.linalg.norm(clouds[1], axis=1, keepdims=True)
    others = ~np.eye(ROWS, dtype=bool)
    collapsed = np.broadcast_to(clouds[0][:1], clouds[0].shape)
    assert topology_loss(collapsed, clouds[1]) == pytest.approx(np.mean((1 - unit @ unit.T)[others] ** 2), rel=1e-5)


def test_a_row_of_zeros_is_finite(clouds):
    generated = jnp.asarray(clouds[0]).at[2].set(0.0)
    value, gradient = jax.value_and_grad(topology_loss)(generated, clouds[1])
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_eight_devices_give_the_loss_and_the_gradient_of_one():
    both = np.random.default_rng(2).normal(size=(2, 16, WIDTH)).astype(np.float32)
    value, gradient = jax.value_and_grad(topology_loss)(*both)
    shards = both.reshape(2, 8, 2, WIDTH)

    def shared(generated, original):
        loss = jax.value_and_grad(lambda x: topology_loss(x, original, axis_name="data"))(generated)
        return jax.lax.pmean(loss[0], "data"), loss[1] / 8  # the rows of each device are its own: the mean over devices is an eighth each

    values, gradients = jax.pmap(shared, axis_name="data")(*shards)
    np.testing.assert_allclose(values, value, rtol=1e-5)
    np.testing.assert_allclose(gradients.reshape(16, WIDTH), gradient, rtol=1e-4, atol=1e-7)
