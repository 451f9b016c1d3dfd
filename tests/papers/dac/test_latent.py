"""The latent space: which positions are words, standardised channels, the filler, and the way back (note, checks 2, 3, 9)."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiojax.papers.dac.latent import caption_latents, encode, measure, word_mask
from audiojax.papers.dac.loss import head_loss
from audiojax.papers.dac.task import make_task
from tests.encoders.filling import fill
from tests.papers.dac.small import CLIPS, VOCAB, clip_batch, plain


@pytest.fixture(scope="module")
def variables(small_towers):
    return fill(jax.eval_shape(make_task(plain(), "head", vocab_size=VOCAB).init, jax.random.key(0), {}))


@given(st.lists(st.integers(2, 9), min_size=1, max_size=4), st.integers(9, 11))
def test_words_are_what_stands_between_the_special_tokens(lengths, room):
    """Check 9; a caption may fill all positions, the last of them [SEP]."""
    mask = np.arange(room)[None] < np.array(lengths)[:, None]
    expected = [[0 < i < length - 1 for i in range(room)] for length in lengths]
    np.testing.assert_array_equal(word_mask(jnp.asarray(mask)), expected)


def test_everything_but_words_is_the_filler(settings, variables):
    """Its latent is that of the filler alone, standardised like the others."""
    batch = clip_batch()
    state = {"latent": {"mean": np.full(16, 0.5, np.float32), "std": np.full(16, 2.0, np.float32)}}
    params = variables["params"]
    found = jax.jit(lambda: caption_latents(settings, params, state, batch["text_ids"], batch["text_mask"]))()
    words = np.asarray(found.words)
    np.testing.assert_array_equal(found.targets, np.where(words, batch["text_ids"], 3))
    states_of = jax.jit(lambda ids, mask: encode(settings, params, ids, mask))
    alone = states_of(np.full((1, 1), 3), np.ones((1, 1), bool))[0, 0]
    states = np.asarray(states_of(batch["text_ids"], batch["text_mask"]))
    np.testing.assert_allclose(found.x0[~words], np.broadcast_to((alone - 0.5) / 2, (np.sum(~words), 16)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.x0[words], (states[words] - 0.5) / 2, rtol=1e-5, atol=1e-6)


def test_measured_channels_have_mean_0_and_deviation_1(settings, variables):
    """Check 3, with one channel far from the others as BERT has it."""
    params = jax.tree.map(np.array, variables["params"])
    norm = params["towers"]["text"]["layer_0"]["mlp_norm"]
    norm["bias"][3], norm["scale"][3] = -40.0, 1e-2
    batches = [clip_batch(seed=seed) for seed in range(4)]
    state = measure(settings, params, iter(batches))
    assert state["latent"]["mean"][3] == pytest.approx(-40, abs=0.1)
    found = [caption_latents(settings, params, state, batch["text_ids"], batch["text_mask"]) for batch in batches]
    words = np.concatenate([np.asarray(x.x0)[np.asarray(x.words)] for x in found])
    np.testing.assert_allclose(words.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(words.std(axis=0), 1, atol=1e-3)


@pytest.mark.slow
def test_a_trained_head_reads_every_caption_back(settings):
    """Check 2: words and filler alike."""
    batch = clip_batch(4 * CLIPS)
    params = jax.jit(make_task(plain(), "head", vocab_size=VOCAB).init)(jax.random.key(0), {})["params"]
    state = measure(settings, params, [batch])
    optimizer = optax.adam(1e-2)

    @jax.jit
    def step(head, moments):
        def objective(head):
            return head_loss(settings, {**params, "head": head}, state, batch)

        (_, found), gradient = jax.value_and_grad(objective, has_aux=True)(head)
        updates, moments = optimizer.update(gradient, moments)
        return optax.apply_updates(head, updates), moments, found["words_right"]

    head, moments = params["head"], optimizer.init(params["head"])
    for _ in range(300):
        head, moments, right = step(head, moments)
    assert right > 0.995
