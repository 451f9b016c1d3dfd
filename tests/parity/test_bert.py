"""BERT beside transformers' BertModel with random weights, every bias non-zero."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from audiojax.encoders.bert import PRESETS, BertEncoder
from tests.encoders.filling import filled_variables, relative_error, token_batch
from tests.encoders.test_bert import NARROW

torch = pytest.importorskip("torch")
from tests.parity.bert_reference import reference_bert  # noqa: E402
from tests.parity.panns_twin import load  # noqa: E402
from tests.parity.tower_keys import BERT, to_torch  # noqa: E402

pytestmark = pytest.mark.parity


def compare(config, ids, mask, segments):
    module = BertEncoder(config)
    variables = filled_variables(module, ids, mask)
    model = load(reference_bert(config), to_torch(variables, BERT)).eval()
    with torch.no_grad():
        theirs = model(*(torch.tensor(x.astype(np.int64)) for x in (ids, mask, segments)))
    out = jax.jit(lambda v: module.apply(v, ids, mask, segments, train=False))(variables)
    assert relative_error(out.tokens[mask], theirs.last_hidden_state.numpy()[mask]) < 1e-4
    assert relative_error(out.pooled, theirs.pooler_output.numpy()) < 1e-4


@pytest.mark.parametrize("length", [3, 13, 20])
def test_narrow(length):
    ids, mask = token_batch(3, length, 50)
    compare(NARROW, ids, mask, ids % 2)


def test_tiny_preset():
    ids, mask = token_batch(4, 48, 1_000)
    compare(replace(PRESETS["tiny"], pooler=True), ids, mask, np.zeros_like(ids))


@pytest.mark.slow
def test_published_size():
    ids, mask = token_batch(3, 32, 30_522)
    compare(replace(PRESETS["base"], pooler=True), ids, mask, np.zeros_like(ids))
