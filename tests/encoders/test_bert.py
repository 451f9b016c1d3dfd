"""BERT and RoBERTa: published sizes, transformers' outputs from a golden file, and what padding, batch and jit must not change."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.encoders.bert import PRESETS, BertConfig, BertEncoder, MaskedLmHead
from tests.encoders.filling import fill, filled_variables, relative_error, token_batch

GOLDEN = Path(__file__).parents[1] / "golden" / "towers.npz"
NARROW = BertConfig(vocab_size=50, width=24, layers=2, heads=3, hidden=40, max_positions=20, pooler=True)
NARROW_ROBERTA = replace(NARROW, max_positions=22, padding_id=1, segments=1, norm_eps=1e-5)


def roberta_batch(rows, length, vocab_size=50, seed=0):
    """(ids, mask) with the padding id 1 at the positions of padding and nowhere else."""
    ids, mask = token_batch(rows, length, vocab_size - 2, seed)
    return np.where(mask, ids + 2, 1).astype(np.int32), mask


@pytest.mark.parametrize(
    ("preset", "expected"),
    [("base", 109_482_240), ("large", 335_141_888), ("roberta-base", 124_645_632), ("roberta-large", 355_359_744)],
)
def test_published_sizes(preset, expected):
    module = BertEncoder(replace(PRESETS[preset], pooler=True))
    ids, mask = token_batch(1, 8, 100)
    variables = jax.eval_shape(lambda: module.init(jax.random.key(0), ids, mask, train=False))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == expected


@pytest.mark.parametrize("preset", ["tiny", "roberta-tiny"])
def test_tiny_presets_are_two_narrow_layers(preset):
    config = PRESETS[preset]
    out = jax.eval_shape(lambda: BertEncoder(config).init_with_output(jax.random.key(0), *token_batch(3, 48, 100), train=False)[0])
    assert out.tokens.shape == (3, 48, 128)
    assert out.pooled is None
    assert (config.layers, config.max_length) == (2, 128)


def test_outputs_of_transformers():
    """The golden file holds what transformers' BertModel gives for these numbers; see tests/golden/make_towers.py."""
    module = BertEncoder(NARROW)
    ids, mask = token_batch(4, 13, 50)
    out = jax.jit(lambda v: module.apply(v, ids, mask, ids % 2, train=False))(filled_variables(module, ids, mask))
    golden = np.load(GOLDEN)
    assert relative_error(out.tokens[mask], golden["bert/tokens"]) < 1e-4
    assert relative_error(out.pooled, golden["bert/pooled"]) < 1e-4


def test_outputs_of_transformers_roberta():
    module = BertEncoder(NARROW_ROBERTA)
    ids, mask = roberta_batch(4, 13)
    out = jax.jit(lambda v: module.apply(v, ids, mask, train=False))(filled_variables(module, ids, mask))
    golden = np.load(GOLDEN)
    assert relative_error(out.tokens[mask], golden["roberta/tokens"]) < 1e-4
    assert relative_error(out.pooled, golden["roberta/pooled"]) < 1e-4


def test_roberta_counts_positions_from_its_padding_id():
    """Token p reads row p + 2 and padding row 1: the position tables of both are shifted against each other and nothing else differs."""
    ids, mask = token_batch(4, 10, 50)
    variables = filled_variables(BertEncoder(NARROW_ROBERTA), ids, mask)
    table = variables["params"]["position"]["embedding"]
    shifted = {"params": {**variables["params"], "position": {"embedding": table[2:]}}}
    encode = jax.jit(lambda v, i, m: BertEncoder(NARROW_ROBERTA).apply(v, i, m, train=False))
    ours = encode(variables, ids, mask)
    bert = jax.jit(lambda: BertEncoder(replace(NARROW_ROBERTA, padding_id=None, max_positions=20)).apply(shifted, ids, mask, train=False))()
    np.testing.assert_allclose(ours.tokens[mask], bert.tokens[mask], atol=1e-5)
    left = [np.pad(x, ((0, 0), (6, 0))) for x in (ids, mask)]  # padding on the left is not counted either
    np.testing.assert_allclose(encode(variables, *left).tokens[:, 6:][mask], ours.tokens[mask], atol=1e-5)


def test_masked_lm_head_scores_the_vocabulary():
    """Equality with transformers is a parity test; here: what it holds, that the bias is added, that positions stand alone."""
    head = MaskedLmHead(NARROW, dtype=jnp.bfloat16)
    draw = np.random.RandomState(0)
    states, words = draw.standard_normal((2, 5, 24)).astype(np.float32), draw.standard_normal((50, 24)).astype(np.float32)
    made = jax.eval_shape(lambda: head.init(jax.random.key(0), states, words))
    assert sum(leaf.size for leaf in jax.tree.leaves(made)) == 24 * 24 + 24 + 2 * 24 + 50  # the decoder's weight is the word table
    variables, score = fill(made), jax.jit(head.apply)
    logits = score(variables, states, words)
    assert (logits.shape, logits.dtype) == ((2, 5, 50), jnp.float32)
    np.testing.assert_allclose(score(variables, states[1, 2:4], words), logits[1, 2:4], atol=1e-4)
    moved = {"params": {**variables["params"], "bias": variables["params"]["bias"] + np.arange(50, dtype=np.float32)}}
    np.testing.assert_allclose(score(moved, states, words) - logits, np.broadcast_to(np.arange(50), (2, 5, 50)), atol=1e-4)


