"""The pair denoiser: its published size, its symmetries, and the prepared form against the literal one."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.collectives import example_keys
from audiojax.errors import UsageError
from audiojax.models.pair_denoiser import (
    PairDenoiser,
    PairDenoiserConfig,
    denoise_prepared,
    denoise_shared,
    prepare_candidates,
    prepare_queries,
)
from audiojax.nn.embed import sinusoidal_table
from audiojax.sampling import initial_noise, sample_ddim
from audiojax.schedule import make_schedule, timestep_grid

WIDTH, ROWS, COUNT = 16, 3, 5
SWITCHES = [{}, {"add_x": False}, {"qk_scale": True}, {"residual_w": False}]


@cache
def make(**switches):
    """A denoiser with parameters large enough to matter (N(0, 0.1)), its jitted apply, and inputs."""
    config = PairDenoiserConfig(width=WIDTH, levels=60, **switches)
    module = PairDenoiser(config)
    rng = np.random.default_rng(0)

    def normal(*shape, scale=1.0):
        return jnp.asarray(scale * rng.standard_normal(shape), jnp.float32)

    inputs = normal(ROWS, COUNT), jnp.array([0, 20, 49]), normal(ROWS, WIDTH), normal(ROWS, COUNT, WIDTH)
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
    params = jax.tree.map(lambda leaf: normal(*leaf.shape, scale=0.1), shapes)
    return config, params, jax.jit(lambda params, *args: module.apply({"params": params}, *args)), inputs


@pytest.mark.parametrize("width", [8, 512, 1024])
def test_parameter_count(width):
    module = PairDenoiser(PairDenoiserConfig(width=width))
    shapes = jax.eval_shape(
        module.init, jax.random.key(0), jnp.ones((2, 3)), jnp.zeros(2, int), jnp.ones((2, width)), jnp.ones((2, 3, width))
    )
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert count == 10 * width**2 + 7 * width + 1
    assert {512: 2_625_025, 1024: 10_492_929}.get(width, count) == count


def test_initialisation_is_normal_with_spread_002_and_zero_bias():
    module = PairDenoiser(PairDenoiserConfig(width=128))
    params = jax.jit(module.init)(jax.random.key(1), jnp.ones((1, 2)), jnp.zeros(1, int), jnp.ones((1, 128)), jnp.ones((1, 2, 128)))[
        "params"
    ]
    assert {name for name, layer in params.items() if "bias" not in layer} == {"query", "key", "value"}
    for name, layer in params.items():
        assert float(layer["kernel"].std()) == pytest.approx(0.02, rel=0.02 if name != "mlp_out" else 0.15)
        assert not np.any(layer.get("bias", 0.0))


@pytest.mark.parametrize("switches", SWITCHES)
def test_equals_the_formula_in_numpy(switches):
    """Steps 1 to 7 of the note, row by row, in float64."""
    config, params, apply, (x, k, query, candidates) = make(**switches)
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    for row, out in enumerate(np.asarray(apply(params, x, k, query, candidates))):
        inner = sinusoidal_table(60, WIDTH)[int(k[row])] @ p["level_in"]["kernel"] + p["level_in"]["bias"]
        e = (inner / (1 + np.exp(-inner))) @ p["level_out"]["kernel"] + p["level_out"]["bias"]
        c = np.asarray(candidates[row], np.float64)
        q = (np.asarray(query[row], np.float64) + e) @ p["query"]["kernel"]
        logits = ((c + e) @ p["key"]["kernel"]) @ q
        logits = logits / WIDTH**0.5 if config.qk_scale else logits
        logits = logits + np.asarray(x[row], np.float64) if config.add_x else logits
        w = np.exp(logits - logits.max())
        w /= w.sum()
        o = (w @ ((c + e) @ p["value"]["kernel"])) @ p["out"]["kernel"] + p["out"]["bias"]
        for n in range(COUNT):
            h = np.maximum(np.concatenate([o, c[n]]) @ p["mlp_in"]["kernel"] + p["mlp_in"]["bias"], 0)
            expected = (h @ p["mlp_out"]["kernel"] + p["mlp_out"]["bias"])[0] + (w[n] if config.residual_w else 0)
            assert out[n] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_permuting_candidates_permutes_scores_and_rows_are_independent():
    _, params, apply, (x, k, query, candidates) = make()
    p = apply(params, x, k, query, candidates)
    order = jnp.array([3, 0, 4, 2, 1])
    np.testing.assert_allclose(apply(params, x[:, order], k, query, candidates[:, order]), p[:, order], atol=1e-5)
    changed = apply(params, x.at[1].set(5.0), k.at[1].set(3), query.at[1].set(0.0), candidates.at[1].set(1.0))
    np.testing.assert_allclose(changed[jnp.array([0, 2])], p[jnp.array([0, 2])], atol=1e-6)
    assert float(jnp.abs(changed[1] - p[1]).max()) > 1e-2


def test_a_constant_added_to_x_changes_nothing():
    _, params, apply, (x, k, query, candidates) = make()
    np.testing.assert_allclose(apply(params, x + 3.0, k, query, candidates), apply(params, x, k, query, candidates), atol=2e-5)


def test_with_zero_weights_the_output_is_softmax_of_x():
    _, params, apply, (x, k, query, candidates) = make()
    zero = jax.tree.map(jnp.zeros_like, params)
    np.testing.assert_allclose(apply(zero, x, k, query, candidates), jax.nn.softmax(x, axis=-1), rtol=1e-6)
    _, _, without_x, _ = make(add_x=False)
    np.testing.assert_allclose(without_x(zero, x, k, query, candidates), np.full(x.shape, 1 / COUNT), rtol=1e-6)


def test_raising_x_raises_its_weight():
    _, params, apply, (x, k, query, candidates) = make()
    for switch, expected in ((True, True), (False, False)):
        config = PairDenoiserConfig(width=WIDTH, levels=60, add_x=switch)
        only_w = jax.tree.map(jnp.zeros_like, {name: params[name] for name in ("mlp_in", "mlp_out")})  # p = w
        read = partial(PairDenoiser(config).apply, {"params": {**params, **only_w}})
        gain = read(x.at[0, 2].add(1.0), k, query, candidates) - read(x, k, query, candidates)
        assert bool(gain[0, 2] > 1e-4) == expected


@pytest.mark.parametrize("switches", SWITCHES)
def test_prepared_equals_literal(switches):
    config, params, apply, (x, _, query, candidates) = make(**switches)
    grid = timestep_grid(50)
    pairs = prepare_queries(query, prepare_candidates(params, config, candidates, grid[:-1]))
    for i in (0, 25, 49):
        now = jax.tree.map(lambda leaf, i=i: leaf[i], pairs.steps)
        literal = apply(params, x, jnp.full(ROWS, grid[i]), query, candidates)
        assert float(jnp.abs(literal).max()) > 0.05
        np.testing.assert_allclose(denoise_prepared(config, pairs, x, now), literal, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("switches", SWITCHES)
def test_shared_candidates_equal_the_literal_form_and_its_gradient(switches):
    config, params, apply, (x, k, query, candidates) = make(**switches)
    shared = candidates[0]

    def literal(params, query, shared):
        out = apply(params, x, k, query, jnp.broadcast_to(shared[None], candidates.shape))
        return jnp.sum(jnp.sin(3.0 * out)), out

    def short(params, query, shared):
        out = denoise_shared(params, config, x, k, query, shared)
        return jnp.sum(jnp.sin(3.0 * out)), out

    (_, expected), expected_gradient = jax.value_and_grad(literal, (0, 1, 2), has_aux=True)(params, query, shared)
    (_, out), gradient = jax.jit(jax.value_and_grad(short, (0, 1, 2), has_aux=True))(params, query, shared)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
    for (path, ours), theirs in zip(jax.tree.leaves_with_path(gradient), jax.tree.leaves(expected_gradient), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-5, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize(("switches", "steps"), [({}, 50), ({"qk_scale": True}, 10)])
def test_a_whole_ddim_loop_over_a_gathered_gallery_equals_the_literal_one(switches, steps):
    config, params, apply, (_, _, query, _) = make(**switches)
    gallery = jax.random.normal(jax.random.key(8), (9, WIDTH))
    top = jnp.array([[0, 3, 8, 5, 1], [2, 7, 6, 0, 4], [8, 7, 1, 2, 3]])
    schedule, grid = make_schedule("cosine", 50), timestep_grid(50, steps, "trailing")
    start = initial_noise(example_keys(jax.random.key(2), ROWS), (COUNT,))
    clip = partial(jnp.clip, min=-1.0, max=1.0)
    literal = sample_ddim(lambda x, t: apply(params, x, t, query, gallery[top]), schedule, start, grid, clip=clip)
    pairs = prepare_queries(query, prepare_candidates(params, config, gallery, grid[:-1]), top)

    def model(x, t, now):
        return denoise_prepared(config, pairs, x, now)

    prepared = sample_ddim(model, schedule, start, grid, clip=clip, per_step=pairs.steps)
    assert float(jnp.std(literal)) > 0.05
    np.testing.assert_allclose(prepared, literal, atol=1e-5)


def test_a_query_seen_by_each_candidate():
    _, params, apply, (x, k, query, candidates) = make()
    views = jnp.broadcast_to(query[:, None], candidates.shape)
    np.testing.assert_allclose(apply(params, x, k, views, candidates), apply(params, x, k, query, candidates), atol=1e-6)
    moved = apply(params, x, k, views.at[0, 2].add(1.0), candidates) - apply(params, x, k, query, candidates)
    assert float(jnp.abs(moved[0]).max()) > 1e-3
    np.testing.assert_allclose(moved[1:], 0.0, atol=1e-6)


def test_bfloat16_compute_stays_near_float32():
    config, params, apply, args = make()
    half = PairDenoiser(config, dtype=jnp.bfloat16).apply({"params": params}, *args)
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, apply(params, *args), rtol=0.1, atol=0.1)


def test_gradients_are_finite_and_reach_every_parameter():
    _, params, apply, args = make()
    gradients = jax.grad(lambda params: jnp.sum(jnp.square(apply(params, *args))))(params)
    for path, leaf in jax.tree.leaves_with_path(gradients):
        assert np.all(np.isfinite(leaf)), path
        assert np.any(leaf), path


def test_misuse_is_named():
    config, params, _, (_, _, query, candidates) = make()
    with pytest.raises(UsageError, match="noise levels must lie in 0..59"):
        prepare_candidates(params, config, candidates, np.array([60]))
    with pytest.raises(UsageError, match="width 16, the candidates 7"):
        prepare_candidates(params, config, jnp.ones((2, 7)), np.array([0]))
    with pytest.raises(UsageError, match="per-candidate views"):
        prepare_queries(candidates, prepare_candidates(params, config, candidates, np.array([0])))
