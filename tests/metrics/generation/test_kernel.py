"""KID against its sums written out, and its being unbiased."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiojax.errors import AudiojaxError
from audiojax.metrics.generation import kernel
from audiojax.metrics.generation.kernel import kernel_distance, kernel_interval


def by_hand(a, b, paired=False):
    def product(x, y):
        return (x.dot(y) / len(x) + 1) ** 3

    n, m = len(a), len(b)
    own_a = np.mean([product(a[i], a[j]) for i in range(n) for j in range(n) if i != j])
    own_b = np.mean([product(b[i], b[j]) for i in range(m) for j in range(m) if i != j])
    return own_a + own_b - 2 * np.mean([product(a[i], b[j]) for i in range(n) for j in range(m) if i != j or not paired])


@settings(max_examples=20)
@given(st.integers(2, 8), st.integers(2, 8), st.integers(1, 5), st.integers(0, 2**20))
def test_the_sums_written_out(rows, others, width, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(rows, width)), rng.normal(size=(others, width))
    found = kernel_distance(a, b)
    assert found == pytest.approx(by_hand(a, b), abs=1e-9)
    assert kernel_distance(b, a) == pytest.approx(found, abs=1e-9)
    assert kernel_distance(rng.permutation(a), b) == pytest.approx(found, abs=1e-9)
    few = min(rows, others)
    assert kernel_distance(a[:few], b[:few], paired=True) == pytest.approx(by_hand(a[:few], b[:few], paired=True), abs=1e-9)
    assert kernel_distance(a, a, paired=True) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("paired", [False, True])
def test_blocks_of_rows_do_not_matter(monkeypatch, paired):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(40, 5)), 0.3 + rng.normal(size=(40, 5))
    whole = kernel_distance(a, b, paired=paired), kernel_interval(a, b, paired=paired, draws=50)
    monkeypatch.setattr(kernel, "BLOCK", 7 * 40)
    assert kernel_distance(a, b, paired=paired) == pytest.approx(whole[0], abs=1e-12)
    again = kernel_interval(a, b, paired=paired, draws=50)
    assert (again.estimate, again.low, again.high) == pytest.approx((whole[1].estimate, whole[1].low, whole[1].high), abs=1e-12)


def paired_rows(rng):
    """Rows that are alike because they belong to one prompt."""
    prompt = rng.normal(size=(12, 6))
    return prompt + rng.normal(size=(12, 6)), prompt + rng.normal(size=(12, 6))


@pytest.mark.parametrize("paired", [False, True])
def test_it_is_unbiased_and_the_interval_holds_the_truth(paired):
    """Sets of one distribution: the mean of many small estimates is 0, and 95 % intervals mostly hold 0."""
    rng = np.random.default_rng(1)
    estimates, held = [], 0
    for seed in range(100):
        a, b = (rng.normal(size=(12, 6)), rng.normal(size=(15, 6))) if not paired else paired_rows(rng)
        found = kernel_interval(a, b, paired=paired, draws=200, seed=seed)
        estimates.append(found.estimate)
        held += found.low <= 0 <= found.high
    assert abs(np.mean(estimates)) < 3 * np.std(estimates) / 10
    assert held >= 85
    far = kernel_interval(a, b + 2, paired=paired)
    assert far.low > 0
    assert far.estimate == kernel_distance(a, b + 2, paired=paired)


def test_what_cannot_be_compared():
    with pytest.raises(AudiojaxError, match="two or more rows"):
        kernel_distance(np.zeros((1, 2)), np.zeros((3, 2)))
    with pytest.raises(AudiojaxError, match="4 and 3 rows are no pairs"):
        kernel_distance(np.zeros((4, 2)), np.zeros((3, 2)), paired=True)
    with pytest.raises(AudiojaxError, match="one width"):
        kernel_distance(np.zeros((3, 2)), np.zeros((3, 3)))
    with pytest.raises(AudiojaxError, match="not finite"):
        kernel_distance(np.full((3, 2), np.inf), np.zeros((3, 2)))
