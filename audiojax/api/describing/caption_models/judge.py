"""A judge of captions: a Python function of the user's, or a language model."""

import hashlib
import importlib.util
import inspect
import math
import os
import pkgutil
import sys
from collections.abc import Callable
from numbers import Real
from pathlib import Path
from types import ModuleType

import numpy as np
from jaxtyping import Float

from audiojax.api.describing.caption_models.base import CaptionModel, Said
from audiojax.api.describing.caption_models.llama_judge import LlamaJudge
from audiojax.api.opening import DIGEST
from audiojax.errors import AudiojaxError, UsageError
from audiojax.files import shown
from audiojax.progress import counting_bar

JudgeFunction = Callable[[str, list[str]], float]


class FunctionJudge(CaptionModel):
    """ "judge", what a function says: (caption, references of the clip) -> a number from 0 to 1."""

    def __init__(self, function: JudgeFunction, name: str = ""):
        """`name` is for people; the digest on the card is that of the file which holds the function."""
        self._function, self._name = function, name or getattr(function, "__name__", type(function).__name__)
        self.card = {"judge": f"{self._name} {_source_digest(function)}"}

    def measure(self, said: Said, progress: bool = True) -> dict[str, Float[np.ndarray, " clips"]]:
        """The judgement of each clip; one after the other, since nothing is known of the function.

        Raises:
          AudiojaxError: it fails, or says something else.
        """
        written, values = said.written(), np.zeros(len(said.captions))
        with counting_bar("clips", progress) as bar:
            task = bar.add_task("judge", total=len(written))
            for i in written:
                values[i] = self._ask(said.ids[i], said.captions[i], list(said.references[i]))
                bar.advance(task)
        return {"judge": values}

    def _ask(self, clip: str, caption: str, references: list[str]) -> float:
        try:
            value = self._function(caption, references)
        except Exception as error:
            raise AudiojaxError(f"{self._name}: failed at {shown(clip)} ({_said(error)})") from error
        if not isinstance(value, Real) or not math.isfinite(value) or not 0 <= value <= 1:
            raise AudiojaxError(f"{self._name}: said {value!r:.80} of {shown(clip)}, and a number from 0 to 1 is needed")
        return float(value)


def open_judge(spec: str, progress: bool = True) -> CaptionModel:
    """The judge that a word of the command line names.

    Args:
      spec: "FILE.py:FUNCTION" or "package.module:FUNCTION", which is imported and so runs; else a LLaMA, a folder or a name in the hub
        cache.

    Raises:
      UsageError: there is none, or what is named is no function.
    """
    place, colon, name = spec.rpartition(":")
    if not colon or Path(spec).expanduser().exists():
        return LlamaJudge(spec, progress=progress)
    try:
        function = getattr(_module(Path(place).expanduser()), name) if place.endswith(".py") else pkgutil.resolve_name(spec)
    except Exception as error:  # whatever the user's own code raises
        raise UsageError(
            f"{shown(spec)}: cannot be imported ({_said(error)}); a judge is FILE.py:FUNCTION or package.module:FUNCTION"
        ) from error
    if not callable(function):
        raise UsageError(f"{shown(spec)}: is no function of a caption and a list of references")
    return FunctionJudge(function, shown(spec))


def _module(path: Path) -> ModuleType:
    """The module in a file, which need not lie where Python looks."""
    spec = importlib.util.spec_from_file_location(f"judge of {path.stem}", os.path.abspath(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look
    spec.loader.exec_module(module)
    return module


def _said(error: Exception) -> str:
    """An error of other people's code, on one line."""
    first, *_ = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {first}"


def _source_digest(function: JudgeFunction) -> str:
    """Of the file that holds a function; "" where there is none."""
    try:
        return hashlib.sha256(Path(inspect.getfile(inspect.unwrap(function))).read_bytes()).hexdigest()[:DIGEST]
    except (TypeError, OSError):
        return ""
