"""What the commands hand to `audiojax.api` and what they print and write, with the api's work replaced; the real thing is test_workflow."""

import csv
import json
import os
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from audiojax import api
from audiojax.audio.reasons import BadAudio, Reason, ReasonCounter
from audiojax.bench.harness import Row
from audiojax.index.search import Hit
from audiojax.report.sections import Card, Metric, MetricTable, Note, Table
from tests.audio.test_io import wav_bytes
from tests.index.test_store import write_index


@pytest.fixture
def calls(monkeypatch):
    """calls(name, result) replaces a function of the api by one that notes its arguments and returns the result."""
    noted = defaultdict(list)

    def replace(name, result=None):
        def function(*args, **options):
            noted[name].append((args, options))
            return result

        monkeypatch.setattr(api, name, function)
        return noted[name]

    return replace


class Finder:
    """Stands for a loaded model."""

    def __init__(self, folder: Path, bad: list[BadAudio]):
        tally = ReasonCounter()
        for result in (*bad, "a file"):
            tally.add(result)
        settings = SimpleNamespace(model="runs/own", dtype="float16")
        facts = {"windows": 3, "hours": 0.5, "computed": 1, "silent": (), "bytes": 2**21, "settings": settings, "root": folder}
        self.folder, self.names, self.calls = folder, ("a.wav", "b.wav"), []
        self.opened = Opened(skipped=tally.skipped(), tally=tally, **facts)

    def index(self, *words, **options):
        self.calls.append((words, options))
        return self.opened

    def use(self, index):
        assert index is self.opened

    def search(self, query, **options):
        self.calls.append((query, options))
        return [Hit(self.folder / self.names[0], 0.0, 3.84, 0.9, 0.8), Hit(self.folder / self.names[1], 3.84, 7.0, 0.5, 0.4)]


class Opened(SimpleNamespace):
    """Stands for an opened index."""

    def __len__(self):
        return 2


def test_search_prints_a_table_and_writes_files(audiojax, calls, tmp_path):
    finder = Finder(tmp_path, [BadAudio(str(tmp_path / "c.wav"), Reason.EMPTY, "0 bytes")])
    loaded = calls("load_finder", finder)
    words = ["--audio", str(tmp_path), "--model", "m", "-k", "2", "--json", f"{tmp_path}/h.json", "--csv", f"{tmp_path}/h.csv"]
    code, out, err = audiojax("search", "rain [soft]", *words)
    assert code == 0
    assert loaded == [(("m",), {})]
    plain = {"k": 2, "audio": None, "weight": 0.5, "rerank": None, "reranker": None}
    assert finder.calls == [((str(tmp_path),), {"progress": True}), ("rain [soft]", plain)]
    assert "rain [soft]" in out
    rows = [line.split() for line in out.splitlines() if ".wav" in line]
    assert rows == [["1", "0.900", "a.wav", "0.0", "3.8"], ["2", "0.500", "b.wav", "3.8", "7.0"]]
    assert "1 files used, 1 left out: empty 1" in err
    assert "c.wav: 0 bytes" in err
    hits = json.loads((tmp_path / "h.json").read_text())
    assert hits[1] == {"rank": 2, "score": 0.5, "cosine": 0.4, "file": str(tmp_path / "b.wav"), "start": 3.84, "end": 7.0}
    with (tmp_path / "h.csv").open(newline="") as handle:
        assert [row["file"] for row in csv.DictReader(handle)] == [str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]


def test_search_shows_names_that_are_not_utf_8(audiojax, calls, tmp_path):
    finder = Finder(tmp_path, [BadAudio(os.fsdecode(b"T\xfcr.wav"), Reason.EMPTY)])
    finder.names = tuple(map(os.fsdecode, (b"T\xfcrklingel.wav", b"M\xf6we.wav")))
    for name in finder.names:
        (tmp_path / name).write_bytes(wav_bytes(bytes(16_000 * 2 * 4)))
    calls("load_finder", finder)
    page = os.fsdecode(os.fsencode(tmp_path) + b"/T\xfcr.html")
    words = ["--audio", str(tmp_path), "--model", "m", "-k", "2", "--json", f"{tmp_path}/h.json", "--csv", f"{tmp_path}/h.csv"]
    code, out, err = audiojax("search", "rain [soft]", *words, "--html", page)
    assert (code, err.splitlines()[-1].strip()) == (0, "T\\xfcr.wav")
    assert [line.split()[2] for line in out.splitlines() if ".wav" in line] == ["T\\xfcrklingel.wav", "M\\xf6we.wav"]
    assert out.splitlines()[-1] == f"{tmp_path}/T\\xfcr.html"
    assert "T\\xfcrklingel.wav" in Path(page).read_text(encoding="utf-8")
    assert json.loads((tmp_path / "h.json").read_text(encoding="utf-8"))[1]["file"] == f"{tmp_path}/M\\xf6we.wav"
    assert f"{tmp_path}/M\\xf6we.wav" in (tmp_path / "h.csv").read_text(encoding="utf-8")


