"""Average precision by hand: classes that occur count equally, and chance is how common they are."""

import numpy as np
import pytest

from audiojax.errors import AudiojaxError
from audiojax.metrics.tagging import average_precisions, chance_precision, recognised

LABELS = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]], np.float32)


def test_average_precision_of_classes_that_occur():
    scores = np.array([[0.9, 0.9, 0.5], [0.8, 0.2, 0.5], [0.7, 0.6, 0.5], [0.1, 0.8, 0.5]])
    # class 0: hits at ranks 1 and 3; class 1: at ranks 3 and 4; class 2 never sounds
    np.testing.assert_allclose(average_precisions(scores, LABELS), [(1 + 2 / 3) / 2, (1 / 3 + 2 / 4) / 2])
    np.testing.assert_allclose(average_precisions(LABELS, LABELS), [1, 1])


def test_constant_scores_get_the_prevalence_which_is_chance():
    np.testing.assert_allclose(average_precisions(np.zeros_like(LABELS), LABELS), [0.5, 0.5])
    assert chance_precision(LABELS) == 0.5
    rng = np.random.default_rng(0)
    labels = (rng.uniform(size=(4_000, 3)) < np.array([[0.05, 0.2, 0.0]])).astype(np.float32)
    assert average_precisions(rng.uniform(size=labels.shape), labels).mean() == pytest.approx(chance_precision(labels), abs=0.02)


def test_nothing_to_score():
    with pytest.raises(AudiojaxError, match="none of 3 classes"):
        average_precisions(LABELS, np.zeros_like(LABELS))
    with pytest.raises(AudiojaxError, match="both are .clips, classes"):
        average_precisions(LABELS[:, :2], LABELS)


def test_as_many_classes_are_recognised_as_sound():
    scores = np.array([[0.9, 0.2, 0.1], [0.4, 0.5, 0.6], [0.3, 0.3, 0.3]])
    labels = np.array([[1, 0, 0], [1, 0, 1], [0, 0, 0]])
    assert recognised(scores, labels).tolist() == [[True, False, False], [False, False, True], [False, False, False]]
    assert recognised(labels, labels).sum() == labels.sum()
