"""metrics.csv survives kills, and a resumed run cuts what lies after its step."""

import numpy as np

from audiojax.trainer.log import Writer, read_metrics


def lines(folder):
    return (folder / "metrics.csv").read_text().splitlines()


def test_rows_and_series(tmp_path):
    with Writer(tmp_path, "first") as writer:
        writer.scalars(1, {"train/loss": 2.0})
        writer.scalars(2, {"train/loss": 0.1 + 0.2, "val/r1": 0.5})
        writer.image(2, "mel", np.zeros((4, 6, 3), np.uint8))
        writer.audio(2, "clip", np.zeros(1600, np.float32), 16_000)
        writer.text(2, "best", "a dog")
    assert lines(tmp_path) == [
        "phase,step,name,value",
        "first,1,train/loss,2.0",
        "first,2,train/loss,0.30000000000000004",
        "first,2,val/r1,0.5",
    ]
    steps, values = read_metrics(tmp_path)["first", "train/loss"]
    assert steps.tolist() == [1, 2]
    assert values.tolist() == [2.0, 0.1 + 0.2]
    events = b"".join(path.read_bytes() for path in (tmp_path / "tensorboard" / "first").iterdir())
    assert all(tag in events for tag in (b"train/loss", b"mel", b"clip", b"best"))
    assert b"PNG" in events
    assert b"WAVE" in events


def test_resume_cuts_later_rows_of_its_phase_and_half_lines(tmp_path):
    with Writer(tmp_path, "first") as writer:
        for step in range(1, 6):
            writer.scalars(step, {"x": step})
    with Writer(tmp_path, "second") as writer:
        for step in range(1, 6):
            writer.scalars(step, {"x": -step})
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("second,6,x,-")  # killed in the middle of a line
    with Writer(tmp_path, "second", start_step=3) as writer:
        writer.scalars(4, {"x": 40})
    series = read_metrics(tmp_path)
    assert series["first", "x"][0].tolist() == [1, 2, 3, 4, 5]
    assert series["second", "x"][0].tolist() == [1, 2, 3, 4]
    assert series["second", "x"][1].tolist() == [-1, -2, -3, 40]


def test_inactive_writer_leaves_no_trace(tmp_path):
    with Writer(tmp_path / "run", "first", active=False) as writer:
        writer.scalars(1, {"x": 1.0})
        writer.text(1, "a", "b")
    assert not (tmp_path / "run").exists()
    assert read_metrics(tmp_path) == {}
