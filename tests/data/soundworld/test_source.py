"""The in-memory source and the renderer: determinism, level, domains, golden figures."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

from audiojax.data.soundworld import classes
from audiojax.data.soundworld.source import SceneSource
from audiojax.errors import UsageError


def centroid(audio: np.ndarray) -> float:
    power = np.abs(np.fft.rfft(audio.astype(float))) ** 2
    return float((np.fft.rfftfreq(len(audio), 1 / 16_000) * power).sum() / power.sum())


def test_record_schema():
    record = SceneSource("train")[5]
    assert set(record) == {"audio", "sample_rate", "id", "captions", "scene"}
    assert record["audio"].dtype == np.int16
    assert record["audio"].shape == (61_440,)
    assert record["id"] == "studio-train-000005"
    assert len(record["captions"]) == 5
    truth = json.loads(record["scene"])
    assert {"name", "onset", "offset", "attributes", "count"} <= set(truth["events"][0])


def test_same_audio_in_any_order_and_process():
    source = SceneSource("test", "mini", "field")
    first = {index: source[index]["audio"] for index in (9, 2, 41)}
    copy = pickle.loads(pickle.dumps(source))
    for index in (41, 9, 2):
        assert np.array_equal(first[index], copy[index]["audio"])
    assert repr(copy) == repr(source)


@pytest.mark.parametrize("domain", ["studio", "field"])
def test_peaks_are_safe_and_level_says_nothing(domain):
    source = SceneSource("pretrain", "mini", domain)
    peaks = np.array([np.abs(source[index]["audio"].astype(int)).max() for index in range(24)]) / 32767
    assert peaks.max() <= 10 ** (-1 / 20) + 1e-3
    assert peaks.min() >= 10 ** (-10 / 20) - 1e-3
    assert peaks.std() > 0.05


def test_domains_share_specs_and_differ_in_sound_and_words():
    studio, field = (SceneSource("test", "mini", domain) for domain in ("studio", "field"))
    floors = []
    for index in range(8):
        a, b = studio[index], field[index]
        assert a["scene"] == b["scene"]
        assert a["captions"] != b["captions"]
        blocks = [np.sort((r["audio"].reshape(-1, 480) / np.abs(r["audio"]).max()).std(1)) for r in (a, b)]
        floors.append([block[:3].mean() for block in blocks])
    assert np.median([f[1] for f in floors]) > 2 * np.median([f[0] for f in floors])  # field is noisier


GOLDEN = {  # (domain, index of base test): rms / 32768, spectral centroid in Hz
    ("studio", 0): (0.17813, 356.3),
    ("studio", 1): (0.05858, 560.8),
    ("field", 0): (0.08943, 528.4),
    ("field", 2): (0.04415, 816.1),
}


@pytest.mark.parametrize(("domain", "index"), GOLDEN)
def test_golden_figures(domain, index):
    """Literals rather than hashes: numpy may change its last bits or its distributions' rounding, not the sound."""
    audio = SceneSource("test", "base", domain)[index]["audio"]
    rms, middle = GOLDEN[domain, index]
    assert audio.astype(float).std() / 32768 == pytest.approx(rms, rel=0.02)
    assert centroid(audio) == pytest.approx(middle, rel=0.02)


def test_datastore_is_train_and_unseen():
    store, train, unseen = (SceneSource(split, "mini") for split in ("datastore", "train", "unseen"))
    assert len(store) == len(train) + len(unseen)
    assert store[0]["id"] == "studio-train-000000"
    assert store[len(train) + 3]["id"] == "studio-unseen-000003"
    assert store.scene(len(train) + 3) == unseen.scene(3)


def test_higher_rates_and_longer_clips_sound_alike():
    low, high = (SceneSource("train", "mini", sample_rate=rate)[4]["audio"] for rate in (16_000, 48_000))
    assert len(high) == 3 * len(low)
    assert len(SceneSource("train", "mini", seconds=5.12)[0]["audio"]) == 81_920


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"split": "tset"}, "tset"),
        ({"domain": "stadium"}, "stadium"),
        ({"size": "maxi"}, "maxi"),
        ({"seconds": 1.0}, "3.84"),
        ({"sample_rate": 10}, "8000"),
    ],
)
def test_misuse_is_named(arguments, word):
    with pytest.raises(UsageError, match=word):
        SceneSource(**({"split": "train"} | arguments))


def test_index_errors_end_iteration():
    source = SceneSource("unseen", "mini")
    with pytest.raises(IndexError):
        source[len(source)]
    assert len([source.scene(i) for i in range(len(source))]) == len(source)


def test_no_jax_no_tensorflow_needed():
    code = (
        "import sys, audiojax.data.soundworld.source as s; s.SceneSource('val')[0];"
        "print(sorted({'jax', 'tensorflow', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_classes_can_be_told_apart_by_a_nearest_mean():
    """Mean log spectrum and its modulation separate held-out single-event clips far above chance (1 in 52)."""
    source = SceneSource("pretrain", "base")
    picked: dict[str, list[int]] = {}
    for index in range(2200):
        scene = source.scene(index)
        if len(scene.events) == 1:
            picked.setdefault(scene.events[0].name, []).append(index)

    def features(index: int) -> np.ndarray:
        audio = source[index]["audio"].astype(float)
        frames = np.lib.stride_tricks.sliding_window_view(audio, 512)[::160] * np.hanning(512)
        power = np.abs(np.fft.rfft(frames)) ** 2
        bands = np.stack([b.mean(1) for b in np.array_split(power[:, 2:], 32, axis=1)], 1)
        level = np.log(bands + 1e-4 * bands.max())
        loud = level[level.max(1) > np.log(0.02 * bands.max())]
        return np.concatenate([loud.mean(0), loud.std(0), np.abs(np.diff(level, axis=0)).mean(0)])

    names = [name for name in classes.names() if len(picked.get(name, ())) >= 6]
    assert len(names) > 45
    table = np.array([[features(i) for i in picked[name][:6]] for name in names])  # [class, clip, feature]
    table = (table - table.mean((0, 1))) / table.std((0, 1))
    means, tests = table[:, :4].mean(1), table[:, 4:].reshape(-1, table.shape[-1])
    guess = ((tests[:, None] - means[None]) ** 2).sum(-1).argmin(1)
    assert (guess == np.repeat(np.arange(len(names)), 2)).mean() > 0.5
