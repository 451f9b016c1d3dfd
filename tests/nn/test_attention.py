"""Attention against a loop over queries, and the rules about masks, dtypes and the choice of form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.nn.attention import MultiHeadAttention, attention, fits_fused_kernel


def draw(shape, seed=0):
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def loop_attention(q, k, v, bias, mask):
    """The definition, one query at a time, in float64."""
    b, n, heads, d = q.shape
    out = np.zeros((b, n, heads, v.shape[-1]))
    for i, t, h in np.ndindex(b, n, heads):
        score = k[i, :, h].astype(np.float64) @ q[i, t, h] / np.sqrt(d) + bias[i, h, t]
        valid = mask[i, h, t]
        weight = np.where(valid, np.exp(score - score[valid].max()), 0)
        out[i, t, h] = weight / weight.sum() @ v[i, :, h]
    return out


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("with_mask", [False, True])
def test_equals_the_definition(with_bias, with_mask):
    q, k, v = draw((2, 5, 3, 4), 1), draw((2, 7, 3, 4), 2), draw((2, 7, 3, 6), 3)
    bias = draw((1, 3, 5, 7), 4) if with_bias else np.zeros((1, 3, 5, 7))
    mask = draw((2, 1, 1, 7), 5) > -0.5 if with_mask else np.ones((2, 1, 1, 7), bool)
    assert mask.any(-1).all()
    ours = jax.jit(attention)(q, k, v, bias=bias.astype(np.float32) if with_bias else None, mask=mask if with_mask else None)
    full = (2, 3, 5, 7)
    np.testing.assert_allclose(ours, loop_attention(q, k, v, np.broadcast_to(bias, full), np.broadcast_to(mask, full)), atol=2e-6)


def test_equals_the_library_form_in_value_and_gradient():
    q, k, v = (draw((2, 9, 2, 8), seed) for seed in (1, 2, 3))
    mask = np.arange(9)[None, None, None, :] < np.array([4, 9])[:, None, None, None]

    def ours(*args):
        return jnp.sum(jnp.sin(attention(*args, mask=mask)))

    def library(*args):
        return jnp.sum(jnp.sin(jax.nn.dot_product_attention(*args, mask=jnp.broadcast_to(mask, (2, 2, 9, 9)))))

    for a, b in zip(jax.grad(ours, (0, 1, 2))(q, k, v), jax.grad(library, (0, 1, 2))(q, k, v), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)


def test_query_without_a_valid_key_gets_the_mean_and_finite_gradients():
    q, k, v = (draw((1, 3, 1, 4), seed) for seed in (1, 2, 3))
    mask = np.zeros((1, 1, 1, 3), bool)
    np.testing.assert_allclose(attention(q, k, v, mask=mask)[0, 0, 0], v.mean(axis=1)[0, 0], atol=1e-6)
    grads = jax.grad(lambda *args: attention(*args, mask=mask).sum(), (0, 1, 2))(q, k, v)
    assert all(np.isfinite(g).all() for g in grads)


def test_bfloat16_keeps_scores_and_softmax_in_float32():
    """Scores near 20 have a spacing of 0.125 in bfloat16: kept there, weights would be wrong by several per cent."""
    q, k, v = (jnp.asarray(draw((1, 16, 1, 32), seed), jnp.bfloat16) for seed in (1, 2, 3))
    q = q * 10
    out = attention(q, k, v)
    assert out.dtype == jnp.bfloat16
    exact = [np.asarray(x, np.float64) for x in (q, k, v)]
    expected = loop_attention(*exact, np.zeros((1, 1, 16, 16)), np.ones((1, 1, 16, 16), bool))
    np.testing.assert_allclose(out.astype(jnp.float32), expected, atol=0.02)  # rounding of weights and of the result alone: 0.012


def test_scale_takes_the_place_of_the_root_of_the_width():
    q, k, v = (draw((1, 5, 2, 4), seed) for seed in (1, 2, 3))
    np.testing.assert_allclose(attention(q, k, v, scale=1.0), attention(2 * q, k, v), atol=1e-6)
    np.testing.assert_allclose(attention(q, k, v, scale=0.5), attention(q, k, v), atol=1e-6)


def test_drop_acts_on_the_weights():
    q, k, v = (draw((1, 4, 1, 4), seed) for seed in (1, 2, 3))
    np.testing.assert_allclose(attention(q, k, v, drop=lambda w: 3 * w), 3 * attention(q, k, v), atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "n", "m", "width", "fits"),
    [
        (jnp.bfloat16, 256, 1024, 64, True),
        (jnp.float16, 1024, 1024, 32, True),
        (jnp.float32, 1024, 1024, 64, False),
        (jnp.bfloat16, 255, 1024, 64, False),
        (jnp.bfloat16, 1024, 32, 64, False),
        (jnp.bfloat16, 1024, 1024, 36, False),
        (jnp.bfloat16, 4096, 4096, 512, False),
    ],
)
def test_when_the_fused_kernel_is_taken(dtype, n, m, width, fits):
    assert fits_fused_kernel(jnp.dtype(dtype), n, m, width) is fits


@pytest.fixture(scope="module")
def module():
    layer = MultiHeadAttention(heads=2, width=8, dropout=0.5)
    x, context = draw((3, 5, 6), 1), draw((3, 4, 7), 2)
    return layer, layer.init(jax.random.key(0), x, context, train=False), x, context


def test_masked_context_is_not_read(module):
    layer, variables, x, context = module
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]], bool)
    out = layer.apply(variables, x, context, mask=mask, train=False)
    assert out.shape == (3, 5, 8)
    changed = np.where(mask[..., None], context, 99.0).astype(np.float32)
    np.testing.assert_allclose(layer.apply(variables, x, changed, mask=mask, train=False), out, atol=1e-6)
    np.testing.assert_allclose(layer.apply(variables, x[:1], context[:1, :2], train=False), out[:1], atol=1e-6)


def test_order_of_the_context_does_not_matter(module):
    layer, variables, x, context = module
    out = layer.apply(variables, x, context, train=False)
    np.testing.assert_allclose(layer.apply(variables, x, context[:, [2, 0, 3, 1]], train=False), out, atol=1e-6)


def test_dropout_only_when_training(module):
    layer, variables, x, context = module
    out = layer.apply(variables, x, context, train=False)
    a, b = (layer.apply(variables, x, context, train=True, rngs={"dropout": jax.random.key(i)}) for i in (1, 2))
    assert np.abs(a - b).max() > 1e-3
    assert np.abs(a - out).max() > 1e-3


def test_heads_of_their_own_width_and_scale():
    """Two heads of 5 features on 9: 9 -> 10 -> 9. The formula is that of one head at a time."""
    layer = MultiHeadAttention(heads=2, width=9, head_width=5, scale=0.3, use_bias=False, query_init=jax.nn.initializers.ones)
    x = draw((1, 4, 9))
    params = layer.init(jax.random.key(0), x, train=False)["params"]
    shapes = {"query": (9, 10), "key": (9, 10), "value": (9, 10), "out": (10, 9)}
    assert jax.tree.map(jnp.shape, params) == {name: {"kernel": shape} for name, shape in shapes.items()}
    np.testing.assert_array_equal(params["query"]["kernel"], np.ones((9, 10)))
    params["query"]["kernel"] = draw((9, 10), 7)
    q, k, v = (np.asarray(x[0] @ params[name]["kernel"]).reshape(4, 2, 5) for name in ("query", "key", "value"))
    heads = [np.asarray(jax.nn.softmax(0.3 * q[:, h] @ k[:, h].T)) @ v[:, h] for h in range(2)]
    expected = np.concatenate(heads, axis=-1) @ params["out"]["kernel"]
    np.testing.assert_allclose(layer.apply({"params": params}, x, train=False)[0], expected, atol=1e-5)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="width 9 is not divisible by 2 heads"):
        MultiHeadAttention(heads=2, width=9).init(jax.random.key(0), draw((1, 2, 9)), train=False)


def test_heads_share_keys_and_values():
    """Grouped-query attention is attention with each key and value head repeated."""
    q, k, v = draw((2, 5, 6, 4), 1), draw((2, 7, 3, 4), 2), draw((2, 7, 3, 8), 3)
    mask, bias = draw((2, 1, 5, 7), 4) > -1, draw((1, 6, 5, 7), 5)
    want = attention(q, np.repeat(k, 2, axis=2), np.repeat(v, 2, axis=2), mask=mask, bias=bias)
    np.testing.assert_allclose(attention(q, k, v, mask=mask, bias=bias), want, atol=1e-6)
