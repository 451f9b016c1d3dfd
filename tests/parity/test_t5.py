"""T5's encoder beside transformers' T5EncoderModel with random weights, in float32 and in half precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.encoders.t5 import PRESETS, T5Encoder
from audiojax.nn.embed import relative_buckets
from audiojax.pretrained.rules import export
from audiojax.pretrained.t5 import family
from tests.encoders.filling import relative_error, token_batch
from tests.encoders.test_t5 import NARROW, t5_variables

torch = pytest.importorskip("torch")
from tests.parity.panns_twin import load  # noqa: E402
from tests.parity.t5_reference import reference_t5  # noqa: E402

pytestmark = pytest.mark.parity
BOUNDS = {jnp.float32: 1e-4, jnp.bfloat16: 2e-2, jnp.float16: 1e-2}


def compare(config, ids, mask):
    module = T5Encoder(config)
    variables = t5_variables(module, ids, mask)
    state = export(variables, family(config))
    model = load(reference_t5(config), state | {"encoder.embed_tokens.weight": state["shared.weight"]}).eval()
    with torch.no_grad():
        theirs = model(*(torch.tensor(x.astype(np.int64)) for x in (ids, mask))).last_hidden_state.numpy()
    for dtype, bound in BOUNDS.items():
        tokens = jax.jit(lambda v, d=dtype: module.clone(dtype=d).apply(v, ids, mask, train=False))(variables)
        assert relative_error(tokens.astype(jnp.float32)[mask], theirs[mask]) < bound


@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("length", [3, 40])
def test_narrow(name, length):
    compare(NARROW[name], *token_batch(3, length, 50))


@pytest.mark.parametrize("length", [48, 300])
def test_tiny_preset(length):
    compare(PRESETS["tiny"], *token_batch(2, length, 1_000))


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["t5-base", "flan-t5-base"])
def test_published_size(preset):
    compare(PRESETS[preset], *token_batch(3, 32, 32_128))


@pytest.mark.parametrize(("buckets", "max_distance"), [(32, 128), (8, 9), (320, 800)])
def test_relative_buckets(buckets, max_distance):
    from transformers.models.t5.modeling_t5 import T5Attention

    offset = torch.arange(1_000)[None, :] - torch.arange(1_000)[:, None]
    theirs = T5Attention._relative_position_bucket(offset, num_buckets=buckets, max_distance=max_distance)
    np.testing.assert_array_equal(relative_buckets(1_000, buckets, max_distance), theirs.numpy())
