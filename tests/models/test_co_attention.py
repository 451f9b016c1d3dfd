"""Co-attention: its parts beside a NumPy form, cascades that are each other's special cases, and scores of pairs that see nothing else."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.models.co_attention import AffinityUnit, Block, CoAttention, CoAttentionConfig, GuidedUnit, Pool, States, pair_scores

NARROW = CoAttentionConfig(width=8, heads=2, hidden=16, dropout=0.0)
SMALLEST = replace(NARROW, cascade="single", unit="affinity")  # for what does not depend on the network: it compiles fastest
TEXTS, WORDS, SOUNDS, SEGMENTS = 3, 5, 4, 6


def states(rows, length, width, seed=0, valid=None):
    """Random states whose row i has valid[i] valid positions (all by default)."""
    values = np.random.RandomState(seed).standard_normal((rows, length, width)).astype(np.float32)
    valid = np.full(rows, length) if valid is None else np.asarray(valid)
    return States(jnp.asarray(values), jnp.asarray(np.arange(length) < valid[:, None]))


@pytest.fixture(scope="module")
def inputs():
    return states(TEXTS, WORDS, 7, 1, (5, 3, 1)), states(SOUNDS, SEGMENTS, 9, 2, (6, 4, 6, 2))


@cache
def made(config):
    """(network, params for the widths of `inputs` with no zero among them)."""
    network = CoAttention(config)
    return network, random_params(network, states(1, WORDS, 7), states(1, SEGMENTS, 9))


def random_params(module, *inputs):
    """Params for these inputs, with no zero among them."""
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs, train=False))["params"]
    rng = np.random.RandomState(0)
    return jax.tree.map(lambda x: jnp.asarray(0.3 * rng.standard_normal(x.shape), x.dtype), shapes)


def applied(module, params, *inputs):
    """Outputs of the module as one program."""
    return jax.jit(lambda *x: module.apply({"params": params}, *x, train=False))(*inputs)


score = jax.jit(pair_scores, static_argnums=0, static_argnames=("block", "remat"))
vectors_of = jax.jit(lambda network, params, text, audio: network.apply({"params": params}, text, audio, train=False), static_argnums=0)


def one_by_one(network, params, text, audio):
    """Scores by a loop over pairs, each by itself."""
    found = np.zeros((text.mask.shape[0], audio.mask.shape[0]), np.float32)
    for i, j in np.ndindex(*found.shape):
        pair = jax.tree.map(lambda x, i=i: x[i : i + 1], text), jax.tree.map(lambda x, j=j: x[j : j + 1], audio)
        t, a = vectors_of(network, params, *pair)
        found[i, j] = jnp.sum(t * a)
    return found


def padded(x, extra):
    """The same states with `extra` positions of large garbage that the mask leaves out."""
    values = jnp.pad(x.values, ((0, 0), (0, extra), (0, 0)), constant_values=50.0)
    return States(values, jnp.pad(x.mask, ((0, 0), (0, extra))))


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def by_hand(params, x, mask, other, other_mask, heads):
    """SGA(x | other) of one row in NumPy."""

    def norm(name, value):
        value = (value - value.mean(-1, keepdims=True)) / np.sqrt(value.var(-1, keepdims=True) + 1e-6)
        return value * params[name]["scale"] + params[name]["bias"]

    def linear(table, value):
        return value @ table["kernel"] + table["bias"]

    def attend(table, queries, keys, valid):
        q, k, v = (linear(table[name], y) for name, y in (("query", queries), ("key", keys), ("value", keys)))
        width = q.shape[-1] // heads
        parts = []
        for h in range(heads):
            at = slice(h * width, (h + 1) * width)
            scores = np.where(valid[None], q[:, at] @ k[:, at].T / np.sqrt(width), -1e9)
            parts.append(softmax(scores) @ v[:, at])
        return linear(table["out"], np.concatenate(parts, -1))

    x = norm("norm_self", x + attend(params["self"], x, x, mask))
    x = norm("norm_guided", x + attend(params["guided"], x, other, other_mask))
    return norm("norm_mlp", x + linear(params["mlp"]["down"], np.maximum(linear(params["mlp"]["up"], x), 0)))


def test_a_unit_is_that_of_the_equations():
    text, audio = states(2, WORDS, 8, 1, (5, 2)), states(2, SEGMENTS, 8, 2, (3, 6))
    params = random_params(GuidedUnit(NARROW), text, audio)
    new_text, new_audio = applied(GuidedUnit(NARROW), params, text, audio)
    params = jax.tree.map(np.asarray, params)
    t, tm, a, am = (np.asarray(x) for x in (*text, *audio))
    for i in range(2):
        want_text = by_hand(params["text"], t[i], tm[i], a[i], am[i], 2)
        want_audio = by_hand(params["audio"], a[i], am[i], t[i], tm[i], 2)
        np.testing.assert_allclose(new_text.values[i], want_text, atol=2e-5)
        np.testing.assert_allclose(new_audio.values[i], want_audio, atol=2e-5)


def test_the_affinity_unit_is_that_of_its_equation():
    text, audio = states(1, WORDS, 8, 1, (4,)), states(1, SEGMENTS, 8, 2, (3,))
    params = random_params(AffinityUnit(NARROW), text, audio)
    new_text, _ = applied(AffinityUnit(NARROW), params, text, audio)
    table = jax.tree.map(np.asarray, params)
    t, a = np.asarray(text.values[0]), np.asarray(audio.values[0])
    affinity = np.tanh(t @ table["affinity"]["kernel"] @ a.T)[:, :3]
    x = t + softmax(affinity) @ (a @ table["audio_values"]["kernel"])[:3]

    def norm(name, x):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        return x * table[name]["scale"] + table[name]["bias"]

    x = norm("norm_text", x)
    mlp = table["mlp_text"]
    want = norm(
        "norm_mlp_text", x + np.maximum(x @ mlp["up"]["kernel"] + mlp["up"]["bias"], 0) @ mlp["down"]["kernel"] + mlp["down"]["bias"]
    )
    np.testing.assert_allclose(new_text.values[0], want, atol=2e-5)


@pytest.mark.parametrize("width", [8, 512])
def test_parameters_of_one_unit(width):
    config = replace(CoAttentionConfig(), width=width, hidden=4 * width)
    pair = jax.eval_shape(lambda: (states(1, 2, width), states(1, 3, width)))
    shapes = jax.eval_shape(lambda key, pair: GuidedUnit(config).init(key, *pair, train=False), jax.random.key(0), pair)
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert count == 32 * width**2 + 38 * width
    assert width != 512 or count == 8_408_064


@pytest.mark.parametrize(("cascade", "times"), [("single", 1), ("iterate", 1), ("stack", 3)])
def test_parameters_of_a_cascade(cascade, times):
    _, params = made(replace(NARROW, cascade=cascade, depth=3))
    units = [sum(leaf.size for leaf in jax.tree.leaves(params[name])) for name in params if name.startswith("unit_")]
    assert len(units) == times
    assert len(set(units)) == 1


ALL = [
    NARROW,
    pytest.param(replace(NARROW, cascade="single"), marks=pytest.mark.slow),
    pytest.param(replace(NARROW, cascade="stack", update="alternating"), marks=pytest.mark.slow),
    replace(NARROW, cascade="encdec"),
    replace(NARROW, unit="affinity", update="alternating", audio_positions="sinusoidal"),
    replace(NARROW, pool="attention", audio_positions="sinusoidal"),
]


@pytest.mark.parametrize("config", ALL, ids=range(len(ALL)))
class TestScores:
    """What holds for every cascade, unit and pool."""

    def test_a_score_is_that_of_the_pair_alone_however_padded(self, inputs, config):
        network, params = made(config)
        text, audio = inputs
        want = one_by_one(network, params, padded(text, 3), padded(audio, 2))
        assert np.ptp(want) > 1e-3
        np.testing.assert_allclose(score(network, params, *inputs), want, atol=1e-5)

    def test_a_score_depends_on_its_text_and_its_sound_alone(self, inputs, config):
        network, params = made(config)
        text, audio = inputs
        want = np.asarray(score(network, params, text, audio))
        other = States(text.values.at[1].add(1.0), text.mask), States(audio.values.at[2].add(1.0), audio.mask)
        found = np.asarray(score(network, params, *other))
        same = np.ix_([0, 2], [0, 1, 3])
        np.testing.assert_array_equal(found[same], want[same])
        assert np.abs(found[1] - want[1]).min() > 1e-5
        assert np.abs(found[:, 2] - want[:, 2]).min() > 1e-5

    def test_order_of_rows(self, inputs, config):
        network, params = made(config)
        text, audio = inputs
        rows, columns = np.array([2, 0, 1]), np.array([3, 1, 0, 2])
        moved = jax.tree.map(lambda x: x[rows], text), jax.tree.map(lambda x: x[columns], audio)
        want = np.asarray(score(network, params, text, audio))[np.ix_(rows, columns)]
        np.testing.assert_allclose(score(network, params, *moved), want, atol=1e-6)

    def test_order_of_segments_is_heard_with_positions_alone(self, inputs, config):
        network, params = made(config)
        text, audio = inputs
        turned = States(audio.values[:, ::-1], audio.mask[:, ::-1])
        change = np.abs(score(network, params, text, turned) - score(network, params, text, audio))
        assert (change.max() < 1e-5) == (config.audio_positions == "none")

    def test_gradients_reach_every_weight_and_both_towers(self, inputs, config):
        network, params = made(config)
        (texts, text_mask), (sounds, audio_mask) = (jax.tree.map(lambda x: x[:TEXTS], side) for side in inputs)
        weights = jnp.asarray([[1.0], [-0.7], [0.4]])

        def objective(params, text, audio):
            vectors = network.apply({"params": params}, States(text, text_mask), States(audio, audio_mask), train=False)
            return jnp.sum(weights * vectors[0] * vectors[1])

        grads = jax.jit(jax.grad(objective, argnums=(0, 1, 2)))(params, texts, sounds)
        assert float(jnp.abs(grads[1][0]).min()) > 0
        assert float(jnp.abs(grads[2][0]).min()) > 0
        for path, leaf in jax.tree_util.tree_leaves_with_path(grads[0]):
            name = jax.tree_util.keystr(path)
            # The softmax does not see what all keys share, nor what is added to all scores of a pool, through a ReLU that is always on.
            if "'key']['bias']" in name or ("['score']" in name and "['bias']" in name):
                continue
            assert float(jnp.abs(leaf).max()) > 1e-7, name


@pytest.mark.parametrize("block", [1, 3, SOUNDS, 8])
def test_blocks_change_no_score(inputs, block):
    network, params = made(SMALLEST)
    np.testing.assert_allclose(score(network, params, *inputs, block=block), one_by_one(network, params, *inputs), atol=1e-5)


def test_computing_blocks_again_changes_no_gradient(inputs):
    network, params = made(SMALLEST)
    grads = [
        jax.jit(jax.grad(lambda p, remat=remat: jnp.sum(pair_scores(network, p, *inputs, block=3, remat=remat) ** 2)))(params)
        for remat in (False, True)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *grads)


def test_cascades_of_one_step_are_the_same(inputs):
    config = replace(NARROW, depth=1)
    network, params = made(config)
    want = score(network, params, *inputs)
    for cascade in ("single", "stack"):
        np.testing.assert_array_equal(score(CoAttention(replace(config, cascade=cascade)), params, *inputs), want)


def test_iterating_is_applying_one_unit_again_and_again(inputs):
    config = NARROW
    network, params = made(config)
    stack = CoAttention(replace(config, cascade="stack"))
    same = params | {f"unit_{i}": params["unit_0"] for i in range(config.depth)}
    np.testing.assert_array_equal(score(network, params, *inputs), score(stack, same, *inputs))

    text, audio = (
        States(inputs[k].values[:3] @ params[name]["kernel"] + params[name]["bias"][None, None], inputs[k].mask[:3])
        for k, name in enumerate(("text_in", "audio_in"))
    )
    unit = jax.jit(lambda *x: GuidedUnit(config).apply({"params": params["unit_0"]}, *x, train=False))
    for _ in range(config.depth):
        text, audio = unit(text, audio)
    vectors = [Pool(config).apply({}, x, train=False) @ params[name]["kernel"] for x, name in ((text, "text_out"), (audio, "audio_out"))]
    want = [np.sum(t * a) / np.linalg.norm(t) / np.linalg.norm(a) for t, a in zip(*vectors, strict=True)]
    np.testing.assert_allclose(np.diag(score(network, params, *inputs)), want, atol=1e-6)


def test_without_steps_it_is_a_dual_encoder(inputs):
    network, params = made(NARROW)
    text, audio = inputs
    small = {name: value for name, value in params.items() if not name.startswith("unit_")}
    vectors = [
        network.apply({"params": small}, x, train=False, method=method) for x, method in ((text, "encode_text"), (audio, "encode_audio"))
    ]
    for vector in vectors:
        np.testing.assert_allclose(np.linalg.norm(vector, axis=1), 1, atol=1e-6)
    mean = (np.asarray(text.values) * np.asarray(text.mask)[..., None]).sum(1) / np.asarray(text.mask).sum(1, keepdims=True)
    table = jax.tree.map(np.asarray, params)
    want = (mean @ table["text_in"]["kernel"] + table["text_in"]["bias"]) @ table["text_out"]["kernel"]
    np.testing.assert_allclose(vectors[0], want / np.linalg.norm(want, axis=1, keepdims=True), atol=1e-5)


def test_dropout_is_drawn_for_each_pair(inputs):
    network, params = made(replace(SMALLEST, dropout=0.3))
    keys = jax.random.split(jax.random.key(0), (TEXTS, SOUNDS))
    want = score(network, params, *inputs, keys)
    np.testing.assert_allclose(score(network, params, *inputs, keys, block=3, remat=True), want, atol=1e-6)
    other = score(network, params, *inputs, keys.at[1, 2].set(jax.random.key(7)))
    changed = np.abs(other - want) > 1e-6
    assert changed[1, 2]
    assert changed.sum() == 1
    same = States(*(jnp.stack([x[0]] * TEXTS) for x in inputs[0]))
    column = score(network, params, same, inputs[1], keys)[:, 0]
    assert len(np.unique(np.asarray(column))) == TEXTS


def test_a_block_without_another_side_reads_itself():
    x = states(2, WORDS, 8, 1, (5, 2))
    block = Block(NARROW)
    params = random_params(block, x)
    assert "guided" not in params
    found = applied(block, params, x)
    np.testing.assert_allclose(applied(block, params, padded(x, 2)).values[:, :2], found.values[:, :2], atol=1e-5)
