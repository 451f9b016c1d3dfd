"""The autoregressive captioner: sizes, transformers' outputs from a golden file, and what cache, memory and batch must not change."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.encoders.bert import BertConfig, MaskedLmHead
from audiojax.errors import UsageError
from audiojax.models import text_denoiser
from audiojax.models.caption_decoder import PRESETS, CaptionDecoder, CaptionDecoderConfig, generate
from audiojax.models.decoding import Decoding
from tests.encoders.filling import filled_variables, relative_error, token_batch
from tests.models.test_text_denoiser import shapes as denoiser_shapes
from tests.models.test_text_denoiser import size

GOLDEN = Path(__file__).parents[1] / "golden" / "captioner.npz"
SIZES = {"vocab_size": 40, "width": 16, "layers": 2, "heads": 4, "hidden": 20, "context": 10, "max_positions": 12}
NARROW = {"tied": CaptionDecoderConfig(**SIZES), "own": CaptionDecoderConfig(**SIZES, tie_embeddings=False)}
BEGIN, END, BEAMS, WORDS = 5, 28, 4, 8


def teacher(config, rows=4, length=9, tokens=5):
    """(ids, mask, sound, mask of it)."""
    sound = np.random.RandomState(2).standard_normal((rows, tokens, config.context)).astype(np.float32)
    return *token_batch(rows, length, config.vocab_size), sound, np.arange(tokens)[None, :] < tokens - np.arange(rows)[:, None]


@pytest.fixture(scope="module")
def decoder():
    module, given = CaptionDecoder(NARROW["own"]), teacher(NARROW["own"])
    variables = filled_variables(module, *given)
    return module, variables, jax.jit(lambda *args: module.apply(variables, *args, train=False)), given


def test_presets_are_as_large_as_the_denoiser_with_its_head():
    """The denoiser alone writes no words: the trained head, with a matrix of its own, belongs to it. No preset differs by 3 %."""
    for name, config in PRESETS.items():
        ours = size(jax.eval_shape(lambda c=config: CaptionDecoder(c).init(jax.random.key(0), *teacher(c, rows=1), train=False)))
        latent = text_denoiser.PRESETS[name].latent
        head = MaskedLmHead(BertConfig(vocab_size=config.vocab_size, width=latent))
        table = jax.ShapeDtypeStruct((config.vocab_size, latent), jnp.float32)
        made = jax.eval_shape(lambda t, head=head: head.init(jax.random.key(0), t[:1], t), table)
        theirs = size(denoiser_shapes(text_denoiser.PRESETS[name])) + size(made) + size(table)
        assert (ours, theirs) == {
            "base": (137_879_610, 139_650_618),
            "soundworld": (2_109_544, 2_098_920),
            "tiny": (117_312, 116_288),
        }[name]
        assert abs(ours / theirs - 1) < 0.03


def test_an_output_matrix_of_its_own():
    def made(name):
        return jax.eval_shape(lambda: CaptionDecoder(NARROW[name]).init(jax.random.key(0), *teacher(NARROW[name]), train=False))

    assert set(made("own")["params"]) - set(made("tied")["params"]) == {"decoder"}
    assert size(made("own")) - size(made("tied")) == 40 * 16


@pytest.mark.parametrize("name", NARROW)
def test_outputs_of_transformers(name):
    """The golden file holds what BertLMHeadModel gives for these numbers; see tests/golden/make_captioner.py."""
    module, golden, given = CaptionDecoder(NARROW[name]), np.load(GOLDEN), teacher(NARROW[name])
    variables = filled_variables(module, *given)
    logits = jax.jit(lambda v: module.apply(v, *given, train=False))(variables)
    assert relative_error(logits[given[1]], golden[f"decoder/{name}/logits"]) < 1e-4


@pytest.mark.parametrize(("label", "beams"), [("greedy", 1), ("beams", BEAMS)])
def test_captions_of_transformers(decoder, label, beams):
    """Its words, and the log-probability that teacher forcing gives them: so far cache and loop are what the whole caption is at once."""
    module, variables, run, (_, _, sound, audio_mask) = decoder
    made = generate(module, variables, sound, audio_mask, Decoding(WORDS, eos_ids=(END,), num_beams=beams), begin_id=BEGIN)
    np.testing.assert_array_equal(made.tokens, np.load(GOLDEN)[f"decoder/own/{label}"])
    assert made.lengths.max() == WORDS
    assert label == "beams" or made.lengths.min() == 3
    ids = np.concatenate([np.full((4, 1), BEGIN), made.tokens], axis=1).astype(np.int32)
    chances = jax.nn.log_softmax(run(ids, np.ones_like(ids, bool), sound, audio_mask))[:, :-1]
    chosen = jnp.take_along_axis(chances, made.tokens[..., None], axis=-1)[..., 0]
    written = np.arange(WORDS)[None, :] < np.asarray(made.lengths)[:, None]
    np.testing.assert_allclose(made.log_probs, np.where(written, chosen, 0).sum(axis=1), rtol=1e-4)


def test_a_word_sees_what_is_before_it_alone(decoder):
    _, _, run, (ids, mask, sound, audio_mask) = decoder
    other = ids.copy()
    other[:, 5] = (ids[:, 5] + 1) % 40
    every = np.ones_like(mask)
    one, two = run(ids, every, sound, audio_mask), run(other, every, sound, audio_mask)
    np.testing.assert_allclose(one[:, :5], two[:, :5], atol=1e-5)
    assert np.abs(one[:, 5:] - two[:, 5:]).max(axis=-1).min() > 1e-3


def test_padding_and_masked_sound_have_no_influence_and_no_gradient(decoder):
    _, _, run, (ids, mask, sound, audio_mask) = decoder
    logits = run(ids, mask, sound, audio_mask)
    changed = np.where(mask, ids, 3).astype(np.int32), mask, np.where(audio_mask[..., None], sound, np.float32(9)), audio_mask
    np.testing.assert_allclose(run(*changed)[mask], logits[mask], atol=1e-5)
    square = jax.jit(jax.grad(lambda x: jnp.sum(jnp.square(run(ids, mask, x, audio_mask)))))
    gradient = np.asarray(square(sound))
    assert np.all(gradient[~audio_mask] == 0)
    assert np.abs(gradient[audio_mask]).max(axis=-1).min() > 0


def test_rows_are_independent(decoder):
    _, _, run, given = decoder
    order = np.array([2, 0, 3, 1])
    np.testing.assert_allclose(run(*(x[order] for x in given)), run(*given)[order], atol=1e-5)


def test_drawn_captions_depend_on_their_key_and_their_sound_alone(decoder):
    """Two captions a sound, whatever else is in the batch."""
    module, variables, _, (_, _, sound, audio_mask) = decoder
    draw = partial(generate, module, variables, decoding=Decoding(6, temperature=1.5, top_p=0.9), begin_id=BEGIN)
    keys, order = jax.random.split(jax.random.key(0), 8), np.array([1, 3, 0, 1])
    tokens = np.asarray(draw(sound, audio_mask, keys=keys).tokens).reshape(4, 2, 6)
    assert len({tuple(row) for row in tokens.reshape(8, 6)}) > 4
    moved = draw(sound[order], audio_mask[order], keys=keys.reshape(4, 2)[order].reshape(8)).tokens
    np.testing.assert_array_equal(moved.reshape(4, 2, 6), tokens[order])


def test_beam_search_moves_no_sound():
    """What the loop over words carries has no axis as long as the sound; the memory stays outside it, in one copy for all beams."""
    module, tokens = CaptionDecoder(NARROW["tied"]), 37
    _, _, sound, audio_mask = teacher(module.config, tokens=tokens)
    variables = filled_variables(module, *teacher(module.config, tokens=tokens))
    decoding = Decoding(WORDS, num_beams=BEAMS)
    inner = jax.make_jaxpr(lambda v: generate(module, v, sound, audio_mask, decoding, begin_id=BEGIN))(variables)
    (loop,) = [e for e in inner.jaxpr.eqns[-1].params["jaxpr"].jaxpr.eqns if e.primitive.name == "while"]
    fixed = loop.params["cond_nconsts"] + loop.params["body_nconsts"]
    kept, carried = ([x.aval.shape for x in part] for part in (loop.invars[:fixed], loop.invars[fixed:]))
    assert (4, 4, tokens, 4) in kept  # [sounds, heads, tokens, head_width]
    assert (4 * BEAMS, 4, WORDS, 4) in carried
    assert not any(tokens in shape for shape in carried)
    assert all(shape[0] == 4 for shape in kept if tokens in shape)


def test_half_precision_keeps_float32_parameters_and_logits(decoder):
    module, variables, run, given = decoder
    half = module.clone(dtype=jnp.bfloat16)
    made = jax.eval_shape(lambda: half.init(jax.random.key(0), *given, train=False))
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype(jnp.float32)}
    logits = jax.jit(lambda: half.apply(variables, *given, train=False))()
    assert logits.dtype == jnp.float32
    assert relative_error(logits[given[1]], run(*given)[given[1]]) < 0.03
    assert jax.eval_shape(lambda: generate(half, variables, *given[2:], Decoding(3), begin_id=BEGIN)).tokens.shape == (4, 3)


def test_dropout_only_when_training():
    module = CaptionDecoder(replace(NARROW["tied"], layers=1))
    given = teacher(module.config)
    variables = filled_variables(module, *given)
    train = jax.jit(lambda key: module.apply(variables, *given, train=True, rngs={"dropout": key}))
    one, two = (train(jax.random.key(i)) for i in (1, 2))
    assert np.abs(one - two).max() > 1e-2
    still = CaptionDecoder(replace(module.config, dropout=0.0, attention_dropout=0.0))
    out = jax.jit(lambda: module.apply(variables, *given, train=False))()
    np.testing.assert_allclose(jax.jit(lambda: still.apply(variables, *given, train=True))(), out, atol=1e-5)


def test_what_cannot_be_written_is_refused(decoder):
    module, variables, _, (_, _, sound, audio_mask) = decoder
    with pytest.raises(UsageError, match="max_new_tokens 13: this decoder has 12 positions"):
        generate(module, variables, sound, audio_mask, Decoding(13), begin_id=BEGIN)
    with pytest.raises(ValueError, match="13 words, but this decoder has 12 positions"):
        module.apply(variables, *token_batch(4, 13, 40), sound, audio_mask, train=False)
    with pytest.raises(ValueError, match="9 features, this decoder reads 10"):
        module.apply(variables, sound[..., :9], method="memory")
