"""Fields of a page: what comes from them, checked, and what goes back in place of an error."""

import contextlib
import inspect
import math
import os
import re
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from audiojax.errors import AudiojaxError, UsageError

KEPT_SECONDS = 3_600.0  # that a sound of the page can be heard


def whole(name: str, value: Any, low: int = 0, high: int | None = None) -> int:
    """The whole number in a field. UsageError where it is none, or lies outside of [low, high]."""
    try:
        found = None if isinstance(value, bool | str) else int(value)
    except (TypeError, ValueError, OverflowError):
        found = None
    if found is None or found != value or not low <= found <= (found if high is None else high):
        raise UsageError(f"{name} is {_said(value)}; a whole number from {low} {f'to {high}' if high is not None else 'up'} is needed")
    return found


def number(name: str, value: Any) -> float:
    """The number in a field, which may hold it as text. UsageError where it is none."""
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise UsageError(f"{name} is {_said(value)}; a number is needed")
    return found


def _said(value: Any) -> str:
    return "empty" if value is None or value == "" else f"{value!a:.80}"


def dropped_sound(gr: Any, label: str) -> Any:
    """A field of gradio for a sound, dropped or recorded; without its button that publishes what is in it."""
    return gr.Audio(label=label, sources=["upload", "microphone"], type="filepath", editable=False, buttons=["download"])


def given(folder: Path, path: str | os.PathLike) -> Path:
    """A file that was dropped on the page, whose files all lie below `folder`. UsageError for any other path: it is not opened."""
    place = Path(path).resolve()
    if not place.is_relative_to(folder.resolve()) or not place.is_file():
        raise UsageError("the sound was not dropped on this page: choose it again")
    return place


def forget_old(folder: Path) -> None:
    """Removes files below `folder` that are older than `KEPT_SECONDS`: a page may be served for months, and each sound stays on disk."""
    until = time.time() - KEPT_SECONDS
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder before the folder itself
        with contextlib.suppress(OSError):  # a folder that is not empty, or what another request has removed
            if path.stat().st_mtime < until:
                path.rmdir() if path.is_dir() else path.unlink()


def answered(work: Callable[..., tuple[Any, ...]], nothing: tuple[Any, ...], folder: Path) -> Callable[..., tuple[Any, ...]]:
    """A function that gives what `work` gives; where that fails, `nothing` and in place of the last value what is wrong, in a line or two.

    Files below `folder` are called by their names; old ones go first. The traceback of an error that is no user's fault goes to stderr.
    """
    places = re.compile(re.escape(f"{folder}{os.sep}") + rf"(?:[^\s{re.escape(os.sep)}]+{re.escape(os.sep)})*")

    def answer(*values: Any) -> tuple[Any, ...]:
        forget_old(folder)
        try:
            return tuple(work(*values))
        except AudiojaxError as error:
            said = str(error)
        except Exception as error:
            traceback.print_exc()
            first = (str(error).splitlines() or [""])[0]
            said = f"internal error, {type(error).__name__}: {first}\nWhere audiojax page was started stands more."
        return *nothing, places.sub("", said)

    answer.__signature__ = inspect.signature(work)  # names the fields for programs that ask the page
    return answer
