"""Sounds as vectors: in order, each its own, a long one the mean of its windows, whatever the batches are."""

import numpy as np
import pytest

from audiojax.api.finding import sound_vectors as module
from audiojax.api.finding.search import Searcher
from audiojax.api.finding.sound_vectors import sound_vectors, unit
from audiojax.errors import UsageError

RATE, WINDOW = 1000, 100


class Levels(Searcher):
    """The first sample of a window says which direction it has."""

    model_id = "levels"

    def __init__(self):
        super().__init__(RATE, WINDOW, "zero", devices=2)
        self.calls = 0

    def embed_text(self, texts):
        pytest.fail("sounds alone are embedded")

    def embed_audio(self, waveforms):
        self.calls += 1
        assert waveforms.shape == (4, WINDOW)
        return np.stack([np.cos(waveforms[:, 0]), np.sin(waveforms[:, 0])], axis=1)


def direction(angle):
    return np.array([np.cos(angle), np.sin(angle)])


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(module, "EMBED_BATCH", 3)  # 4 over two devices


def test_every_sound_has_its_vector_in_order():
    angles = np.linspace(0, 1, 11)
    sounds = [np.full(WINDOW if i % 3 else 3 * WINDOW, angle, np.float32) for i, angle in enumerate(angles)]
    finder = Levels()
    found = list(sound_vectors(finder, ((sound, RATE) for sound in sounds)))
    np.testing.assert_allclose(found, [direction(angle) for angle in angles], atol=1e-6)
    assert finder.calls == -(-sum(len(sound) for sound in sounds) // WINDOW // 4)


def test_a_long_sound_is_the_mean_of_its_windows():
    levels = (0.1, 0.9, 0.4)
    sound = np.repeat(np.float32(levels), WINDOW)
    (found,) = sound_vectors(Levels(), [(sound, RATE)])
    np.testing.assert_allclose(found, unit(np.sum([direction(level) for level in levels], axis=0)), atol=1e-6)


def test_sounds_are_read_as_they_are_needed():
    read = []

    def sounds():
        for i in range(100):
            read.append(i)
            yield np.full(WINDOW, 0.5, np.float32), RATE

    vectors = sound_vectors(Levels(), sounds())
    next(vectors)
    assert len(read) <= 4
    assert list(sound_vectors(Levels(), [])) == []
    with pytest.raises(UsageError, match="not finite"):
        list(sound_vectors(Levels(), [(np.array([np.nan], np.float32), RATE)]))
