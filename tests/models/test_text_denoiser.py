"""The text denoiser: published sizes, and what memory, mask, batch and jit must not change."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.errors import UsageError
from audiojax.models.text_denoiser import PRESETS, TextDenoiser, TextDenoiserConfig
from audiojax.nn.embed import sinusoidal_table
from tests.encoders.filling import filled_variables, relative_error

GOLDEN = Path(__file__).parents[1] / "golden" / "captioner.npz"
NARROW = {
    "projected": TextDenoiserConfig(latent=6, width=16, layers=2, heads=4, hidden=20, context=10, max_positions=9, time_norm=True),
    "ladic": TextDenoiserConfig(latent=8, width=16, layers=2, heads=2, hidden=20, context=10, max_positions=9, projections=False),
}


def inputs(config, rows=4, length=7, tokens=5):
    """(x_t, x0_prev, t, sound, mask): row i has tokens - i valid tokens."""
    rng = np.random.RandomState(1)
    latents = rng.standard_normal((2, rows, length, config.latent)).astype(np.float32)
    sound = rng.standard_normal((rows, tokens, config.context)).astype(np.float32)
    mask = np.arange(tokens)[None, :] < tokens - np.arange(rows)[:, None]
    return *latents, np.array([0, 999, 500, 41], np.int32)[:rows], sound, mask


@pytest.fixture(scope="module", params=NARROW)
def denoiser(request):
    config = NARROW[request.param]
    module, given = TextDenoiser(config), inputs(config)
    variables = filled_variables(module, *given)
    return module, variables, jax.jit(lambda *args: module.apply(variables, *args, train=False)), given


@cache
def shapes(config):
    given = inputs(config, rows=1)
    return jax.eval_shape(lambda: TextDenoiser(config).init(jax.random.key(0), *given, train=False))["params"]


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_published_size():
    """LaDiC: 12 layers of 25,978,368 weights, which the note counts as 312 M, a position table and a norm."""
    params = shapes(PRESETS["ladic"])
    assert set(params) == {"position", "norm"} | {f"layer_{i}" for i in range(12)}
    assert size({name: tree for name, tree in params.items() if name.startswith("layer")}) == 12 * 25_978_368 == 311_740_416
    assert size(params) == 311_740_416 + 512 * 1536 + 2 * 1536


def test_outputs_of_transformers(denoiser):
    """The golden file holds what its BertModel gives for these numbers; see tests/golden/make_captioner.py."""
    module, _, run, given = denoiser
    name = "projected" if module.config.projections else "ladic"
    assert relative_error(run(*given), np.load(GOLDEN)[f"denoiser/{name}"]) < 1e-4


@pytest.mark.parametrize(("preset", "expected"), [("base", 115_587_072), ("soundworld", 1_953_152), ("tiny", 110_944)])
def test_sizes_of_presets(preset, expected):
    assert size(shapes(PRESETS[preset])) == expected


def test_a_memory_made_once_is_the_sound(denoiser):
    module, variables, run, (x_t, x0_prev, t, sound, mask) = denoiser
    memory = jax.jit(lambda x: module.apply(variables, x, method="memory"))(sound)
    assert [kept.keys.shape for kept in memory] == 2 * [(4, module.config.heads, 5, 16 // module.config.heads)]
    np.testing.assert_allclose(run(x_t, x0_prev, t, memory, mask), run(x_t, x0_prev, t, sound, mask), atol=1e-5)


def test_captions_of_one_sound_share_its_memory(denoiser):
    _, _, run, (x_t, x0_prev, t, sound, mask) = denoiser
    rows = [0, 0, 1, 1]
    np.testing.assert_allclose(run(x_t, x0_prev, t, sound[:2], mask[:2]), run(x_t, x0_prev, t, sound[rows], mask[rows]), atol=1e-5)


def test_masked_tokens_have_no_influence(denoiser):
    _, _, run, (x_t, x0_prev, t, sound, mask) = denoiser
    out = run(x_t, x0_prev, t, sound, mask)
    np.testing.assert_allclose(run(x_t, x0_prev, t, np.where(mask[..., None], sound, np.float32(9)), mask), out, atol=1e-5)


def test_rows_are_independent(denoiser):
    _, _, run, given = denoiser
    order = np.array([2, 0, 3, 1])
    np.testing.assert_allclose(run(*(x[order] for x in given)), run(*given)[order], atol=1e-5)
    np.testing.assert_allclose(run(*(x[:1] for x in given)), run(*given)[:1], atol=1e-5)


@pytest.mark.parametrize("which", range(4))
def test_every_input_matters_at_every_position(denoiser, which):
    """Latents, the x_0 before, noise level and sound: what is changed at one position is seen at all."""
    _, _, run, given = denoiser
    changed = list(given)
    if which == 2:
        changed[2] = given[2] + np.array([7, -7, 7, 7], np.int32)
    else:
        changed[which] = given[which].copy()
        changed[which][:, 0] += 1.0
    assert np.abs(run(*changed) - run(*given)).max(axis=-1).min() > 1e-4


def test_the_noise_level_is_the_sinusoidal_table():
    """LaDiC's form adds it to what stands in front of the blocks: adding the difference to the latents by hand is the same."""
    module, (x_t, x0_prev, t, sound, mask) = TextDenoiser(NARROW["ladic"]), inputs(NARROW["ladic"])
    variables = filled_variables(module, x_t, x0_prev, t, sound, mask)
    run = jax.jit(lambda *args: module.apply(variables, *args, sound, mask, train=False))
    table = sinusoidal_table(1000, 16)
    moved = np.concatenate([x_t, x0_prev], axis=-1) + (table[t] - table[0])[:, None]
    np.testing.assert_allclose(run(moved[..., :8], moved[..., 8:], np.zeros(4, np.int32)), run(x_t, x0_prev, t), atol=1e-4)


