"""KL and Inception score against the public evaluator's maths, written out plainly, and against closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiojax.errors import AudiojaxError
from audiojax.metrics.generation.logits import divergences, inception_score, mismatched_divergences


def draws(seed, *shape):
    return np.random.default_rng(seed).normal(scale=3, size=shape)


def softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(("activation", "function"), [("softmax", softmax), ("sigmoid", sigmoid)])
def test_divergence_as_the_public_evaluator_writes_it(activation, function):
    generated, reference = draws(0, 7, 11), draws(1, 7, 11)
    p, q = function(reference), function(generated)
    expected = (p * (np.log(p) - np.log(q + 1e-6))).sum() / 7  # torch's kl_div(log input, target), summed
    found = divergences(generated, reference, activation)
    assert found.mean() == pytest.approx(expected, rel=1e-12)
    others = [np.mean([(p[i] * (np.log(p[i]) - np.log(q[j] + 1e-6))).sum() for j in range(7) if j != i]) for i in range(7)]
    np.testing.assert_allclose(mismatched_divergences(generated, reference, activation), others, rtol=1e-10)


@pytest.mark.parity
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_divergence_of_torch(activation):
    import torch

    generated, reference = (torch.from_numpy(draws(seed, 5, 527)) for seed in (2, 3))
    function = {"softmax": lambda x: x.softmax(dim=1), "sigmoid": torch.sigmoid}[activation]
    expected = torch.nn.functional.kl_div((function(generated) + 1e-6).log(), function(reference), reduction="sum") / 5
    assert divergences(generated.numpy(), reference.numpy(), activation).mean() == pytest.approx(float(expected), rel=1e-9)


def test_certain_logits_stay_finite():
    sure = np.array([[900.0, -900.0], [-900.0, 900.0]])
    np.testing.assert_allclose(divergences(sure, sure), -1e-6, rtol=1e-3)
    np.testing.assert_allclose(divergences(sure, sure[::-1]), -np.log(1e-6))
    assert np.isfinite(divergences(sure, sure[::-1], "sigmoid")).all()
    assert inception_score(sure, splits=1) == pytest.approx((2, 0))


@settings(max_examples=30)
@given(st.integers(2, 9), st.integers(2, 6), st.integers(0, 2**20))
def test_invariances_of_the_divergence(rows, classes, seed):
    generated, reference = draws(seed, rows, classes), draws(seed + 1, rows, classes)
    found, order = divergences(generated, reference), np.random.default_rng(seed).permutation(rows)
    np.testing.assert_allclose(divergences(generated[order], reference[order]), found[order])
    np.testing.assert_allclose(divergences(generated + 5, reference - 2), found, atol=1e-9)  # logits have no zero
    assert (found > -1e-6 * classes).all()
    np.testing.assert_allclose(divergences(reference, reference), 0, atol=1e-6 * classes)


def test_inception_score_as_the_public_evaluator_writes_it():
    logits = draws(4, 43, 9)
    p, scores = softmax(logits[np.random.RandomState(2020).permutation(43)]), []
    for i in range(10):
        part = p[i * 43 // 10 : (i + 1) * 43 // 10]
        scores.append(np.exp((part * np.log(part / part.mean(axis=0, keepdims=True))).sum(axis=1).mean()))
    assert inception_score(logits) == pytest.approx((np.mean(scores), np.std(scores)), rel=1e-10)


@settings(max_examples=30)
@given(st.integers(1, 12), st.integers(2, 6), st.integers(0, 2**20))
def test_limits_of_the_inception_score(rows, classes, seed):
    logits = draws(seed, rows, classes)
    mean, _ = inception_score(logits, splits=1)
    assert 1 - 1e-9 <= mean <= min(rows, classes) + 1e-9
    order = np.random.default_rng(seed).permutation(rows)
    assert inception_score(logits[order], splits=1, seed=None)[0] == pytest.approx(mean)
    assert inception_score(np.repeat(logits[:1], 20, axis=0)) == pytest.approx((1, 0), abs=1e-9)
    assert inception_score(1e3 * np.eye(classes), splits=1)[0] == pytest.approx(classes)


def test_what_cannot_be_scored():
    with pytest.raises(AudiojaxError, match="each generated clip needs its reference"):
        divergences(draws(0, 3, 4), draws(0, 2, 4))
    with pytest.raises(AudiojaxError, match="1 of 3 rows of logits are not finite"):
        divergences(draws(0, 3, 4), np.where(np.arange(3)[:, None] == 1, np.nan, draws(0, 3, 4)))
    with pytest.raises(AudiojaxError, match="9 clips cannot be split into 10 parts"):
        inception_score(draws(0, 9, 4))
    with pytest.raises(AudiojaxError, match="one clip has no others"):
        mismatched_divergences(draws(0, 1, 4), draws(0, 1, 4))
