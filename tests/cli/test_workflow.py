"""The commands as a user types them, each in a process of its own: train on two processes, evaluate, export, search, and a sweep."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).parents[2]
PROGRAM = (sys.executable, "-m", "audiojax.cli")
OVERRIDES = ("data.source=memory", "data.size=0.006", "train.eval_batch_size=8", "model.joint_width=16", "diffusion.steps=3")
OVERRIDES += ("phases=hybrid", "hybrid.batch_size=8", "hybrid.steps=2")
CONFIG = ("--config", "diffatr/soundworld:debug", *(f"--config.{override}" for override in OVERRIDES))

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """run(*words) -> the finished process, in an empty folder with its own cache; folder is run.folder."""
    folder = tmp_path_factory.mktemp("workflow")
    environment = os.environ | {
        "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false",
        "COLUMNS": "120",
        "AUDIOJAX_CACHE": str(folder / "cache"),
    }
    environment.pop("JAX_COMPILATION_CACHE_DIR")  # the users' own place is used, and looked at

    def call(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)

    call.folder = folder
    return call


@pytest.fixture(scope="module")
def model(run):
    """The exported folder of a run that two real processes trained."""
    done = run("bash", str(ROOT / "launch/local.sh"), "-n", "2", "--", *PROGRAM, "train", *CONFIG, "--workdir", "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[0] hybrid 2/2: loss" in done.stdout
    done = run(*PROGRAM, "export", "--workdir", "run", "--out", "model")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{run.folder}/model\n"
    return run.folder / "model"


def test_training_keeps_compiled_programs(run, model):
    assert any((run.folder / "cache" / "jax").iterdir())


def test_evaluate_prints_the_scores_that_it_writes(run, model):
    done = run(*PROGRAM, "evaluate", "--workdir", "run", "--split", "val", "--csv", "scores.csv", "--quiet")
    assert done.returncode == 0, done.stderr
    assert "Text to audio" in done.stdout
    assert "Metric card" in done.stdout
    written = json.loads((run.folder / "run/evaluation/val/scores.json").read_text())
    with (run.folder / "scores.csv").open(newline="") as handle:
        rows = {(row["table"], row["metric"]): float(row["value"]) for row in csv.DictReader(handle)}
    assert rows["Text to audio", "R@1"] == pytest.approx(written["scores"]["t2a/R@1"])
    assert (run.folder / "run/evaluation/val/report.html").stat().st_size > 10_000


def test_search_ranks_a_folder_and_names_what_it_left_out(run, model):
    sounds = run.folder / "sounds"
    (sounds / "deep").mkdir(parents=True)
    noise = np.random.default_rng(0).standard_normal(2 * 44_100) * 0.1
    soundfile.write(sounds / "deep" / "noise.flac", noise, 44_100)
    soundfile.write(sounds / "tone.wav", 0.2 * np.sin(np.arange(3 * 16_000) * 0.3), 16_000)
    (sounds / "broken.wav").write_bytes(b"RIFF not a sound")
    words = ["search", "rain", "--audio", "sounds", "--model", "model", "--json", "hits.json", "--html", "hits.html"]
    done = run(*PROGRAM, *words)
    assert done.returncode == 0, done.stderr
    assert "2 files used, 1 left out" in done.stderr
    assert "broken.wav" in done.stderr
    hits = json.loads((run.folder / "hits.json").read_text())
    assert {Path(hit["file"]).name for hit in hits} == {"noise.flac", "tone.wav"}
    assert [hit["rank"] for hit in hits] == [1, 2]
    assert hits[0]["score"] >= hits[1]["score"]
    assert (run.folder / "hits.html").read_text(encoding="utf-8").count("<audio") == 2


def test_an_index_is_made_once_and_searched_by_text_and_sound(run, model):
    sounds = run.folder / "more"
    sounds.mkdir()
    for name, step in {"low": 0.05, "high": 0.5}.items():
        soundfile.write(sounds / f"{name}.wav", 0.2 * np.sin(np.arange(3 * 16_000) * step), 16_000)
    done = run(*PROGRAM, "index", "more", "--model", "model", "--out", "more.index", "--dtype", "float16")
    assert done.returncode == 0, done.stderr
    (sounds / "high.wav").rename(sounds / "renamed.wav")
    done = run(*PROGRAM, "index", "more", "--out", "more.index")
    assert done.returncode == 0, done.stderr
    assert ["newly", "embedded", "0"] in [line.split() for line in done.stdout.splitlines()]
    done = run(*PROGRAM, "search", "--like", "more/renamed.wav", "--index", "more.index", "-k", "1", "--json", "like.json")
    assert done.returncode == 0, done.stderr
    (hit,) = json.loads((run.folder / "like.json").read_text())
    assert (Path(hit["file"]).name, hit["start"], hit["end"]) == ("renamed.wav", 0.0, 3.0)
    assert hit["cosine"] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search", "rain", "--audio", "model/tokenizer", "--model", "model"], "no sound file in it"),
        (["search", "rain", "--audio", "nowhere", "--model", "model"], "no such folder"),
        (["evaluate", "--workdir", "run", "--split", "tset"], "tset"),
        (["export", "--workdir", "run", "--out", "model"], "model"),
        (["train", *CONFIG, "--config.seed=9", "--workdir", "run"], "seed was 20, now 9"),
    ],
)
def test_misuse_is_one_or_two_lines(run, model, words, message):
    done = run(*PROGRAM, *words)
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("audiojax: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in done.stderr


def test_sweep_compares_two_settings(run):
    grid = ["--grid", "train.keep=1,2", "--seeds", "0", "--json", "sweep.json", "--quiet"]  # which changes no weight
    done = run(*PROGRAM, "sweep", *CONFIG, *grid, "--workdir", "sweep")
    assert done.returncode == 0, done.stderr
    rows = json.loads((run.folder / "sweep.json").read_text())
    assert {row["setting"] for row in rows} == {"train.keep=1", "train.keep=2"}
    assert {row["against first estimate"] for row in rows if row["setting"] == "train.keep=2"} == {0.0}
    assert "train.keep=2" in done.stdout
    assert (run.folder / "sweep" / "report.html").is_file()