def test_jit_equals_no_jit():
    module = TextDenoiser(replace(NARROW["ladic"], layers=1))
    given = inputs(module.config)
    variables = filled_variables(module, *given)
    want = jax.jit(lambda v: module.apply(v, *given, train=False))(variables)
    np.testing.assert_allclose(module.apply(variables, *given, train=False), want, atol=1e-5)


def test_gradients_reach_every_parameter_and_every_token_that_is_not_masked(denoiser):
    """The biases of keys alone have none: they add the same to all scores of a query."""
    module, variables, _, (x_t, x0_prev, t, sound, mask) = denoiser
    loss = jax.jit(jax.grad(lambda v, x: jnp.sum(jnp.square(module.apply(v, x_t, x0_prev, t, x, mask, train=False))), (0, 1)))
    gradients, of_sound = loss(variables, sound)
    for path, leaf in jax.tree.leaves_with_path(gradients):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        assert np.isfinite(leaf).all(), name
        assert np.abs(leaf).max() > 1e-5 or name.endswith("key/bias"), name
    of_sound = np.asarray(of_sound)
    assert np.all(of_sound[~mask] == 0)
    assert np.abs(of_sound[mask]).max(axis=-1).min() > 0


def test_dropout_only_when_training():
    module = TextDenoiser(replace(NARROW["ladic"], layers=1))
    given = inputs(module.config)
    variables = filled_variables(module, *given)
    train = jax.jit(lambda key: module.apply(variables, *given, train=True, rngs={"dropout": key}))
    one, two = (train(jax.random.key(i)) for i in (1, 2))
    assert np.abs(one - two).max() > 1e-2
    still = TextDenoiser(replace(module.config, dropout=0.0, attention_dropout=0.0))
    out = jax.jit(lambda: module.apply(variables, *given, train=False))()
    np.testing.assert_allclose(jax.jit(lambda: still.apply(variables, *given, train=True))(), out, atol=1e-5)


def test_half_precision_keeps_float32_parameters_and_output(denoiser):
    module, variables, run, given = denoiser
    half = module.clone(dtype=jnp.bfloat16)
    made = jax.eval_shape(lambda: half.init(jax.random.key(0), *given, train=False))
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype(jnp.float32)}
    out = jax.jit(lambda: half.apply(variables, *given, train=False))()
    assert out.dtype == jnp.float32
    assert relative_error(out, run(*given)) < 0.03


def test_sizes_that_make_no_denoiser_are_refused(denoiser):
    module, variables, _, (x_t, x0_prev, t, sound, mask) = denoiser
    with pytest.raises(ValueError, match="14 positions, but this denoiser has 9"):
        module.apply(variables, *(np.tile(x, (1, 2, 1)) for x in (x_t, x0_prev)), t, sound, mask, train=False)
    with pytest.raises(ValueError, match="9 features, this denoiser reads 10"):
        module.apply(variables, sound[..., :9], method="memory")
    with pytest.raises(UsageError, match="twice the latent's: got 16 and 7"):
        replace(NARROW["ladic"], latent=7)
