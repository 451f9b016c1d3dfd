"""The projection of audio tokens: sizes, and that a masked token reaches nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.errors import UsageError
from audiojax.models.audio_projection import FORMS, AudioProjection, AudioProjectionConfig
from tests.encoders.filling import filled_variables

ROWS, TOKENS, FEATURES = 3, 6, 10
MASK = np.arange(TOKENS)[None, :] < np.array([6, 4, 1])[:, None]
SOUND = np.random.RandomState(0).standard_normal((ROWS, TOKENS, FEATURES)).astype(np.float32)


def make(form, **sizes):
    return AudioProjection(AudioProjectionConfig(width=8, form=form, heads=2, hidden=12, **sizes))


@pytest.fixture(scope="module", params=FORMS)
def projection(request):
    module = make(request.param)
    variables = filled_variables(module, SOUND, MASK)
    return module, variables, jax.jit(lambda v, x, m: module.apply(v, x, m, train=False))


@pytest.mark.parametrize(("form", "expected"), [("linear", 592_128), ("transformer", 11_619_328)])
def test_sizes_for_beats(form, expected):
    module = AudioProjection(AudioProjectionConfig(form=form))
    sound, mask = jax.ShapeDtypeStruct((1, 4, 768), jnp.float32), np.ones((1, 4), bool)
    variables = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, mask, train=False), sound)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == expected


def test_a_masked_token_reaches_nothing_whatever_it_holds(projection):
    _, variables, run = projection
    out = run(variables, SOUND, MASK)
    assert out.shape == (ROWS, TOKENS, 8)
    assert np.all(np.asarray(out)[~MASK] == 0)
    assert np.abs(out[MASK]).max(axis=-1).min() > 1e-2
    np.testing.assert_array_equal(run(variables, np.where(MASK[..., None], SOUND, np.nan), MASK), out)
    np.testing.assert_allclose(run(variables, SOUND[1:2, :4], MASK[1:2, :4]), out[1:2, :4], atol=1e-5)


def test_a_masked_token_has_no_gradient(projection):
    _, variables, run = projection
    gradient = np.asarray(jax.jit(jax.grad(lambda x: jnp.sum(jnp.square(run(variables, x, MASK)))))(SOUND))
    assert np.all(gradient[~MASK] == 0)
    assert np.abs(gradient[MASK]).max(axis=-1).min() > 0


def test_silence_is_a_context_too(projection):
    """Guidance zeroes the tokens: the outcome and its gradients are finite."""
    _, variables, run = projection
    gradients = jax.jit(jax.grad(lambda v: jnp.sum(jnp.square(run(v, np.zeros_like(SOUND), MASK)))))(variables)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_only_the_transformer_knows_positions_and_neighbours(projection):
    module, variables, run = projection
    order, whole = np.array([3, 0, 5, 1, 4, 2]), np.ones_like(MASK)
    same = np.allclose(run(variables, SOUND[:, order], whole), run(variables, SOUND, whole)[:, order], atol=1e-5)
    assert same == (module.config.form == "linear")


def test_dropout_only_when_training():
    module = make("transformer")
    variables = filled_variables(module, SOUND, MASK)
    train = jax.jit(lambda key: module.apply(variables, SOUND, MASK, train=True, rngs={"dropout": key}))
    one, two = (train(jax.random.key(i)) for i in (1, 2))
    assert np.abs(one - two).max() > 1e-2
    calm = make("transformer", input_dropout=0.0, dropout=0.0)
    out, still = (jax.jit(lambda n=n, t=t: n.apply(variables, SOUND, MASK, train=t))() for n, t in ((module, False), (calm, True)))
    np.testing.assert_allclose(still, out, atol=1e-5)


def test_an_unknown_form_is_named():
    with pytest.raises(UsageError, match="form 'conv' of the audio projection: one of linear, transformer"):
        make("conv")