def test_index_prints_what_it_holds(audiojax, calls, monkeypatch, tmp_path):
    finder = Finder(tmp_path, [BadAudio(str(tmp_path / "c.wav"), Reason.EMPTY, "0 bytes")])
    loaded = calls("load_finder", finder)
    code, out, err = audiojax("index", "sounds", "--model", "m", "--out", "i", "--dtype", "float16", "--hop", "0.5", "--quiet")
    assert code == 0
    assert "c.wav: 0 bytes" in err
    facts = {line.split("  ")[0].strip(): line.rstrip().split("  ")[-1].strip() for line in out.splitlines()}
    shown = {"files": "2", "windows": "3", "hours": "0.5", "newly embedded": "1", "left out": "empty 1", "vectors": "float16", "MiB": "2"}
    assert facts | shown == facts
    monkeypatch.setattr(api.Index, "open", lambda path: finder.opened)
    assert audiojax("index", "sounds", "--out", "i")[0] == 0
    assert loaded == [(("m",), {}), (("runs/own",), {})]
    assert finder.calls == [
        (("sounds", "i"), {"hop": 0.5, "dtype": "float16", "progress": False}),
        (("sounds", "i"), {"hop": None, "dtype": None, "progress": True}),
    ]


def test_an_index_is_checked(audiojax, tmp_path):
    folder = write_index(tmp_path / "i", np.eye(6), [1, 2, 3])
    code, out, err = audiojax("index", "--check", "--out", str(folder))
    facts = [line.split() for line in out.splitlines()]
    assert (code, ["as", "stored", "2"] in facts, ["without", "a", "checksum", "0"] in facts) == (0, True, True)
    assert "checking" in err
    (path,) = folder.glob("windows*")
    path.write_bytes(path.read_bytes().replace(np.eye(6, dtype=np.float32)[2].tobytes(), bytes(24)))
    code, out, err = audiojax("index", "--check", "--out", str(folder), "--quiet")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert f"{path.name}: damaged: its CRC-32 is" in err


def test_search_in_an_index_takes_its_model_and_all_options(audiojax, calls, monkeypatch, tmp_path):
    finder, opened = Finder(tmp_path, []), []
    loaded, rerankers = calls("load_finder", finder), calls("load_reranker", "a re-ranker")
    monkeypatch.setattr(api.Index, "open", lambda path: opened.append(path) or finder.opened)
    code, out, _ = audiojax("search", "rain", "--like", "a.wav", "--weight", "0.2", "--index", "i")
    assert code == 0
    assert "“rain” and like a.wav" in out
    code, out, _ = audiojax("search", "rain", "--index", "i", "--model", "m", "--rerank", "7", "--rerank-model", "r")
    assert (code, opened) == (0, ["i", "i"])
    assert (loaded, rerankers) == ([(("runs/own",), {}), (("m",), {})], [(("r",), {})])
    assert finder.calls == [
        ("rain", {"k": 10, "audio": "a.wav", "weight": 0.2, "rerank": None, "reranker": None}),
        ("rain", {"k": 10, "audio": None, "weight": 0.5, "rerank": 7, "reranker": "a re-ranker"}),
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search", "--index", "i"], "nothing to look for"),
        (["search", "rain", "--audio", "a"], "--audio needs --model"),
        (["search", "rain", "--index", "i", "--audio", "a"], "--audio: not allowed with argument --index"),
        (["search", "rain"], "one of the arguments --index --audio is required"),
        (["search", "--like", "f", "--index", "i", "--rerank", "3"], "--rerank goes by a description alone"),
        (["search", "rain", "--index", "i", "--weight", "2"], "--weight: must be a number from 0 to 1, not '2'"),
        (["search", "rain", "--index", "nowhere"], "nowhere: no such folder; make one with audiojax index"),
        (["index", "sounds", "--out", "nowhere"], "nowhere: no such folder; make one with audiojax index"),
        (["index", "--out", "i"], "DIR is missing: name the folder of sound files"),
        (["index", "--check", "--out", "nowhere"], "nowhere: no such folder; make one with audiojax index"),
        (["index", "sounds", "--check", "--out", "i"], "--check looks at the index alone: leave out sounds"),
        (["index", "sounds", "--out", "i", "--hop", "0"], "--hop: must be a number from 0.01 up, not '0'"),
    ],
)
def test_search_and_index_name_what_is_wrong(audiojax, words, message):
    code, out, err = audiojax(*words)
    assert (code, out) == (2, "")
    assert message in err


