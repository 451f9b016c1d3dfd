"""The modality gap on clouds whose gap is known."""

import numpy as np
import pytest

from audiojax.errors import AudiojaxError
from audiojax.metrics.gap import along_the_gap, clip_scores, gap_scores, plane, separability


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def text():
    return unit(np.random.default_rng(0).normal(size=(40, 3, 16)))


def test_no_gap_between_a_cloud_and_itself(text):
    own = np.repeat(text[:, :1], 3, axis=1)
    found = gap_scores(own[:, 0], own)
    assert found["paired_cosine"] == pytest.approx(1)
    assert found["pair_distance"] == pytest.approx(0, abs=1e-6)
    assert found["centroid_distance"] == pytest.approx(0, abs=1e-7)
    assert found["R@1"] == 1


def test_every_number_by_hand(text):
    audio = unit(text[:, 0] + 0.5)
    found, each = gap_scores(audio, text), clip_scores(audio, text)
    cosine = np.einsum("id,jkd->ijk", audio, text)
    same = np.eye(40, dtype=bool)
    assert found["paired_cosine"] == pytest.approx(cosine[same].mean())
    assert found["unpaired_cosine"] == pytest.approx(cosine[~same].mean())
    assert found["pair_distance"] == pytest.approx(np.linalg.norm(audio[:, None] - text, axis=2).mean())
    assert found["centroid_distance"] == pytest.approx(np.linalg.norm(audio.mean(0) - text.mean((0, 1))))
    flat, own = cosine.reshape(40, -1), np.repeat(np.arange(40), 3)
    hits = [own[np.argmax(row)] == i for i, row in enumerate(flat)]
    assert found["R@1"] == pytest.approx(np.mean(hits))
    for name, values in each.items():
        assert values.mean() == pytest.approx(found[name])


def test_a_plane_tells_two_clouds_apart_and_not_one():
    rng = np.random.default_rng(1)
    audio, text = rng.normal(size=(2, 200, 8))
    assert abs(separability(audio, text) - 0.5) < 0.1
    assert separability(audio + 3, text) > 0.98


def test_the_plane_is_that_of_the_first_two_clouds():
    rng = np.random.default_rng(2)
    flat = np.zeros((2, 30, 5))
    flat[..., :2] = rng.normal(size=(2, 30, 2))
    first, second, third = plane(*flat, flat[0] + np.array([0, 0, 0, 0, 9]))
    np.testing.assert_allclose(third, first, atol=1e-9)  # what is off the plane is not seen
    assert np.linalg.norm(first[0] - second[0]) == pytest.approx(np.linalg.norm(flat[0, 0] - flat[1, 0]))


def test_what_cannot_be_measured_is_said(text):
    with pytest.raises(AudiojaxError, match="n from 2 on"):
        gap_scores(text[:1, 0], text[:1])
    with pytest.raises(AudiojaxError, match=r"clips \(40, 15\)"):
        gap_scores(text[:, 0, :15], text)
    with pytest.raises(AudiojaxError, match="not finite"):
        gap_scores(np.full((40, 16), np.nan), text)
    with pytest.raises(AudiojaxError, match="5 or more"):
        separability(text[:4, 0], text[:4, 1])


def test_along_the_gap_two_clouds_part_that_principal_components_mix():
    """The gap is small beside what both spread along, and the line between their means shows it."""
    rng = np.random.default_rng(3)
    spread = np.array([9.0, 5.0, 0.1, 0.1, 0.1])
    sounds, texts = rng.normal(size=(2, 400, 5)) * spread
    sounds, texts = sounds - sounds.mean(axis=0), texts - texts.mean(axis=0) + np.array([0, 0, 1, 0, 0])
    first, second, moved = along_the_gap(sounds, texts, sounds + np.array([0, 0, 1, 0, 0]))
    assert first[:, 0].max() < second[:, 0].min()
    mixed = plane(sounds, texts)
    assert mixed[0][:, 0].max() > mixed[1][:, 0].min()
    np.testing.assert_allclose(moved - first, np.tile([1.0, 0.0], (400, 1)), atol=1e-9)
    assert np.corrcoef(first[:, 1], sounds[:, 0])[0, 1] ** 2 > 0.99  # what both spread most along


def test_along_no_gap_are_the_principal_components():
    cloud = np.random.default_rng(4).normal(size=(50, 4))
    for found, expected in zip(along_the_gap(cloud, cloud), plane(cloud, cloud), strict=True):
        np.testing.assert_array_equal(found, expected)
