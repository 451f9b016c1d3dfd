"""`audiojax data check`: what it prints and writes, and its exit codes."""

import csv
import json

from tests.data.layouts.making import clotho
from tests.data.layouts.planting import TRUNCATED, put


def test_a_data_set_with_faults(audiojax, tmp_path):
    clotho(tmp_path / "set" / "clotho")
    files = ["--json", str(tmp_path / "r.json"), "--csv", str(tmp_path / "r.csv")]
    code, out, err = audiojax("data", "check", str(tmp_path / "set"), "--workers", "1", "--quiet", *files)
    assert (code, err) == (0, "")
    assert "clotho v2.1" in out
    assert "CSV, 5 captions a row" in out
    rows = [line.split() for line in out.splitlines()]
    assert ["train", "4", "3,839", "18"] in [row[:4] for row in rows]
    assert "clotho/clotho_captions_development.csv:4: no sound file named 'gone.wav'" in out
    assert "twice: in test and train" in out
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["data_set"], report["usable_clips"], len(report["list_hash"])) == ("clotho v2.1", 6, 16)
    assert [split["expected"] for split in report["splits"]] == [3_839, 1_045, 1_045]
    with (tmp_path / "r.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert listed == report["rows"]
    assert {(row["level"], row["kind"]) for row in listed} >= {("left out", "truncated"), ("warning", "encoding")}


def test_exit_codes(audiojax, tmp_path):
    put(tmp_path / "a" / "a.wav", TRUNCATED)
    assert audiojax("data", "check", str(tmp_path / "a"), "--quiet")[0] == 1
    assert audiojax("data", "check", str(tmp_path / "a"), "--fast")[0] == 0
    (tmp_path / "b").mkdir()
    code, _, err = audiojax("data", "check", str(tmp_path / "b"))
    assert code == 2
    assert "no data set that is understood" in err
    assert audiojax("data", "check", str(tmp_path / "a"), "--min-seconds", "soon")[0] == 2
