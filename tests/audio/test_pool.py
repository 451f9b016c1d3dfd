"""Child processes: order, crashes, hangs, and streams of windows."""

import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from audiojax.audio import worker
from audiojax.audio.io import Clip, DecodeOptions
from audiojax.audio.pool import Window, decode_files, run_isolated, window_files
from audiojax.audio.reasons import BadAudio, Reason, ReasonCounter
from tests.audio.decoder_hooks import loaded_modules, misbehaving


@pytest.fixture
def sounds(tmp_path):
    """Writes named files that differ in their constant value."""

    def write(*names):
        for number, name in enumerate(names):
            soundfile.write(tmp_path / name, np.full(1600, (number + 1) / 100), 16_000)
        return [str(tmp_path / name) for name in names]

    return write


def test_a_file_that_kills_or_hangs_its_decoder_costs_only_itself(sounds):
    names = ["0.wav", "1abort.wav", "2.wav", "3hang.wav", "4segfault.wav", "5exit.wav", "6memory.wav", "7bug.wav", "8.wav"]
    paths = sounds(*names)
    results = list(decode_files(paths, workers=2, timeout=2.0, decoder=misbehaving))
    assert [path for path, _ in results] == paths
    outcome = [result.reason if isinstance(result, BadAudio) else round(float(result.samples[0]) * 100) for _, result in results]
    crashed = Reason.CRASHED_DECODER
    assert outcome == [1, crashed, 3, Reason.TIMEOUT, crashed, crashed, Reason.OUT_OF_MEMORY, Reason.UNDECODABLE, 9]
    details = {os.path.basename(path): result.detail for path, result in results if isinstance(result, BadAudio)}
    assert details["1abort.wav"] == "signal 6"
    assert details["5exit.wav"] == "exit code 3"
    assert "KeyError" in details["7bug.wav"]


def test_results_are_those_of_decoding_here_with_any_number_of_workers(sounds, tmp_path):
    paths = [*sounds(*(f"{i}.wav" for i in range(5))), str(tmp_path / "no.wav")]
    one = list(decode_files(paths, DecodeOptions(sample_rate=8000), workers=1))
    three = list(decode_files(iter(paths), DecodeOptions(sample_rate=8000), workers=3))
    counter = ReasonCounter()
    for (path, a), (_, b) in zip(one, three, strict=True):
        counter.add(a)
        if path.endswith("no.wav"):
            assert a == b == BadAudio(path, Reason.MISSING, "no such file")
        else:
            np.testing.assert_array_equal(a.samples, b.samples)
            assert (a.sample_rate, a.file_rate) == (8000, 16_000)
    assert counter.summary() == "5 files used, 1 left out: missing 1"
    assert list(decode_files([])) == []


def test_paths_are_read_lazily_and_children_end_with_the_iterator(sounds):
    paths = sounds(*(f"{i}.wav" for i in range(6)))
    taken = []
    results = run_isolated(loaded_modules, (taken.append(path) or path for path in paths), workers=2)
    path, kind, (modules, pid) = next(results)
    assert (path, kind) == (paths[0], worker.PAYLOAD)
    assert len(taken) == 2
    assert "jax" not in modules
    assert "soundfile" in modules
    results.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_script_without_a_main_guard_can_decode(sounds, tmp_path):
    (path,) = sounds("a.wav")
    script = tmp_path / "script.py"
    script.write_text(
        f"from audiojax.audio.pool import decode_files\nfor _, clip in decode_files([{path!r}]):\n    print(len(clip.samples))\n"
    )
    assert subprocess.run([sys.executable, script], check=True, capture_output=True, text=True).stdout == "1600\n"


def test_windows_of_long_short_and_bad_files(tmp_path):
    ramp = np.arange(25_000) / 25_000
    soundfile.write(tmp_path / "long.wav", ramp, 1000, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", ramp[10:1010], 1000, subtype="FLOAT")
    (tmp_path / "bad.wav").write_bytes(b"RIFFxxxxWAVE")
    paths = [str(tmp_path / name) for name in ("long.wav", "bad.wav", "short.wav")]
    events = list(window_files(paths, DecodeOptions(sample_rate=1000), seconds=10.0, hop_seconds=10.0, workers=2))
    assert [(path, type(value).__name__) for path, value in events] == [
        *[(paths[0], "Window")] * 3,
        (paths[0], "NoneType"),
        (paths[1], "BadAudio"),
        (paths[2], "Window"),
        (paths[2], "NoneType"),
    ]
    windows = [value for _, value in events if isinstance(value, Window)]
    assert [window.start for window in windows] == [0.0, 10.0, 15.0, 0.0]
    np.testing.assert_allclose(windows[2].samples, ramp[15_000:], atol=1e-7)
    np.testing.assert_allclose(windows[3].samples, np.tile(ramp[10:1010], 10), atol=1e-7)


def test_window_settings_are_checked():
    with pytest.raises(ValueError, match="sample rate"):
        next(window_files([], DecodeOptions(), seconds=1.0))
    with pytest.raises(ValueError, match="hop_seconds"):
        next(window_files([], DecodeOptions(sample_rate=8000), seconds=1.0, hop_seconds=2.0))


def test_a_clip_knows_its_length():
    assert Clip(np.zeros(8000, np.float32), 16_000, 44_100, 2, True).seconds == 0.5
