"""What the networks hear of a clip: its level, and a stretch that its key draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiojax.papers.re_audioldm.hearing import blind_error, explained, levelled, random_stretch


@given(st.floats(1e-3, 1e3), st.floats(-1.0, 1.0))
def test_a_clip_has_no_mean_and_a_peak_of_a_half_however_loud_it_was(gain, offset):
    sound = np.random.default_rng(0).normal(size=(2, 64))
    found = np.asarray(levelled(jnp.asarray(gain * (sound + offset), jnp.float32)))
    assert np.abs(found).max(axis=1) == pytest.approx([0.5, 0.5], rel=1e-3)
    assert np.abs(found.mean(axis=1)).max() < 1e-4


def test_silence_stays_silent():
    np.testing.assert_array_equal(levelled(jnp.zeros((1, 8))), np.zeros((1, 8)))


def test_a_stretch_is_a_piece_of_its_own_clip_and_its_key_alone_places_it():
    clips = jnp.arange(40.0).reshape(2, 20)
    keys = jax.random.split(jax.random.key(0), 200)
    starts = random_stretch(keys, jnp.broadcast_to(clips[:1], (200, 20)), 15)[:, 0]
    assert set(np.asarray(starts).tolist()) == {0, 1, 2, 3, 4, 5}
    both = random_stretch(keys[:2], clips, 15)
    for i in range(2):
        np.testing.assert_array_equal(random_stretch(keys[i : i + 1], clips[i : i + 1], 15)[0], both[i])
        np.testing.assert_array_equal(np.diff(both[i]), np.ones(14))
    np.testing.assert_array_equal(random_stretch(keys[:2], clips, 20), clips)


def test_a_blind_answer_knows_the_mean_spectrum():
    mel = jnp.array([[[0.0, 5.0], [2.0, 5.0]], [[1.0, 1.0], [1.0, 1.0]]])
    np.testing.assert_allclose(blind_error(mel), [0.5, 0.0])
    assert explained(np.array([0.1, 0.3]), np.array([0.5, 0.3])) == pytest.approx(0.5)
