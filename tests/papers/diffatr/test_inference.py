"""Sampling over the top M and fusion (note, checks 3 and 11)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiojax.models.pair_denoiser import PairDenoiser, PairDenoiserConfig
from audiojax.papers.diffatr.inference import Fusion, Scores, diffuse_scores, fuse, fusion_grid, fusion_report, joint_probability
from audiojax.papers.diffatr.model import cosine
from audiojax.sampling import initial_noise, sample_ddim
from audiojax.schedule import make_schedule, timestep_grid

CONFIG = PairDenoiserConfig(width=8, levels=50)
SCHEDULE = make_schedule("cosine", 50)


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(0)
    queries = jnp.asarray(rng.normal(size=(7, 8)), jnp.float32)
    candidates = jnp.asarray(rng.normal(size=(11, 8)), jnp.float32)
    x, k = jnp.zeros((1, 2)), jnp.zeros(1, jnp.int32)
    params = PairDenoiser(CONFIG).init(jax.random.key(1), x, k, jnp.zeros((1, 8)), jnp.zeros((1, 2, 8)))["params"]
    params = jax.tree.map(lambda leaf: leaf * 15, params)  # far from the almost-zero start
    return params, queries, candidates


def run(world, **options):
    params, queries, candidates = world
    return diffuse_scores(params, CONFIG, SCHEDULE, queries, candidates, jax.random.key(4), **options)


def test_equals_the_literal_network_in_a_plain_loop(world):
    params, queries, candidates = world
    scores = run(world, top_m=5, query_block=3)
    for i in range(7):
        similarity = cosine(queries[i : i + 1], candidates)[0]
        top = np.argsort(-np.asarray(similarity))[:5]
        np.testing.assert_array_equal(scores.top[i], top)
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(4), i), 0)[None]
        x = sample_ddim(
            lambda x, t, i=i, top=top: PairDenoiser(CONFIG).apply({"params": params}, x, t, queries[i : i + 1], candidates[top][None]),
            SCHEDULE,
            initial_noise(key, (5,)),
            timestep_grid(50),
            clip=lambda x0: jnp.clip(x0, -1.0, 1.0),
        )
        np.testing.assert_allclose(scores.x[i, 0], x[0], rtol=1e-4, atol=1e-5)


def test_blocks_and_other_queries_do_not_matter(world):
    params, queries, candidates = world
    whole = run(world, top_m=4, query_block=64)
    np.testing.assert_allclose(run(world, top_m=4, query_block=2).x, whole.x, rtol=1e-5, atol=1e-6)
    first = diffuse_scores(params, CONFIG, SCHEDULE, queries[:2], candidates, jax.random.key(4), top_m=4)
    np.testing.assert_allclose(first.x, whole.x[:2], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(run(world, top_m=4).x, run(world, top_m=4).x)


def test_top_m_is_capped_at_the_candidates_and_zero_means_all(world):
    assert run(world, top_m=32).top.shape == (7, 11)
    assert run(world, top_m=0).top.shape == (7, 11)
    assert run(world, top_m=3, noise_draws=4).x.shape == (7, 4, 3)


def test_the_order_of_candidates_does_not_matter(world):
    params, queries, candidates = world
    order = np.random.default_rng(3).permutation(11)
    plain, moved = run(world, top_m=6), diffuse_scores(params, CONFIG, SCHEDULE, queries, candidates[order], jax.random.key(4), top_m=6)
    np.testing.assert_array_equal(order[moved.top], plain.top)
    np.testing.assert_allclose(moved.x, plain.x, rtol=1e-4, atol=1e-5)


@st.composite
def random_scores(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    queries, candidates = draw(st.integers(1, 6)), draw(st.integers(2, 12))
    m = draw(st.integers(1, candidates))
    similarity = rng.uniform(-1, 1, size=(queries, candidates)).astype(np.float32)
    top = np.argsort(-similarity, axis=1, kind="stable")[:, :m]
    return Scores(similarity, top, rng.uniform(-1, 1, size=(queries, draw(st.integers(1, 3)), m)).astype(np.float32))


@settings(max_examples=60, deadline=None)
@given(random_scores(), st.floats(0, 5), st.sampled_from([1.0, 10.0, 100.0]))
def test_fusion_keeps_the_rest_and_the_top_set(scores, alpha, temperature):
    pi = joint_probability(scores.x, temperature)
    np.testing.assert_allclose(pi.sum(1), 1.0, rtol=1e-6)
    fused = fuse(scores, Fusion(alpha, temperature))
    m = scores.top.shape[1]
    for row, top, before in zip(fused, scores.top, scores.similarity, strict=True):
        rest = np.setdiff1d(np.arange(len(row)), top)
        np.testing.assert_array_equal(row[rest], before[rest])
        assert rest.size == 0 or row[top].min() >= row[rest].max()
        assert set(np.argsort(-row, kind="stable")[:m]) == set(top) or len(np.unique(row)) < len(row)


@given(random_scores())
@settings(max_examples=20, deadline=None)
def test_alpha_zero_is_the_cosine_ranking(scores):
    np.testing.assert_array_equal(fuse(scores, Fusion(0.0, 10.0)), scores.similarity)
    assert fusion_report(scores, Fusion(0.0, 1.0))["top1_changed"] == 0.0


def test_fusion_by_hand():
    scores = Scores(np.array([[0.9, 0.8, 0.1]], np.float32), np.array([[0, 1]]), np.array([[[0.0, 1.0]]], np.float32))
    pi = 1 / (1 + np.e)  # of the first candidate
    np.testing.assert_allclose(fuse(scores, Fusion(1.0, 1.0)), [[0.9 + pi, 0.8 + 1 - pi, 0.1]], rtol=1e-6)
    report = fusion_report(scores, Fusion(1.0, 1.0))
    np.testing.assert_allclose([report["pi_min"], report["pi_max"], report["top1_changed"]], [pi, 1 - pi, 1.0], rtol=1e-6)


def test_grid_starts_with_no_fusion_and_has_every_pair():
    grid = fusion_grid((1.0, 0.0, 0.1), (1.0, 10.0))
    assert grid[0] == Fusion(0.0, 1.0)
    assert len(grid) == 5
    assert Fusion(1.0, 10.0) in grid


def test_a_mesh_shares_out_the_queries(world):
    """Parameters on eight devices: each takes its rows of a block, and the scores are those of one device."""
    params, queries, candidates = world
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("data",))
    everywhere = jax.device_put(params, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))
    one, many = (diffuse_scores(p, CONFIG, SCHEDULE, queries, candidates, jax.random.key(4), top_m=5) for p in (params, everywhere))
    np.testing.assert_array_equal(many.top, one.top)
    np.testing.assert_allclose(many.x, one.x, rtol=1e-5, atol=1e-6)
    assert many.x.sharding.is_fully_replicated
    assert len(many.x.sharding.device_set) == 8


def test_one_query_prepares_its_own_candidates_alone(world):
    """Of a large gallery only the top M pass through the denoiser's matrices, with the scores of a prepared gallery."""
    params, queries, candidates = world
    large = jnp.concatenate([candidates, -jnp.tile(queries[:1], (200, 1))])  # what is added is never among the best of query 0
    options = {"top_m": 4, "noise_draws": 1}
    alone = diffuse_scores(params, CONFIG, SCHEDULE, queries[:1], large, jax.random.key(4), **options)
    np.testing.assert_allclose(alone.x, run(world, **options).x[:1], rtol=1e-5, atol=1e-6)
    text = jax.jit(lambda: diffuse_scores(params, CONFIG, SCHEDULE, queries[:1], large, jax.random.key(4), **options)).lower().as_text()
    assert "tensor<211x16xf32>" not in text  # the hidden layer's share [candidates, 2 d] of the whole gallery
