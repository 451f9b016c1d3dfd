"""T5's decoder beside transformers' T5ForConditionalGeneration with random weights, in float32 and bfloat16."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.encoders.t5 import PRESETS, T5Encoder
from audiojax.models.t5_decoder import T5Decoder
from audiojax.nn.embed import relative_buckets
from tests.encoders.filling import relative_error, token_batch
from tests.encoders.test_t5 import NARROW, t5_variables
from tests.models.test_t5_decoder import decoder_variables

torch = pytest.importorskip("torch")
from tests.parity.t5_decoder_reference import logits, reference  # noqa: E402

pytestmark = pytest.mark.parity
BOUNDS = {jnp.float32: 1e-4, jnp.bfloat16: 2e-2}


@pytest.mark.parametrize("preset", ["narrow", "tiny", pytest.param("flan-t5-base", marks=pytest.mark.slow)])
def test_logits(preset):
    config = {**PRESETS, "narrow": NARROW["flan_t5"]}[preset]
    ids, mask = token_batch(3, 24, config.vocab_size)
    written = np.random.RandomState(1).randint(0, config.vocab_size, (3, 20)).astype(np.int32)
    encoder, decoder = t5_variables(T5Encoder(config), ids, mask), decoder_variables(config)
    theirs = logits(reference(config, encoder, decoder), ids, mask, written)
    table = encoder["params"]["word"]["embedding"]
    for dtype, bound in BOUNDS.items():

        def ours(encoder, decoder, dtype=dtype):
            states = T5Encoder(config, dtype=dtype).apply(encoder, ids, mask, train=False)
            return T5Decoder(config, dtype=dtype).apply(decoder, written, states, mask, table, train=False)

        found = jax.jit(ours)(encoder, decoder)
        assert found.dtype == jnp.float32
        assert relative_error(found, theirs) < bound


@pytest.mark.parametrize(("buckets", "max_distance"), [(32, 128), (8, 9), (320, 800)])
def test_relative_buckets(buckets, max_distance):
    from transformers.models.t5.modeling_t5 import T5Attention

    offset = torch.arange(1_000)[None, :] - torch.arange(1_000)[:, None]
    theirs = T5Attention._relative_position_bucket(offset, bidirectional=False, num_buckets=buckets, max_distance=max_distance)
    np.testing.assert_array_equal(relative_buckets(1_000, buckets, max_distance, causal=True), theirs.numpy())
