"""Bootstrap intervals: closed forms of the normal case, coverage, pairing, clusters, seeds and refusals."""

import numpy as np
import pytest

from audiojax.errors import AudiojaxError
from audiojax.metrics.bootstrap import difference_interval, mean_interval, ratio_interval, statistic_interval


def test_mean_interval_has_the_width_of_the_normal_approximation():
    values = np.random.default_rng(0).normal(3, 2, 1_000)
    interval = mean_interval(values, draws=4_000)
    half = 1.96 * values.std() / np.sqrt(1_000)
    assert interval.estimate == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_coverage_is_near_its_level():
    rng = np.random.default_rng(1)
    inside = 0
    for trial in range(300):
        interval = mean_interval((rng.random(80) < 0.3).astype(float), draws=400, seed=trial, level=0.9)
        inside += interval.low <= 0.3 <= interval.high
    assert 0.84 <= inside / 300 <= 0.95


def test_pairing_removes_what_both_systems_share():
    rng = np.random.default_rng(2)
    difficulty = rng.normal(0, 5, 500)
    a, b = difficulty + 0.1 + rng.normal(0, 0.1, 500), difficulty + rng.normal(0, 0.1, 500)
    paired = difference_interval(a, b)
    assert paired.estimate == pytest.approx(np.mean(a - b))
    assert 0.05 < paired.low < paired.high < 0.15
    assert difference_interval(a, a).low == difference_interval(a, a).high == 0


def test_ratio():
    a, b = np.array([1.0, 0, 1, 1]), np.array([1.0, 0, 0, 1])
    interval = ratio_interval(a, b, draws=500)
    assert interval.estimate == pytest.approx(1.5)
    assert interval.low == 1
    assert interval.high == np.inf  # some draws hold no hit of the second system
    assert ratio_interval(2 * b + 2, b + 1).low == ratio_interval(2 * b + 2, b + 1).high == 2


def test_a_statistic_of_means():
    a, b = np.random.default_rng(6).uniform(1, 2, (2, 50))
    assert statistic_interval([a, b], lambda means: means[0] / means[1]) == ratio_interval(a, b)
    assert statistic_interval([a, b], lambda means: means[0] - means[1]) == difference_interval(a, b)
    seldom = np.zeros(4)
    seldom[0] = 1

    def share(means):
        return np.divide(means[0], means[1], out=np.full_like(means[0], np.nan), where=means[1] > 0)

    found = statistic_interval([seldom, seldom], share)  # a third of the draws leave the one query out
    assert (found.estimate, found.low, found.high) == (1, 1, 1)
    with pytest.raises(AudiojaxError, match="undefined"):
        statistic_interval([np.zeros(4), np.zeros(4)], share)


def test_clusters_widen_the_interval_of_repeated_queries():
    per_clip = np.random.default_rng(3).normal(size=100)
    values, clip = np.repeat(per_clip, 5), np.repeat(np.arange(100), 5)
    single, clustered = mean_interval(values), mean_interval(values, clip)
    ratio = (clustered.high - clustered.low) / (single.high - single.low)
    assert ratio == pytest.approx(np.sqrt(5), rel=0.15)
    assert (clustered.low, clustered.high) == pytest.approx((mean_interval(per_clip).low, mean_interval(per_clip).high))


def test_clusters_of_unequal_size_keep_the_mean_over_queries():
    values, clip = np.array([0.0, 0, 0, 1]), np.array([7, 7, 7, 2])
    interval = mean_interval(values, clip)
    assert interval.estimate == 0.25
    assert (interval.low, interval.high) == (0, 1)


def test_seeds_are_averaged_first():
    runs = np.random.default_rng(4).normal(size=(3, 200))
    averaged, stacked = mean_interval(runs.mean(axis=0)), mean_interval(runs)
    assert stacked == averaged
    assert difference_interval(runs, runs[0]).estimate == pytest.approx(runs.mean() - runs[0].mean())


def test_same_seed_same_interval():
    values = np.random.default_rng(5).normal(size=50)
    assert mean_interval(values, draws=300, seed=1) == mean_interval(values, draws=300, seed=1)
    assert mean_interval(values, draws=300, seed=1) != mean_interval(values, draws=300, seed=2)


def test_refusals():
    with pytest.raises(AudiojaxError, match="equal length"):
        difference_interval(np.zeros(3), np.zeros(4))
    with pytest.raises(AudiojaxError, match="equal length"):
        mean_interval(np.zeros(0))
    with pytest.raises(AudiojaxError, match="1 of 3 queries"):
        mean_interval(np.array([1, np.nan, 2]))
    with pytest.raises(AudiojaxError, match="2 cluster labels for 3 queries"):
        mean_interval(np.zeros(3), np.array([1, 2]))
    with pytest.raises(AudiojaxError, match="undefined"):
        ratio_interval(np.ones(3), np.zeros(3))
