"""Dispatch, help, exit codes and messages of the `audiojax` command."""

import os
import subprocess
import sys
from importlib import import_module

import pytest

import audiojax as package
from audiojax.cli import COMMANDS, main
from audiojax.cli.parsing import take_overrides
from audiojax.errors import AudiojaxError, UsageError


def test_help_lists_every_command_and_examples(audiojax):
    code, out, _ = audiojax("--help")
    assert code == 0
    for name, text in COMMANDS.items():
        assert f"  {name} " in out
        assert text in out
    assert "examples:" in out
    assert audiojax()[1] == out


def test_version(audiojax):
    assert audiojax("--version") == (0, f"audiojax {package.__version__}\n", "")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_its_help_with_examples(audiojax, name):
    code, out, err = audiojax(name, "-h")
    assert (code, err) == (0, "")
    assert f"usage: audiojax {name}" in out
    examples = out.split("examples:\n")[1].strip().splitlines()
    assert any(line.strip().startswith(f"audiojax {name}") for line in examples)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["serch"], "there is no command 'serch'; did you mean 'search'?"),
        (["xyzzy"], "there is no command 'xyzzy'. See audiojax --help"),
        (["--versoin"], "there is no flag --versoin; did you mean '--version'?"),
        (["train", "--config", "c", "--wrokdir", "w"], "there is no flag --wrokdir; did you mean '--workdir'?"),
        (["train", "--config", "c"], "the following arguments are required: --workdir"),
        (["search", "rain", "--audio", "d", "--model", "m", "-k", "0"], "must be a whole number from 1 up, not '0'"),
        (["search", "rain", "--audio", "d", "--model", "m", "--csv", "x.txt"], "must end in .csv, not 'x.txt'"),
        (["search", "rain", "--index", "i", "--weight", "nan"], "must be a number from 0 to 1, not 'nan'"),
        (["index", "sounds", "--out", "i", "--hop", "inf"], "--hop: must be a number from 0.01 up, not 'inf'"),
        (["generate", "rain", "--model", "m", "--out", "o.wav", "--guidance", "inf"], "must be a number from 0 up, not 'inf'"),
        (["generate", "rain", "--model", "m", "--out", "o.wav", "--inpaint", "1:inf"], "must be two times in seconds"),
        (["data", "soundworld", "--seconds", "inf"], "--seconds: must be seconds, like 0.5, not 'inf'"),
        (["sweep", "--config", "c", "--workdir", "w", "--grid", "steps"], "is KEY=A,B,C, not 'steps'"),
        (["sweep", "--config", "c", "--workdir", "w", "--grid", "a=1,1"], "names a value twice"),
        (["sweep", "--config", "c", "--workdir", "w", "--grid", "a=1", "--seeds", "0,x"], "must be whole numbers with commas between"),
        (["towers", "--size", "huge"], "invalid choice: 'huge'"),
        (["towers", "--only", "bert", "vggish"], "there is no such tower; there are clap, audiomae, beats, bert, t5, tagger"),
        (["data"], "the following arguments are required: check|pack|soundworld|listen"),
        (["data", "soundworld", "--sise", "base"], "there is no flag --sise; did you mean '--size'?"),
        (["data", "listen", "--out", "x.html", "--size", "base"], "unrecognized arguments: --size base"),
        (["bench", "pair_denoizer"], "there is no bench 'pair_denoizer'; did you mean 'pair_denoiser'?"),
        (["train", "--workdir", "w", "--config", "c", "--config.seed"], "--config.seed has no value: write --config.seed=value"),
        (["train", "--workdir", "w", "--config", "nowhere.py"], "config file nowhere.py does not exist"),
        (["train", "--workdir", "w", "--config", "diffatr/soundwrld"], "did you mean 'diffatr/soundworld'?"),
        (["train", "--workdir", "w", "--config", "diffatr/soundworld", "--config.diffusion.stesp=3"], "did you mean 'diffusion.steps'?"),
        (["train", "--workdir", "w", "--config", "diffatr/soundworld", "--config.seed=abc"], "config key 'seed' takes int, not 'abc'"),
    ],
)
def test_misuse_exits_2_with_one_or_two_lines(audiojax, words, message):
    code, out, err = audiojax(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("audiojax: ")
    assert len(err.strip().splitlines()) <= 2


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (["train", "--config", "diffatr/soundworld:debug"], "--workdir"),
        (["sweep", "--config", "diffatr/soundworld:debug", "--grid", "seed=1,2"], "--workdir"),
        (["towers", "--size", "debug"], "--workdir"),
        (["evaluate"], "--workdir"),
        (["evaluate", "--workdir", "w"], "--out"),
        (["evaluate", "--workdir", "w"], "--data-dir"),
        (["export", "--out", "o"], "--workdir"),
        (["export", "--workdir", "w"], "--out"),
        (["demo"], "--out"),
        (["index", "sounds", "--model", "m"], "--out"),
        (["generate", "rain", "--model", "m"], "--out"),
        (["generate", "rain", "--model", "m", "--out", "o"], "--data-dir"),
        (["data", "pack", "sounds"], "--out"),
        (["data", "soundworld"], "--data-dir"),
        (["weights", "convert", "owner/name"], "--out"),
        (["search", "rain"], "--index"),
        (["search", "rain", "--model", "m"], "--audio"),
        (["page"], "--index"),
        (["page", "--model", "m"], "--audio"),
        (["score", "a.csv", "b.csv", "--clap", "m"], "--audio"),
    ],
)
def test_a_folder_without_a_name_is_not_the_current_one(audiojax, tmp_path, monkeypatch, words, flag):
    monkeypatch.chdir(tmp_path)
    for empty in ([flag, ""], [f"{flag}="], [flag, " "]):
        code, out, err = audiojax(*words, *empty)
        assert (code, out) == (2, "")
        assert f"{flag}: is empty: name a folder." in err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("words", [["index", "", "--out", "i"], ["data", "check", ""], ["data", "pack", "", "--out", "o"]])
