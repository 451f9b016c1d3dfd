"""BERT and RoBERTa beside transformers' with random weights, every bias non-zero, in float32 and in bfloat16."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.encoders.bert import PRESETS, BertEncoder, MaskedLmHead
from audiojax.pretrained.bert import family, masked_lm_family
from audiojax.pretrained.rules import export
from tests.encoders.filling import fill, filled_variables, relative_error, token_batch
from tests.encoders.test_bert import NARROW, NARROW_ROBERTA, roberta_batch

torch = pytest.importorskip("torch")
from tests.parity.bert_reference import reference_bert  # noqa: E402
from tests.parity.panns_twin import load  # noqa: E402

pytestmark = pytest.mark.parity
BOUNDS = {jnp.float32: 1e-4, jnp.bfloat16: 2e-2}


def outputs_of(model, *inputs):
    with torch.no_grad():
        return model.eval()(*(torch.tensor(x.astype(np.int64)) for x in inputs))


def compare(config, ids, mask, segments):
    module = BertEncoder(config)
    variables = filled_variables(module, ids, mask)
    theirs = outputs_of(load(reference_bert(config), export(variables, family(config))), ids, mask, segments)
    for dtype, bound in BOUNDS.items():
        out = jax.jit(lambda v, d=dtype: module.clone(dtype=d).apply(v, ids, mask, segments, train=False))(variables)
        assert relative_error(out.tokens.astype(jnp.float32)[mask], theirs.last_hidden_state.numpy()[mask]) < bound
        assert relative_error(out.pooled.astype(jnp.float32), theirs.pooler_output.numpy()) < bound


@pytest.mark.parametrize("length", [3, 13, 20])
def test_narrow(length):
    ids, mask = token_batch(3, length, 50)
    compare(NARROW, ids, mask, ids % 2)


@pytest.mark.parametrize("length", [3, 13, 20])
def test_narrow_roberta(length):
    ids, mask = roberta_batch(3, length)
    compare(NARROW_ROBERTA, ids, mask, np.zeros_like(ids))


@pytest.mark.parametrize("preset", ["tiny", "roberta-tiny"])
def test_tiny_preset(preset):
    ids, mask = roberta_batch(4, 48, 1_000)
    compare(replace(PRESETS[preset], pooler=True), ids, mask, np.zeros_like(ids))


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["base", "roberta-base"])
def test_published_size(preset):
    config = replace(PRESETS[preset], pooler=True)
    ids, mask = roberta_batch(3, 32, config.vocab_size)
    compare(config, ids, mask, np.zeros_like(ids))


@pytest.mark.parametrize(("config", "prefix", "decoder"), [(NARROW, "bert", "cls.predictions"), (NARROW_ROBERTA, "roberta", "lm_head")])
def test_masked_lm(config, prefix, decoder):
    config = replace(config, pooler=False)
    ids, mask = roberta_batch(3, 13)
    encoder, head = BertEncoder(config), MaskedLmHead(config)
    variables = filled_variables(encoder, ids, mask)
    words = variables["params"]["word"]["embedding"]
    head_variables = fill(jax.eval_shape(lambda: head.init(jax.random.key(0), np.zeros((1, config.width), np.float32), words)))
    state = {f"{prefix}.{name}": value for name, value in export(variables, family(config)).items()}
    state |= export(head_variables, masked_lm_family(config))
    state |= {f"{decoder}.decoder.weight": words, f"{decoder}.decoder.bias": state[f"{decoder}.bias"]}  # tied
    theirs = outputs_of(load(reference_bert(config, masked_lm=True), state), ids, mask).logits.numpy()

    def score(dtype):
        tokens = encoder.clone(dtype=dtype).apply(variables, ids, mask, train=False).tokens
        return head.clone(dtype=dtype).apply(head_variables, tokens, words)

    for dtype, bound in BOUNDS.items():
        assert relative_error(jax.jit(score, static_argnums=0)(dtype)[mask], theirs[mask]) < bound
