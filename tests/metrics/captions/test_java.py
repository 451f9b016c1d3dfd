"""METEOR and SPICE where something is missing or breaks; Java is a stand-in here. The real METEOR: test_golden."""

import sys

import pytest

from audiojax.errors import AudiojaxError, UsageError
from audiojax.metrics.captions import java

SAID, WANTED = [["a", "dog"], []], [[["a", "dog"], ["dog"]], [["rain"]]]

METEOR = """
for line in sys.stdin:
    parts = line.rstrip("\\n").split(" ||| ")
    if parts[0] == "SCORE":
        print("counts", len(parts) - 2, len(parts[-1].split()), flush=True)
    else:
        for counts in parts[1:]:
            print(int(counts.split()[2]) / 4, flush=True)
        print(0.25, flush=True)
"""
SPICE = """
with open(next(word for word in sys.argv if word.endswith("captions.json"))) as file:
    clips = json.load(file)
scores = [{"image_id": c["image_id"], "scores": {"All": {"f": 0.5 if c["test"] else float("nan")}}} for c in clips[::-1]]
with open(sys.argv[sys.argv.index("-out") + 1], "w") as file:
    json.dump(scores, file)
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """package(program, models, version) installs a pycocoevalcap of empty files, and a `java` that runs the program."""

    def install(program="", models=True, version="11.0.2"):
        files = [java.METEOR_JAR, java.SPICE_JAR, *(f"spice/lib/{java.CORENLP}{end}.jar" for end in ("", "-models") if models)]
        for name in ("__init__.py", *files):
            path = tmp_path / "pycocoevalcap" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        (tmp_path / "bin").mkdir()
        script = tmp_path / "bin" / "java"
        told = f"if sys.argv[1:] == ['-version']: sys.exit(print('openjdk version \"{version}\"', file=sys.stderr))"
        script.write_text(f"#!{sys.executable}\nimport json, sys\n{told}\n{program}")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        for name in [name for name in sys.modules if name.split(".")[0] == "pycocoevalcap"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.syspath_prepend(str(tmp_path))
        return tmp_path

    return install


def test_meteor_asks_clip_by_clip_and_pools(package):
    package(METEOR)
    seen = []
    value, values = java.meteor(SAID, WANTED, lambda: seen.append(1))
    assert (value, values.tolist(), len(seen)) == (0.25, [0.5, 0.0], 2)


def test_spice_keeps_the_order_and_scores_nothing_where_there_is_no_graph(package):
    package(SPICE)
    value, values = java.spice(SAID, WANTED)
    assert (value, values.tolist()) == (0.25, [0.5, 0.0])


@pytest.mark.parametrize("measure", [java.meteor, java.spice])
@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("print('Exception: out of memory\\n  at Main.main', file=sys.stderr); sys.exit(1)", "stopped: Exception: out of memory"),
        ("sys.exit(0)", "stopped: it gave no reason"),
    ],
)
def test_a_program_that_stops_is_an_error_with_its_last_words(package, measure, program, reason):
    package(program)
    with pytest.raises(AudiojaxError, match=reason):
        measure(SAID, WANTED)


def test_an_answer_that_is_no_number(package):
    package("for line in sys.stdin: print('what\\n' * 9, flush=True)")
    with pytest.raises(AudiojaxError, match="METEOR answered what is no number"):
        java.meteor(SAID, WANTED)


def test_missing_models_are_named_with_their_place_and_nothing_is_downloaded(package):
    folder = package(models=False)
    for metric in ("spice", "spider"):
        with pytest.raises(UsageError) as error:
            java.require(metric)
        assert all(word in str(error.value) for word in (f"{java.CORENLP}-models.jar", str(folder), java.CORENLP_ZIP))
    java.require("meteor")


@pytest.mark.parametrize(("version", "runs"), [("1.8.0_392", True), ("14.0.2", True), ("15", False), ("17.0.9", False)])
def test_spice_needs_a_java_that_still_has_its_script_engine(package, version, runs):
    package(SPICE, version=version)
    java.require("meteor")
    if runs:
        java.require("spider")
        assert java.spice(SAID, WANTED)[0] == 0.25
        return
    for call in (lambda: java.require("spider"), lambda: java.spice(SAID, WANTED)):
        with pytest.raises(UsageError, match=f"SPICE runs on Java 8 to 14, and .*java is Java {version[:2]}: put an older one"):
            call()


def test_no_java(package, monkeypatch):
    folder = package()
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(UsageError, match="METEOR runs on Java, and none is on PATH"):
        java.require("meteor")


def test_no_package(monkeypatch):
    monkeypatch.setattr(java, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'audiojax\[eval\]'"):
        java.require("spice")


@pytest.mark.parametrize(("told", "version"), [('openjdk version "17.0.9"', 17), ('java version "1.8.0_392"', 8), ("nonsense", 0)])
def test_versions(tmp_path, told, version):
    script = tmp_path / "java"
    script.write_text(f"#!/bin/sh\necho '{told}' >&2\n")
    script.chmod(0o755)
    assert java._version(str(script)) == version
