"""Collectives: identity without an axis, the global answer with one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax import collectives

pytestmark = pytest.mark.usefixtures("strict_dtypes")
X = np.arange(16, dtype=np.float32).reshape(8, 2)


def over_devices(function, x):
    return jax.pmap(function, axis_name="data")(x)


def test_identity_without_axis():
    x = jnp.asarray(X)
    for function in (collectives.pmean, collectives.gather_batch):
        assert function(x) is x
    assert int(collectives.axis_index()) == 0
    assert int(collectives.row_offset(4)) == 0


def test_mean_over_devices():
    mean = over_devices(lambda x: collectives.pmean({"a": x}, "data")["a"], X)
    np.testing.assert_allclose(mean, np.broadcast_to(X.mean(0), (8, 2)))


def test_counts_stay_what_they_are():
    """A step that gives back another dtype than it takes cannot be called twice; a mean in float32 loses counts."""
    counts = over_devices(lambda x: collectives.pmean(x, "data"), np.full((8, 1), 2**30 + 1, np.int32))
    assert counts.dtype == np.int32
    np.testing.assert_array_equal(counts, 2**30 + 1)


def test_gather_keeps_global_row_order():
    shards = X.reshape(4, 2, 2)
    gathered = jax.pmap(lambda x: collectives.gather_batch(x, "data"), axis_name="data", devices=jax.devices()[:4])(shards)
    np.testing.assert_array_equal(gathered, np.broadcast_to(X, (4, 8, 2)))


def test_gathered_loss_has_the_gradient_of_the_global_batch():
    w = np.float32([[0.3, -0.2], [0.1, 0.5]])

    def loss(w, x, axis_name=None):
        z = x @ w  # [b, d]
        everyone = collectives.gather_batch(z, axis_name)
        labels = collectives.row_offset(z.shape[0], axis_name) + jnp.arange(z.shape[0], dtype=jnp.int32)
        logp = jax.nn.log_softmax(jnp.einsum("id,jd->ij", z, everyone), axis=-1)
        return -jnp.mean(jnp.take_along_axis(logp, labels[:, None], axis=1))

    def shard(w, x):
        return collectives.pmean(jax.grad(loss)(w, x, "data"), "data")

    x = X / 16
    expected = jax.grad(loss)(jnp.asarray(w), jnp.asarray(x))
    got = jax.pmap(shard, axis_name="data", in_axes=(None, 0), out_axes=None, devices=jax.devices()[:4])(w, x.reshape(4, 2, 2))
    assert float(jnp.linalg.norm(expected)) > 1e-3
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)


def test_example_keys_follow_the_global_row():
    key = jax.random.key(7)
    whole = jax.random.key_data(collectives.example_keys(key, 8))
    parts = jax.pmap(lambda _: jax.random.key_data(collectives.example_keys(key, 2, "data")), axis_name="data", devices=jax.devices()[:4])(
        np.zeros(4, np.float32)
    )
    np.testing.assert_array_equal(np.asarray(parts).reshape(8, -1), whole)
    assert len({tuple(row) for row in np.asarray(whole)}) == 8


def test_local_keys_differ_between_devices():
    key = jax.random.key(7)
    keys = over_devices(lambda _: jax.random.key_data(collectives.local_key(key, "data")), X)
    assert len({tuple(row) for row in np.asarray(keys)}) == 8
    assert collectives.local_key(key) is key
