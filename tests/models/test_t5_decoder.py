"""T5's decoder: transformers' outputs from a golden file, what it must not see, and published sizes."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.encoders.t5 import PRESETS, T5Encoder
from audiojax.models.t5_decoder import T5Decoder
from tests.encoders.filling import fill, relative_error, token_batch
from tests.encoders.test_t5 import NARROW, t5_variables

GOLDEN = Path(__file__).parents[1] / "golden" / "t5_decoder.npz"
CONFIG = NARROW["flan_t5"]
WRITTEN = np.random.RandomState(3).randint(0, 50, (4, 11)).astype(np.int32)


def decoder_variables(config=CONFIG):
    """Filled variables whose queries spread as T5's first weights do."""
    ids, mask = token_batch(1, 4, config.vocab_size)
    states, table = np.zeros((1, 4, config.width), np.float32), np.zeros((config.vocab_size, config.width), np.float32)
    module = T5Decoder(config)
    filled = fill(jax.eval_shape(lambda: module.init(jax.random.key(0), ids, states, mask, table, train=False)), seed=1)

    def spread(path, leaf):
        name = "/".join(part.key for part in path)
        leaf = leaf * np.float32(0.5**0.5) if name.endswith("kernel") else leaf
        return leaf * np.float32(config.head_width**-0.5) if "query" in name else leaf

    return jax.tree_util.tree_map_with_path(spread, filled)


@pytest.fixture(scope="module")
def written():
    """(function of tokens, states, mask; encoder states, mask, word table)."""
    ids, mask = token_batch(4, 13, 50)
    encoder = t5_variables(T5Encoder(CONFIG), ids, mask)
    states = jax.jit(lambda: T5Encoder(CONFIG).apply(encoder, ids, mask, train=False))()
    table, variables = encoder["params"]["word"]["embedding"], decoder_variables()
    return jax.jit(lambda t, s, m: T5Decoder(CONFIG).apply(variables, t, s, m, table, train=False)), states, mask


def test_outputs_of_transformers(written):
    """The golden file holds the logits of transformers' T5ForConditionalGeneration; see tests/golden/make_t5_decoder.py."""
    decode, states, mask = written
    assert relative_error(decode(WRITTEN, states, mask), np.load(GOLDEN)["logits"]) < 1e-4


def test_a_token_sees_nothing_that_comes_after_it(written):
    decode, states, mask = written
    other = WRITTEN.copy()
    other[:, 6:] = (other[:, 6:] + 7) % 50
    one, two = decode(WRITTEN, states, mask), decode(other, states, mask)
    np.testing.assert_allclose(one[:, :6], two[:, :6], atol=1e-5)
    assert np.abs(one[:, 6:] - two[:, 6:]).max() > 1e-2


def test_padding_of_the_encoder_is_not_looked_at(written):
    decode, states, mask = written
    np.testing.assert_allclose(
        decode(WRITTEN, jnp.where(mask[..., None], states, 5.0), mask), decode(WRITTEN, states, mask), rtol=1e-4, atol=1e-4
    )


def test_published_size():
    """flan-t5-base has 247,577,856 parameters: the encoder's, the decoder's and the output map's."""
    config = PRESETS["flan-t5-base"]
    ids, mask = token_batch(1, 8, 100)
    states, table = jnp.zeros((1, 8, config.width)), jax.ShapeDtypeStruct((config.vocab_size, config.width), jnp.float32)
    decoder = jax.eval_shape(lambda t: T5Decoder(config).init(jax.random.key(0), ids, states, mask, t, train=False), table)
    encoder = jax.eval_shape(lambda: T5Encoder(config).init(jax.random.key(0), ids, mask, train=False))
    assert sum(leaf.size for leaf in jax.tree.leaves((encoder, decoder))) == 247_577_856
