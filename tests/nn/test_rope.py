"""Rotary positions: the formula, what they are for, and the scaled frequencies."""

import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.nn.rope import RopeScaling, rope_frequencies, rope_table, rotate


def test_pairs_turn_as_complex_numbers():
    x = np.random.RandomState(0).standard_normal((2, 5, 3, 8)).astype(np.float32)
    positions = np.array([[0, 1, 2, 3, 4], [7, 7, 9, 20, 1000]])
    turned = rotate(jnp.asarray(x), rope_table(jnp.asarray(positions), rope_frequencies(8, 100.0)))
    angles = positions[:, :, None, None] * 100.0 ** (-np.arange(4) / 4)[None, None, None]
    expected = (x[..., :4] + 1j * x[..., 4:]) * np.exp(1j * angles)
    np.testing.assert_allclose(turned, np.concatenate([expected.real, expected.imag], axis=-1), atol=2e-4)


def test_products_depend_on_the_distance_alone():
    q, k = (np.random.RandomState(i).standard_normal((1, 1, 1, 16)).astype(np.float32) for i in (1, 2))
    frequencies = rope_frequencies(16, 10_000.0)

    def product(a, b):
        q_a, k_b = (rotate(jnp.asarray(x), rope_table(jnp.array([[p]]), frequencies)) for x, p in ((q, a), (k, b)))
        return float(jnp.sum(q_a * k_b))

    assert product(3, 10) == pytest.approx(product(103, 110), abs=1e-4)
    assert product(3, 10) != pytest.approx(product(3, 11), abs=1e-2)


def test_scaled_frequencies():
    plain = rope_frequencies(8, 10_000.0)
    np.testing.assert_allclose(plain, [1, 0.1, 0.01, 0.001], rtol=1e-6)
    np.testing.assert_allclose(rope_frequencies(8, 10_000.0, RopeScaling("linear", 4.0)), plain / 4, rtol=1e-6)
    turns = 400 * plain / (2 * np.pi)  # 64, 6.4, 0.64, 0.064
    scaled = rope_frequencies(8, 10_000.0, RopeScaling("llama3", 8.0, 0.5, 10.5, 400))
    share = (turns[1:3] - 0.5) / 10
    mixed = share * plain[1:3] + (1 - share) * plain[1:3] / 8
    np.testing.assert_allclose(scaled, [plain[0], *mixed, plain[3] / 8], rtol=1e-6)


def test_an_odd_width_is_refused():
    with pytest.raises(ValueError, match="width 7 is odd"):
        rope_frequencies(7, 10_000.0)
