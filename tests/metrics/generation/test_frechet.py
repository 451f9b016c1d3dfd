"""The Frechet distance against the public formula with a root of a matrix, closed forms, and what must not change it."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from audiojax.errors import AudiojaxError
from audiojax.metrics.generation.frechet import Moments, frechet_distance, moments, split_half_distances


def distance(a, b):
    return frechet_distance(moments(a), moments(b))


def by_root(a, b):
    """As the public evaluators compute it."""
    mean_a, mean_b, cov_a, cov_b = a.mean(0), b.mean(0), np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(cov_a.dot(cov_b)).real
    return (mean_a - mean_b).dot(mean_a - mean_b) + np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(root)


def cloud(seed, rows, width, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, width)) @ rng.normal(size=(width, width)) + shift


@pytest.mark.parametrize(("rows", "others", "width"), [(60, 80, 5), (300, 200, 24), (1000, 40, 12)])
def test_the_public_formula(rows, others, width):
    a, b = cloud(0, rows, width), cloud(1, others, width, shift=0.5)
    assert distance(a, b) == pytest.approx(by_root(a, b), rel=1e-9)


def test_moments_are_those_of_numpy():
    rows = cloud(2, 50, 6, shift=3)
    found = moments(rows)
    np.testing.assert_allclose(found.mean, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.factor.T @ found.factor, np.cov(rows, rowvar=False), rtol=1e-10)
    assert (found.count, found.rank) == (50, 6)


def test_gaussians_with_known_distance():
    """Covariances that commute: the sum of (sigma_1 - sigma_2)^2, and the means."""
    corners = np.array([[1.0, 1.0], [1, -1], [-1, 1], [-1, -1]]) * np.sqrt(3 / 4)  # covariance 1
    assert distance(corners * [1, 2], corners * [3, 5] + [4, 0]) == pytest.approx(2**2 + 3**2 + 4**2)


def test_fewer_rows_than_features():
    """Lines across each other and along each other, where the product of the covariances is singular."""
    line, along = np.array([[-1.0], [1.0]]) / np.sqrt(2), np.zeros((1, 40))
    along[0, 0] = 1
    across = np.roll(along, 1)
    assert distance(line @ along, line @ across) == pytest.approx(2)
    assert distance(line @ along, 3 * line @ along) == pytest.approx(4)
    assert moments(line @ along).rank == 1
    few, many = cloud(3, 10, 40), cloud(4, 12, 40)
    assert moments(few).rank == 9
    own = np.linalg.eigvals(np.cov(few, rowvar=False) @ np.cov(many, rowvar=False))
    trace = np.sqrt(np.sort(own.real)[-9:]).sum()  # those that are not 0
    expected = np.sum((few.mean(0) - many.mean(0)) ** 2) + np.cov(few, rowvar=False).trace() + np.cov(many, rowvar=False).trace()
    assert distance(few, many) == pytest.approx(expected - 2 * trace, rel=1e-6)


@settings(max_examples=40)
@given(st.integers(2, 30), st.integers(2, 30), st.integers(1, 8), st.integers(0, 2**20), st.floats(-1e3, 1e3))
def test_invariances(rows, others, width, seed, shift):
    a, b = cloud(seed, rows, width), cloud(seed + 1, others, width, shift=1)
    found, scale = distance(a, b), np.square(a).sum() + np.square(b).sum()
    same = {"rel": 1e-9, "abs": 1e-11 * (scale + shift**2)}
    assert found >= 0
    assert distance(b, a) == pytest.approx(found, **same)
    assert distance(a + shift, b + shift) == pytest.approx(found, **same)
    assert distance(np.random.default_rng(seed).permutation(a), b) == pytest.approx(found, **same)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]
    assert distance(a @ turn, b @ turn) == pytest.approx(found, **same)
    assert distance(2 * a, 2 * b) == pytest.approx(4 * found, **same)
    assert distance(a, a) == pytest.approx(0, abs=1e-12 * scale)
    assert distance(a, a + shift) == pytest.approx(width * shift**2, **same)


def test_blocks_of_any_size_are_the_whole():
    rows = cloud(5, 997, 16, shift=100)
    parts = Moments(16)
    for block in np.split(rows, [1, 2, 70, 71, 400, 990]):
        parts.add(block)
    assert parts.count == 997
    assert frechet_distance(parts, moments(rows)) < 1e-9
    np.testing.assert_allclose(parts.mean, rows.mean(0), rtol=1e-12)
    assert len(parts._triangle) <= 17  # rows are not kept


def test_halves_compare_generated_sounds_with_real_ones_of_one_number():
    real = cloud(7, 60, 4)
    made, other = split_half_distances(real, real, paired=True, splits=4)
    np.testing.assert_allclose(made, other)  # real sounds in place of generated ones
    assert (made > 0).all()
    worse, again = split_half_distances(real + 10, real, paired=True, splits=4)
    np.testing.assert_allclose(again, other)
    assert (worse > made).all()
    few, _ = split_half_distances(real[:10], real, paired=False, splits=3)
    assert few.mean() > other.mean()  # ten clips are further from ten others than thirty from thirty
    with pytest.raises(AudiojaxError, match="no pairs"):
        split_half_distances(real[:9], real, paired=True)


def test_what_cannot_be_compared():
    rows = cloud(6, 5, 3)
    with pytest.raises(AudiojaxError, match="need 2 or more"):
        distance(rows[:1], rows)
    with pytest.raises(AudiojaxError, match="rows of 3"):
        moments(rows).add(rows[:, :2])
    with pytest.raises(AudiojaxError, match="3 and 2 numbers"):
        distance(rows, rows[:, :2])
    with pytest.raises(AudiojaxError, match="1 of 5 rows"):
        moments(np.where(np.arange(5)[:, None] == 2, np.nan, rows))