def test_a_sound_that_cannot_be_read_is_told_before_the_model_is_opened(audiojax, calls):
    loaded = calls("load_finder")
    code, out, err = audiojax("search", "--like", "nowhere.wav", "--audio", "sounds", "--model", "m")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "nowhere.wav: missing" in err
    assert loaded == []


def test_an_empty_query_is_told_before_the_model_is_opened(audiojax, calls):
    loaded = calls("load")
    code, _, err = audiojax("search", "  ", "--audio", "d", "--model", "m")
    assert code == 2
    assert "the query is empty" in err
    assert loaded == []


@pytest.mark.parametrize(
    "words", [["evaluate", "--workdir"], ["export", "--out", "o", "--workdir"], ["search", "x", "--audio", ".", "--model"]]
)
def test_a_missing_workdir_says_what_to_do(audiojax, tmp_path, words):
    code, out, err = audiojax(*words, str(tmp_path / "nowhere"))
    assert (code, out) == (2, "")
    assert f"{tmp_path}/nowhere: no such folder; train a model with `audiojax train`" in err


def test_train_hands_over_the_config_with_its_overrides(audiojax, calls):
    trained = calls("train")
    words = ["--config", "diffatr/soundworld:debug", "--workdir", "w", "--quiet", "--config.diffusion.steps=7", "--config.seed", "3"]
    assert audiojax("train", *words) == (0, "", "")
    (((config, workdir), options),) = trained
    assert (config.diffusion.steps, config.seed, config.is_locked) == (7, 3, True)
    assert (workdir, options) == ("w", {"progress": False})


def test_evaluate_prints_every_section_and_writes_csv(audiojax, calls, tmp_path):
    table = MetricTable("Text to audio", [Metric("R@10", 0.5, 0.4, 0.6, 0.1, 0.9)])
    sections = (table, Table("Fusion", ("a",), [("x",)]), Card("Metric card", {"seed": 20}))
    evaluated = calls("evaluate", SimpleNamespace(sections=sections, json=Path("s.json"), report=Path("r.html")))
    code, out, _ = audiojax("evaluate", "--workdir", "w", "--domain", "field", "--csv", str(tmp_path / "e.csv"))
    assert code == 0
    where = {"domain": "field", "data_dir": None, "out": None}
    written = {"candidates": 1, "batch_size": None, "options": {}, "models": []}
    assert evaluated == [(("w", "test"), {**where, "probes": False, **written, "progress": True})]
    audiojax("evaluate", "--workdir", "w", "--candidates", "3", "--batch-size", "8", "--steps", "5", "--top-p", "0.9", "--quiet")
    written = {"candidates": 3, "batch_size": 8, "options": {"steps": 5, "top_p": 0.9}, "models": []}
    assert evaluated[1] == (("w", "test"), {"domain": None, "data_dir": None, "out": None, "probes": False, **written, "progress": False})
    for words in ("Text to audio", "50.0 %", "Fusion", "Metric card", "s.json", "r.html"):
        assert words in out
    assert (tmp_path / "e.csv").read_text().splitlines()[1] == "Text to audio,R@10,0.5,0.4,0.6,0.1,0.9"


def test_sweep_hands_over_the_grid_and_prints_the_tables(audiojax, calls, tmp_path):
    sections = (Table("Compared", ("setting", "R@1"), [("a", "31.0")]), Note("Intervals", ("over clips",)))
    swept = calls("sweep", SimpleNamespace(sections=sections, rows=[{"setting": "a"}], report=Path("r.html")))
    words = ["--config", "c", "--grid", "a.b=1, 2", "--grid", "c=x", "--seeds", "0,1", "--workdir", "w", "--config.seed=1"]
    code, out, _ = audiojax("sweep", *words, "--json", str(tmp_path / "t.json"))
    assert code == 0
    (((config, grid, seeds, workdir), options),) = swept
    assert (config, grid, seeds, workdir) == ("c", [("a.b", ("1", "2")), ("c", ("x",))], (0, 1), "w")
    assert options == {"overrides": ["seed=1"], "domains": (), "split": "test", "probes": False, "sounds": None, "progress": True}
    for shown in ("Compared", "31.0", "over clips", "r.html"):
        assert shown in out
    assert json.loads((tmp_path / "t.json").read_text()) == [{"setting": "a"}]


