"""METEOR, SPICE and SPIDEr: the Java programs that pycocoevalcap brings (extra `eval`), run as child processes that never outlive the call.

SPICE also needs Stanford CoreNLP 3.6.0, which pycocoevalcap's own wrapper downloads at first use. Nothing is downloaded here: where a file
is missing, the error says which and where it goes.
"""

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Float

from audiojax.errors import AudiojaxError, UsageError
from audiojax.files import shown

Words = Sequence[str]

METEOR_JAR, SPICE_JAR = "meteor/meteor-1.5.jar", "spice/spice-1.0.jar"
CORENLP = "stanford-corenlp-3.6.0"
CORENLP_ZIP = "http://nlp.stanford.edu/software/stanford-corenlp-full-2015-12-09.zip"
SPICE_JAVA = range(8, 15)  # SPICE writes its results through Nashorn, which came with Java 8 and is gone since Java 15


def meteor(
    candidates: Sequence[Words], references: Sequence[Sequence[Words]], advance: Callable[[], None] = lambda: None
) -> tuple[float, Float[np.ndarray, " clips"]]:
    """(value of the corpus, value of every clip) of METEOR 1.5 for English, in [0, 1]. The corpus pools the counts of its clips.

    Args:
      candidates: the words of one caption per clip, as `ptb.tokenize` gives them.
      references: those of the captions of each clip.
      advance: called after every clip. The first takes longer, while tables are read.

    Raises:
      UsageError: pycocoevalcap or Java is not there.
      AudiojaxError: METEOR stopped or did not understand.
    """
    jar = _file("METEOR", METEOR_JAR)
    command = [_java("METEOR"), "-Xmx2G", "-Dfile.encoding=UTF-8", "-jar", jar.name, "-", "-", "-stdio", "-l", "en", "-norm"]
    with _child("METEOR", command, jar.parent) as ask:
        counts = []
        for candidate, own in zip(candidates, references, strict=True):
            counts.append(ask(" ||| ".join(["SCORE", *(" ".join(words) for words in own), " ".join(candidate)])))
            advance()
        first = ask(" ||| ".join(["EVAL", *counts]), last=True)
        values = [float(line) for line in [first, *(ask() for _ in counts)]]
    return values[-1], np.array(values[:-1])


def spice(candidates: Sequence[Words], references: Sequence[Sequence[Words]]) -> tuple[float, Float[np.ndarray, " clips"]]:
    """(mean, value of every clip) of SPICE 1.0 in [0, 1]: F1 of the scene graphs. A clip without a graph on either side scores 0.

    Arguments as for `meteor`.

    Raises:
      UsageError: pycocoevalcap, Java or a file of Stanford CoreNLP is not there, or Java is too new.
      AudiojaxError: SPICE stopped.
    """
    jar = _spice_jar()
    java = _spice_java()
    clips = [
        {"image_id": i, "test": " ".join(candidate), "refs": [" ".join(words) for words in own]}
        for i, (candidate, own) in enumerate(zip(candidates, references, strict=True))
    ]
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder, "captions.json"), Path(folder, "scores.json")
        asked.write_text(json.dumps(clips), encoding="utf-8")
        command = [java, "-Xmx8G", "-Dfile.encoding=UTF-8", "-jar", jar.name, str(asked), "-out", str(answered), "-silent"]
        done = subprocess.run(command, cwd=jar.parent, stdin=subprocess.DEVNULL, capture_output=True)  # kills it where it is interrupted
        try:
            found = {row["image_id"]: row["scores"]["All"]["f"] for row in json.loads(answered.read_text(encoding="utf-8"))}
            values = np.array([found[i] for i in range(len(clips))], np.float64)
        except (OSError, ValueError, KeyError, TypeError):
            raise AudiojaxError(f"SPICE stopped: {_last_line(done.stderr)}") from None
    values = np.nan_to_num(values)
    return float(values.mean()), values


def require(metric: str) -> None:
    """UsageError where "meteor", "spice" or "spider" cannot be run here: before the work, and not after it."""
    if metric == "meteor":
        _file("METEOR", METEOR_JAR)
        _java("METEOR")
    else:
        _spice_jar()
        _spice_java()


def _spice_jar() -> Path:
    jar = _file("SPICE", SPICE_JAR)
    missing = [name for name in (f"{CORENLP}.jar", f"{CORENLP}-models.jar") if not (jar.parent / "lib" / name).is_file()]
    if missing:
        raise UsageError(f"SPICE needs {' and '.join(missing)} in {shown(jar.parent / 'lib')}: take them out of {CORENLP_ZIP}")
    return jar


@contextmanager
def _child(name: str, command: list[str], folder: Path) -> Iterator:
    """A function that sends a line, if it is given one, and returns the next line of the answer; the child is gone afterwards.

    `last` says that no line will follow.
    """
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, encoding="utf-8")

        def ask(line: str = "", *, last: bool = False) -> str:
            try:
                if line:
                    process.stdin.write(line + "\n")
                    process.stdin.flush()
                if last:  # so that a program with nothing more to say stops
                    process.stdin.close()
                answer = process.stdout.readline()
            except (BrokenPipeError, UnicodeDecodeError):
                answer = ""
            if not answer:
                raise AudiojaxError(f"{name} stopped: {_complaint(process, complaints)}")
            return answer.strip()

        try:
            yield ask
        except ValueError as error:
            raise AudiojaxError(f"{name} answered what is no number: {error}") from error
        finally:
            process.kill()
            with suppress(OSError):  # what could not be written any more
                process.stdin.close()
            process.stdout.close()
            process.wait()


def _complaint(process: subprocess.Popen, complaints: IO[bytes]) -> str:
    process.kill()
    process.wait()
    complaints.seek(0)
    return _last_line(complaints.read())


def _last_line(complaints: bytes) -> str:
    lines = complaints.decode("utf-8", "replace").split("\n")
    said = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("at ")]
    return said[-1][:300] if said else "it gave no reason"


def _file(name: str, path: str) -> Path:
    """A file of pycocoevalcap, which is looked for and not imported: its SPICE downloads when it is made."""
    spec = find_spec("pycocoevalcap")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    if not folders:
        raise UsageError(f"{name} is run through pycocoevalcap: pip install 'audiojax[eval]', or leave it out of --metrics")
    file = Path(folders[0]) / path
    if not file.is_file():
        raise UsageError(f"{name}: {shown(file)} is missing; pip install --force-reinstall pycocoevalcap")
    return file


def _java(name: str) -> str:
    path = shutil.which("java")
    if path is None:
        raise UsageError(f"{name} runs on Java, and none is on PATH: install it (Debian: default-jre-headless), or leave {name} out")
    return path


def _spice_java() -> str:
    path = _java("SPICE")
    version = _version(path)
    if version and version not in SPICE_JAVA:
        first, last = SPICE_JAVA[0], SPICE_JAVA[-1]
        raise UsageError(f"SPICE runs on Java {first} to {last}, and {shown(path)} is Java {version}: put an older one first on PATH")
    return path


def _version(java: str) -> int:
    """8 for "1.8.0_392", 17 for "17.0.9"; 0 where it cannot be told."""
    told = subprocess.run([java, "-version"], stdin=subprocess.DEVNULL, capture_output=True, text=True).stderr
    found = re.search(r'version "(?:1\.)?(\d+)', told)
    return int(found.group(1)) if found else 0