def test_nor_are_sounds_without_a_place_those_of_the_current_one(audiojax, words):
    code, out, err = audiojax(*words)
    assert (code, out) == (2, "")
    assert "is empty: name a folder." in err


@pytest.fixture
def command(monkeypatch):
    """command(function) makes `audiojax doctor` run the function instead."""

    def replace(function):
        monkeypatch.setattr(import_module("audiojax.cli.doctor"), "run", function)

    return replace


def raising(error):
    def run(args):
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("no such thing"), 2, "audiojax: no such thing"),
        (AudiojaxError("disk is full"), 1, "audiojax: disk is full"),
        (FileNotFoundError(2, "No such file or directory", "x.wav"), 1, "audiojax: x.wav: No such file or directory"),
        (ZeroDivisionError("division by zero"), 1, "audiojax: internal error, ZeroDivisionError: division by zero"),
        (KeyboardInterrupt(), 130, "audiojax: interrupted"),
        (SystemExit(3), 3, ""),
    ],
)
def test_errors_become_exit_codes_and_lines(audiojax, command, error, code, line):
    command(raising(error))
    got, _, err = audiojax("doctor")
    assert got == code
    assert err.split("\n")[0] == line
    assert "Traceback" not in err


def test_an_error_names_its_own_exit_code(audiojax, command):
    class Stopped(AudiojaxError):
        exit_code = 143

    command(raising(Stopped("stopped, saved")))
    assert audiojax("doctor")[0] == 143


def test_debug_shows_the_error_itself(command):
    command(raising(UsageError("no such thing")))
    with pytest.raises(UsageError, match="no such thing"):
        main(["doctor", "--debug"])
    with pytest.raises(UsageError, match="no such thing"):
        main(["--debug", "doctor"])


def test_overrides_are_taken_in_both_forms_and_in_order():
    words = ["--config", "c.py", "--config.a.b=1", "--workdir", "w", "--config.c", "x y", "--config.d=e=f"]
    assert take_overrides(words) == (["--config", "c.py", "--workdir", "w"], ["a.b=1", "c=x y", "d=e=f"])


def python(*words: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=120, **options)


def test_help_and_the_package_itself_import_no_jax():
    done = python("-X", "importtime", "-m", "audiojax.cli", "--help")
    assert done.returncode == 0
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "audiojax.cli.parsing" in imported
    assert not imported & {"jax", "numpy", "rich", "transformers", "tensorflow_datasets", "librosa", "matplotlib", "absl"}


SHOW = r"""
import sys
from importlib import import_module
from audiojax.cli import main
import_module("audiojax.cli.doctor").run = lambda args: print("caf\u00e9 \u2013 \u201crain\u201d \udcff")
sys.exit(main(["doctor"]))
"""


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [
        ("latin-1", b"caf\xe9 ? ?rain? ?\n"),
        ("ascii:surrogateescape", b"caf? ? ?rain? ?\n"),
        ("ascii:backslashreplace", rb"caf\xe9 \u2013 \u201crain\u201d \udcff" + b"\n"),
        ("utf-8", "café – “rain” ?\n".encode()),
    ],
)
def test_what_an_encoding_lacks_is_replaced(encoding, printed):
    done = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, timeout=60, env=os.environ | {"PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stdout, done.stderr) == (0, printed, b"")


def test_standard_output_may_be_closed_from_the_start():
    done = subprocess.run(
        ["sh", "-c", '"$0" -m audiojax.cli --version >&-', sys.executable], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_closed_pipe_ends_quietly():
    words = [sys.executable, "-m", "audiojax.cli", "--version"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(write)
    assert done.returncode == 141
    assert done.stderr == ""
