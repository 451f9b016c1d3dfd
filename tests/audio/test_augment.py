"""Augmentations: laws of the draws, independence of the batch layout, static shapes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.audio import augment
from audiojax.audio.augment import row_keys

pytestmark = pytest.mark.usefixtures("strict_dtypes")
STATIC = ("time_stripes", "time_width", "mel_stripes", "mel_width")
spec_augment = jax.jit(augment.spec_augment, static_argnames=STATIC)
mixup = jax.jit(augment.mixup, static_argnames=("alpha", "energy_aware"))
random_gain = jax.jit(augment.random_gain)
random_shift = jax.jit(augment.random_shift, static_argnames="max_samples")


def runs(flags: np.ndarray) -> list[int]:
    """Lengths of the runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return list(edges[1::2] - edges[::2])


def test_spec_augment_hides_at_most_the_stripes_asked_for():
    mel = jnp.ones((256, 384, 64), jnp.float32)
    out = np.asarray(spec_augment(jax.random.key(0), mel))
    hidden_time, hidden_mel = (out == 0).all(axis=2), (out == 0).all(axis=1)  # [b, t], [b, f]
    np.testing.assert_array_equal(out == 0, hidden_time[:, :, None] | hidden_mel[:, None, :])
    assert max(len(runs(row)) for row in hidden_time) == 2
    assert max(len(runs(row)) for row in hidden_mel) == 2
    assert max(max(runs(row), default=0) for row in hidden_time if len(runs(row)) == 2) <= 63
    assert max(max(runs(row), default=0) for row in hidden_mel if len(runs(row)) == 2) <= 7


def test_spec_augment_widths_and_starts_are_uniform():
    mel = jnp.ones((4096, 100, 4), jnp.float32)
    out = np.asarray(spec_augment(jax.random.key(1), mel, time_stripes=1, time_width=11, mel_stripes=0))
    hidden = (out == 0).all(axis=2)
    widths = hidden.sum(axis=1)
    counts = np.bincount(widths, minlength=11)
    assert len(counts) == 11  # widths 0 .. 10
    assert counts.min() > 4096 / 11 * 0.75
    starts = hidden.argmax(axis=1)[widths == 10]
    assert starts.min() >= 0
    assert starts.max() <= 89  # U{0 .. size - width - 1}
    assert abs(starts.mean() - 44.5) < 6


def test_spec_augment_keeps_something_of_a_short_example():
    out = np.asarray(spec_augment(jax.random.key(2), jnp.ones((200, 12, 6), jnp.float32), time_stripes=1, mel_stripes=1))
    assert out.reshape(200, -1).max(axis=1).min() == 1


def test_spec_augment_does_not_depend_on_the_batch_layout():
    key = jax.random.key(3)
    mel = jax.random.normal(jax.random.key(4), (6, 100, 16))
    whole = spec_augment(key, mel)
    keys = row_keys(key, 6)
    np.testing.assert_array_equal(spec_augment(keys, mel), whole)
    np.testing.assert_array_equal(spec_augment(keys[3:], mel[3:]), whole[3:])
    with pytest.raises(ValueError, match="6 keys"):
        spec_augment(keys[:2], mel)


@pytest.mark.parametrize("alpha", [0.4, None])
def test_mixup_takes_a_random_partner_that_is_never_the_clip_itself(alpha):
    waveform = jax.random.uniform(jax.random.key(0), (64, 10), minval=-1, maxval=1)
    mixed, partner, weight = mixup(jax.random.key(1), waveform, alpha=alpha)
    assert mixed.shape == (64, 10)
    assert (np.asarray(partner) != np.arange(64)).all()
    assert len(set(np.asarray(partner).tolist())) > 20
    assert 0.5 <= weight.min() < 0.7 < weight.max() <= 1.0


def test_plain_mixup_is_the_weighted_sum():
    waveform = jax.random.normal(jax.random.key(0), (5, 7))
    mixed, partner, weight = mixup(jax.random.key(1), waveform, alpha=None, energy_aware=False)
    w = np.asarray(weight)[:, None]
    np.testing.assert_allclose(mixed, w * waveform + (1 - w) * np.asarray(waveform)[partner], rtol=1e-6)


def test_energy_aware_mixup_follows_its_formula():
    waveform = jnp.asarray(np.random.default_rng(0).standard_normal((4, 1000)) * np.array([[1.0], [0.1], [0.5], [0.01]]), jnp.float32)
    mixed, partner, weight = (np.asarray(x, np.float64) for x in mixup(jax.random.key(1), waveform, alpha=None))
    x1 = np.asarray(waveform, np.float64)
    x2 = x1[partner.astype(int)]
    g1, g2 = (20 * np.log10(np.sqrt(np.mean(x**2, axis=1))) for x in (x1, x2))
    p = (1 / (1 + 10 ** ((g1 - g2) / 20) * (1 - weight) / weight))[:, None]
    np.testing.assert_allclose(mixed, (p * x1 + (1 - p) * x2) / np.sqrt(p**2 + (1 - p) ** 2), rtol=1e-4, atol=1e-6)


def test_mixup_of_silence_and_of_one_clip():
    assert np.isfinite(mixup(jax.random.key(0), jnp.zeros((3, 8), jnp.float32), alpha=None).waveform).all()
    one = jnp.ones((1, 8), jnp.float32)
    mixed = mixup(jax.random.key(0), one)
    np.testing.assert_array_equal(mixed.waveform, one)
    assert mixed.weight == 1.0


def test_random_gain_stays_in_range_and_differs_between_rows():
    waveform = jnp.full((100, 4), 0.25, jnp.float32)
    gain = np.asarray(random_gain(jax.random.key(0), waveform, low_db=-6, high_db=6))[:, 0] / 0.25
    assert 0.5 <= gain.min() < 0.6
    assert 1.8 < gain.max() <= 2.0
    np.testing.assert_array_equal(random_gain(jax.random.key(0), 8 * waveform, low_db=6, high_db=7), 1.0)


def test_random_shift_rolls():
    waveform = jnp.tile(jnp.arange(20, dtype=jnp.float32)[None], (200, 1))
    first = np.asarray(random_shift(jax.random.key(0), waveform, max_samples=3))[:, 0]
    assert set(first) == {17.0, 18.0, 19.0, 0.0, 1.0, 2.0, 3.0}
