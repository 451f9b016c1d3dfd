"""`audiojax score` as it is typed: tables on the screen, files for programs, one line where the tables do not fit."""

import csv
import json

import pytest

from tests.api.caption_folders import bert_folder

CAPTIONS = "id,caption\na,a dog barks\nb,rain falls on a roof\n"
REFERENCES = "id,caption\na,a dog barks twice\na,the dog barks\nb,rain falls on a roof\n"


def written(folder, captions=CAPTIONS):
    for name, text in (("c.csv", captions), ("r.csv", REFERENCES)):
        (folder / name).write_text(text)
    return str(folder / "c.csv"), str(folder / "r.csv")


def test_tables_and_files(audiojax, tmp_path):
    code, out, _ = audiojax("score", *written(tmp_path), "--json", f"{tmp_path}/s.json", "--csv", f"{tmp_path}/s.csv", "--quiet")
    assert code == 0
    assert all(words in out for words in ("CIDEr-D", "BLEU-4", "ROUGE-L", "Distinct-1", "MTLD", "list hash", "PTBTokenizer 3.4.1"))
    stored = json.loads((tmp_path / "s.json").read_text())
    assert [row["id"] for row in stored["rows"]] == ["a", "b"]
    assert stored["rows"][1]["rouge_l"] == 1
    assert stored["card"]["clips"] == 2
    with open(tmp_path / "s.csv", newline="") as file:
        rows = {row["metric"]: row for row in csv.DictReader(file)}
    assert float(rows["BLEU-1"]["value"]) == stored["scores"]["bleu_1"] > 0.99
    assert float(rows["ROUGE-L"]["low"]) <= stored["scores"]["rouge_l"] <= float(rows["ROUGE-L"]["high"])
    assert float(rows["Distinct-1"]["value"]) == stored["scores"]["distinct_1"]


def test_chosen_metrics(audiojax, tmp_path):
    code, out, _ = audiojax("score", *written(tmp_path), "--metrics", "rouge_l,diversity")
    assert code == 0
    assert "ROUGE-L" in out
    assert "BLEU" not in out


def test_tables_that_do_not_fit(audiojax, tmp_path):
    words = written(tmp_path, "id,caption\na,a dog barks\nz,a siren\n")
    code, _, err = audiojax("score", *words)
    assert code == 2
    assert "1 captions of clips without references (z); 1 clips without a caption (b)" in err
    assert "--allow-missing scores the 1 clips that both files have" in err
    code, out, err = audiojax("score", *words, "--allow-missing")
    assert code == 0
    assert "(z)" in err
    assert "(b)" in out


def test_measures_by_models(audiojax, tmp_path):
    (tmp_path / "judge.py").write_text("def score(caption, references):\n    return 0.25 if 'dog' in caption else 0.75\n")
    words = (*written(tmp_path), "--metrics", "rouge_l", "--quiet")
    code, out, err = audiojax("score", *words, "--judge", f"{tmp_path}/judge.py:score", "--json", f"{tmp_path}/s.json")
    assert code == 0
    assert err == ""
    assert all(text in out for text in ("ROUGE-L", "judge", "50.0", "judge.py:score"))
    stored = json.loads((tmp_path / "s.json").read_text())
    assert [row["judge"] for row in stored["rows"]] == [0.25, 0.75]
    bert_folder(tmp_path / "bert")
    code, out, err = audiojax("score", *words, "--bertscore", f"{tmp_path}/bert", "--bertscore-layer", "2", "--bertscore-idf")
    assert code == 0
    assert all(text in out for text in ("BERTScore P", "BERTScore R", "BERTScore F1", "layer 2, idf of the references"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--bertscore-layer", "3"), "--bertscore-layer belongs to --bertscore: name its model"),
        (("--bertscore-idf",), "--bertscore-idf belongs to --bertscore: name its model"),
        (("--fense-detector", "x.ckpt"), "--fense-detector belongs to --fense: name its model"),
        (("--clap", "x"), "--clap and --audio go together"),
        (("--audio", "x"), "--clap and --audio go together"),
        (("--fense", "no/such"), "no/such: no such file or folder, and not in the hub cache"),
        (("--judge", "nowhere.py:score"), "nowhere.py:score: cannot be imported"),
    ],
)
def test_measures_that_cannot_be_made(audiojax, tmp_path, words, message):
    code, _, err = audiojax("score", *written(tmp_path), *words)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
