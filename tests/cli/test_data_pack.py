"""`audiojax data pack`: from a folder with a list to a folder that `audiojax train` takes."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

RATE = 16_000
TRAINING = ("data.source=tfds", "data.captions=2", "train.eval_batch_size=4", "model.joint_width=16", "diffusion.steps=3")
TRAINING += ("phases=hybrid", "hybrid.batch_size=8", "hybrid.steps=2")


@pytest.fixture
def sounds(tmp_path):
    """A folder of twelve noises with a list of two captions each, one of which is damaged."""
    folder = tmp_path / "noises"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for i in range(12):
        split = "train" if i < 8 else "val"
        soundfile.write(folder / f"{i}.wav", rng.standard_normal(RATE) * 0.1, RATE)
        rows += [{"file_name": f"{i}.wav", "caption": f"noise {word} number {i}", "split": split} for word in ("with", "of")]
    (folder / "3.wav").write_bytes(b"RIFF not a sound")
    with (folder / "captions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


def packed(audiojax, sounds, *words):
    return audiojax("data", "pack", str(sounds), "--out", str(sounds.parent / "out"), "--sample-rate", str(RATE), "--quiet", *words)


def test_what_was_packed_and_left_out_is_shown(audiojax, sounds):
    code, out, err = packed(audiojax, sounds, "--workers", "1")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    folder = Path(lines[-1])
    assert folder.is_relative_to(sounds.parent / "out" / "noises")
    assert ["train", "8", "7"] in [line.split() for line in lines]
    assert ["val", "4", "4"] in [line.split() for line in lines]
    assert "3.wav" in out
    assert packed(audiojax, sounds) == (0, out, "")


@pytest.mark.slow
def test_a_packed_set_trains(audiojax, sounds, tmp_path):
    folder = packed(audiojax, sounds)[1].splitlines()[-1]
    words = ["train", "--config", "diffatr/soundworld:debug", "--workdir", str(tmp_path / "run"), "--quiet", f"--config.data.dir={folder}"]
    code, _, err = audiojax(*words, *(f"--config.{override}" for override in TRAINING))
    assert (code, err) == (0, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--beam-options", "--runner=DirectRunner"], "--beam-options without --beam"),
        (["--beam", "--workers", "2"], "--workers is for packing here"),
        (["--sample-rate", "0"], "must be a whole number from 1000"),
        (["--max-seconds", "-1"], "must be seconds"),
        (["--beem", "--beam-options", "--runner=DirectRunner"], "there is no flag --beem; did you mean '--beam'?"),
    ],
)
def test_misuse_is_named(audiojax, sounds, words, message):
    code, out, err = packed(audiojax, sounds, *words)
    assert (code, out) == (2, "")
    assert message in err
