"""The block with a memory: what the memory saves must not change anything, and what is masked must not be read."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.nn.attention import KeysValues
from audiojax.nn.transformer import TransformerBlock
from tests.encoders.filling import fill

ROWS, LENGTH, TOKENS = 4, 6, 5
BLOCK = TransformerBlock(width=8, heads=2, hidden=12, dropout=0.3)


def draw(*shape, seed=0):
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def read(block, x, context, memory_mask=None, mask=None, *, train=False):
    return block(x, block.memory(context), memory_mask, mask=mask, train=train)


@partial(jax.jit, static_argnames="train")
def run(variables, *inputs, train=False, key=None):
    return BLOCK.apply(variables, *inputs, train=train, method=read, rngs=None if key is None else {"dropout": key})


@pytest.fixture(scope="module")
def filled():
    """(variables, states, context of another width, mask of it)."""
    x, context = draw(ROWS, LENGTH, 8), draw(ROWS, TOKENS, 7, seed=1)
    variables = fill(jax.eval_shape(lambda: BLOCK.init(jax.random.key(0), x, context, method=read)))
    return variables, x, context, np.arange(TOKENS)[None, :] < np.array([5, 3, 1, 4])[:, None]


def test_parameters_are_those_of_three_steps_or_of_two(filled):
    variables, x, *_ = filled
    assert set(variables["params"]) == {"attention", "attention_norm", "cross", "cross_norm", "mlp", "mlp_norm"}
    assert variables["params"]["cross"]["key"]["kernel"].shape == (7, 8)
    alone = jax.eval_shape(lambda: BLOCK.init(jax.random.key(0), x, train=False))
    assert set(alone["params"]) == {"attention", "attention_norm", "mlp", "mlp_norm"}


def test_rows_that_share_a_memory_read_what_copies_of_it_hold(filled):
    variables, x, context, mask = filled
    shared = run(variables, x, context[:2], mask[:2])
    rows = [0, 0, 1, 1]
    copied = run(variables, x, context[rows], mask[rows])
    np.testing.assert_allclose(shared, copied, atol=1e-5)
    with pytest.raises(ValueError, match="4 rows cannot share a memory of 3"):
        run(variables, x, context[:3])


def test_masked_positions_of_the_memory_are_not_read(filled):
    variables, x, context, mask = filled
    out = run(variables, x, context, mask)
    other = np.where(mask[..., None], context, 9.0).astype(np.float32)
    np.testing.assert_allclose(run(variables, x, other, mask), out, atol=1e-5)
    assert np.abs(run(variables, x, other) - out).max() > 1e-2


@pytest.mark.parametrize("parts", [(1, 1, 1, 1, 1, 1), (3, 1, 2)])
def test_steps_with_a_cache_give_what_a_causal_mask_gives(filled, parts):
    variables, x, context, mask = filled
    causal = np.tril(np.ones((LENGTH, LENGTH), bool))[None, None]
    whole = run(variables, x, context, mask, causal)

    @jax.jit
    def stepped(variables):
        memory = BLOCK.apply(variables, context, method="memory")
        stored = KeysValues(*2 * [jnp.full((ROWS, 2, LENGTH + 2, 4), jnp.float32(7.0))])  # what is in free slots does not matter
        found, slot = [], 0
        for length in parts:
            out, stored = BLOCK.apply(variables, x[:, slot : slot + length], stored, slot, memory, mask, method="step")
            found.append(out)
            slot += length
        return jnp.concatenate(found, axis=1)

    np.testing.assert_allclose(stepped(variables), whole, atol=1e-5)


def test_dropout_only_when_training(filled):
    variables, x, context, _ = filled
    out = run(variables, x, context)
    one, two = (run(variables, x, context, train=True, key=jax.random.key(i)) for i in (1, 2))
    assert np.abs(one - two).max() > 1e-2
    assert np.abs(one - out).max() > 1e-2
