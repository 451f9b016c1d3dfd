"""FENSE of vectors and probabilities that are known."""

import numpy as np
import pytest

from audiojax.metrics.captions import fense


def test_the_mean_cosine_and_a_tenth_of_it_for_an_error():
    similar = fense.similarity(np.array([1.0, 0.0]), np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]))
    assert similar == pytest.approx(1.6 / 3)
    errors = fense.has_error(np.array([0.9, 0.91, 0.2]))
    assert errors.tolist() == [False, True, False]
    np.testing.assert_allclose(fense.penalised(np.full(3, similar), errors), [similar, similar / 10, similar])


def test_what_the_detector_reads():
    assert fense.without_punctuation("A dog barks, twice; it's Loud!") == "a dog barks twice its loud"
    assert fense.without_punctuation("...") == ""