def test_sweep_refuses_a_key_named_twice(audiojax):
    code, _, err = audiojax("sweep", "--config", "c", "--grid", "a=1", "--grid", "a=2", "--workdir", "w")
    assert code == 2
    assert "--grid names a key twice: a, a" in err


@pytest.mark.parametrize(("flag", "value"), [("steps", "3"), ("guidance", "2"), ("sampler", "dpm++"), ("clap", "m"), ("clips", "5")])
def test_sweep_refuses_what_measures_sounds_without_a_backbone(audiojax, calls, flag, value):
    swept = calls("sweep")
    code, _, err = audiojax("sweep", "--config", "c", "--grid", "a=1", "--workdir", "w", f"--{flag}", value)
    assert (code, swept) == (2, [])
    assert err == f"audiojax: --{flag} belongs to --backbone, which systems that make sounds are measured by\n"


def test_sweep_refuses_steps_that_make_no_path_before_it_trains(audiojax, calls):
    swept = calls("sweep")
    code, _, err = audiojax("sweep", "--config", "c", "--grid", "a=1", "--workdir", "w", "--backbone", "t", "--steps", "350")
    assert (code, swept) == (2, [])
    assert "steps is 350: the path would begin at noise level" in err


def test_demo_and_export_pass_their_arguments(audiojax, calls):
    shown, exported = calls("demo"), calls("export", Path("models/x"))
    assert audiojax("demo", "--out", "o", "--all", "--quiet") == (0, "", "")
    assert shown == [(("o",), {"all": True, "progress": False})]
    assert audiojax("export", "--workdir", "w", "--out", "models/x") == (0, "models/x\n", "")
    assert exported == [(("w", "models/x", "orbax", None), {})]


def test_bench_shows_wins_losses_and_refused_ratios(audiojax, monkeypatch, tmp_path):
    from audiojax.bench import pair_denoiser

    rows = [
        Row("case", "audiojax", 500, 0.1, 0.09, 5000.0, 3, 3, 2.5, 300.0),
        Row("case", "torch eager float32", 200, 0.02, 0.02, 10000.0, 3, 4, 0.5, 200.0, ratio=0.5),
        Row("case", "torch eager bfloat16", 200, 0.02, 0.02, 10000.0, 1, 4, 0.5, 200.0, note="no ratio: 1 quiet sample"),
    ]
    asked = []
    monkeypatch.setattr(pair_denoiser, "run", lambda **options: asked.append(options) or rows)
    code, out, _ = audiojax("bench", "pair_denoiser", "--queries", "500", "--no-torch", "--csv", str(tmp_path / "b.csv"))
    assert code == 0
    assert asked[0]["queries"] == 500
    assert list(asked[0]["torch_forms"]) == []
    shown = {
        line.split()[0] + line.split()[2]: line.split()
        for line in out.splitlines()
        if "/" in line and line.split()[0] in ("audiojax", "torch")
    }
    assert shown["torchfloat32"][-2:] == ["3/4", "0.5"]
    assert shown["torchbfloat16"][-2:] == ["1/4", "–"]
    assert "no ratio: 1 quiet sample" in out
    assert len((tmp_path / "b.csv").read_text().splitlines()) == 4


def test_listening_sheet_of_one_class(audiojax, tmp_path):
    path = tmp_path / "rain.html"
    assert audiojax("data", "listen", "--out", str(path), "--classes", "rain") == (0, f"{path}\n", "")
    assert path.read_text(encoding="utf-8").count("<audio") >= 3
    code, _, err = audiojax("data", "listen", "--out", str(path), "--classes", "rian")
    assert code == 2
    assert "'rian'" in err


def test_soundworld_is_built_once(audiojax, tmp_path):
    words = ["data", "soundworld", "--size", "0.002", "--data-dir", str(tmp_path), "--workers", "1"]
    code, out, _ = audiojax(*words)
    assert code == 0
    folder = Path(out.strip())
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert before
    assert audiojax(*words)[1] == out
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_towers_prints_the_table_and_where_it_lies(audiojax, calls, tmp_path):
    found = SimpleNamespace(
        sections=[Table("Towers", ("tower", "value"), [("bert", "35 %")])], table=tmp_path / "t.csv", report=tmp_path / "r"
    )
    asked = calls("train_towers", found)
    code, out, _ = audiojax("towers", "--size", "base", "--only", "bert", "t5", "--domain", "field", "--workdir", "w", "--quiet")
    assert code == 0
    assert asked == [(("w",), {"size": "base", "only": ["bert", "t5"], "domain": "field", "progress": False})]
    assert "35 %" in out
    assert out.splitlines()[-2:] == [str(tmp_path / "t.csv"), str(tmp_path / "r")]
