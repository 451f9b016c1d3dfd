"""`audiojax score` as it is typed: tables on the screen, files for programs, one line where the tables do not fit."""

import csv
import json

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