@pytest.fixture(scope="module", params=[NARROW, NARROW_ROBERTA], ids=["bert", "roberta"])
def tower(request):
    module = BertEncoder(request.param)
    ids, mask = token_batch(4, 10, 50, seed=1)
    variables = filled_variables(module, ids, mask)
    return module, variables, ids, mask, jax.jit(lambda v, i, m: module.apply(v, i, m, train=False))


def test_padding_does_not_change_valid_tokens(tower):
    _, variables, ids, mask, encode = tower
    out = encode(variables, ids, mask)
    other = np.where(mask, ids, 7).astype(np.int32)
    np.testing.assert_allclose(encode(variables, other, mask).tokens[mask], out.tokens[mask], atol=1e-5)
    longer = encode(variables, np.pad(ids, ((0, 0), (0, 6)), constant_values=3), np.pad(mask, ((0, 0), (0, 6))))
    np.testing.assert_allclose(longer.tokens[:, :10][mask], out.tokens[mask], atol=1e-5)
    np.testing.assert_allclose(longer.pooled, out.pooled, atol=1e-5)


def test_a_row_of_padding_stays_finite(tower):
    _, variables, ids, mask, encode = tower
    assert np.isfinite(encode(variables, ids, np.zeros_like(mask)).tokens).all()


def test_rows_are_independent(tower):
    _, variables, ids, mask, encode = tower
    out, order = encode(variables, ids, mask).tokens, np.array([2, 0, 3, 1])
    np.testing.assert_allclose(encode(variables, ids[order], mask[order]).tokens, out[order], atol=1e-5)
    np.testing.assert_allclose(encode(variables, ids[1:2], mask[1:2]).tokens[0], out[1], atol=1e-5)


def test_jit_equals_no_jit(tower):
    module, variables, ids, mask, encode = tower
    np.testing.assert_allclose(module.apply(variables, ids, mask, train=False).tokens, encode(variables, ids, mask).tokens, atol=1e-5)


def test_word_order_matters(tower):
    _, variables, ids, mask, encode = tower
    swapped = ids[:, [0, 2, 1, *range(3, 10)]]
    assert np.abs(encode(variables, swapped, mask).pooled - encode(variables, ids, mask).pooled).max() > 1e-3


@pytest.mark.parametrize("field", ["dropout", "attention_dropout"])
def test_each_dropout_acts_in_training(field):
    """In evaluation it must not: the other tests pass no rng, which an active dropout would refuse."""
    quiet = replace(NARROW, dropout=0.0, attention_dropout=0.0)
    module = BertEncoder(replace(quiet, layers=1, **{field: 0.5}))
    ids, mask = token_batch(2, 6, 50)
    variables = filled_variables(module, ids, mask)
    noisy = jax.jit(lambda seed: module.apply(variables, ids, mask, train=True, rngs={"dropout": jax.random.key(seed)}).tokens)
    a, b, again = (noisy(seed) for seed in (1, 2, 1))
    np.testing.assert_array_equal(a, again)
    assert np.abs(a - b).max() > 1e-3


def test_bfloat16_keeps_float32_parameters(tower):
    module, variables, ids, mask, encode = tower
    half = module.clone(dtype=jnp.bfloat16)
    made = jax.eval_shape(lambda: half.init(jax.random.key(0), ids, mask, train=False))
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype(jnp.float32)}
    tokens = jax.jit(lambda: half.apply(variables, ids, mask, train=False).tokens)()
    assert tokens.dtype == jnp.bfloat16
    assert relative_error(tokens.astype(jnp.float32)[mask], encode(variables, ids, mask).tokens[mask]) < 0.05


@pytest.mark.parametrize("config", [NARROW, NARROW_ROBERTA])
def test_too_long_a_sequence_is_named(config):
    with pytest.raises(ValueError, match="21 tokens, but this BERT has 20 positions"):
        jax.eval_shape(lambda: BertEncoder(config).init(jax.random.key(0), *token_batch(1, 21, 50), train=False))


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_two_halves_are_the_whole(layers):
    """With the head on top: logits of a masked LM, on one tree of parameters."""
    config = replace(NARROW, pooler=False)
    module, head = BertEncoder(config), MaskedLmHead(config)
    ids, mask = token_batch(3, 9, 50)
    variables = filled_variables(module, ids, mask)
    table = variables["params"]["word"]["embedding"]
    scores = fill(jax.eval_shape(lambda: head.init(jax.random.key(0), jnp.zeros((1, config.width)), table)))
    whole = head.apply(scores, module.apply(variables, ids, mask, train=False).tokens, table)
    lower = module.apply(variables, ids, mask, layers=layers, train=False, method="lower")
    upper = module.apply(variables, lower, mask, first=layers, train=False, method="upper")
    np.testing.assert_allclose(head.apply(scores, upper, table), whole, atol=1e-5)
