"""The form of a model that describes: a sound is dropped and its captions stand in a table."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from audiojax.api.describing.captioning import Captioner
from audiojax.errors import UsageError
from audiojax.page.fields import answered, dropped_sound, given, number, whole

COLUMNS = ("from s", "to s", "candidate", "caption", "confidence")
MOST_CANDIDATES = 16


class Captioned(NamedTuple):
    """Captions of a sound: rows of COLUMNS, and a line about them."""

    rows: list[tuple[float, float, int, str, float]]
    said: str


def describe_sound(
    captioner: Captioner, folder: Path, audio: str | os.PathLike | None, candidates: int, seed: int, *values: Any
) -> Captioned:
    """The captions that `audiojax caption` gives for the same values.

    Args:
      folder: the page's own.
      audio: the sound, a file below `folder`.
      values: of the options of `captioner.defaults`, in their order; what is left as it is counts as not chosen.

    Raises:
      UsageError: no sound, or a value that makes no sense.
      AudioFileError: the sound cannot be used.
    """
    if audio is None:
        raise UsageError("nothing to describe: drop a sound first")
    path, candidates = given(folder, audio), whole("candidates", candidates, 1, MOST_CANDIDATES)
    options = chosen(captioner, values)
    found = captioner.caption([path], candidates=candidates, seed=whole("seed", seed), **options)
    rows = [(round(one.start, 1), round(one.end, 1), one.candidate + 1, one.text, round(one.confidence, 3)) for one in found]
    windows = len({one.start for one in found})
    return Captioned(rows, f"{path.name}: {windows} {'window' if windows == 1 else 'windows'} of up to {captioner.seconds:g} s")


def chosen(captioner: Captioner, values: Sequence[Any]) -> dict[str, Any]:
    """The options whose values are not the model's own. UsageError for a value of another kind."""
    found = {}
    for (name, own), value in zip(captioner.defaults.items(), values, strict=True):
        if isinstance(own, int) and not isinstance(own, bool):
            value = whole(name.replace("_", "-"), value)
        elif isinstance(own, float):
            value = number(name.replace("_", "-"), value)
        if value != own:
            found[name] = value
    return found


def lay_out(gr: Any, captioner: Captioner, folder: Path) -> None:
    """Adds the form to a page of gradio."""
    with gr.Row():
        with gr.Column(scale=2):
            audio = dropped_sound(gr, "Sound")
            with gr.Row():
                candidates = gr.Slider(1, MOST_CANDIDATES, 1, step=1, label="Candidates", info="captions of each window")
                seed = gr.Number(0, label="Seed", info="the same one draws the same", precision=0, minimum=0)
            with gr.Accordion("How the model writes", open=False):
                options = [_field(gr, name, value) for name, value in captioner.defaults.items()]
            button = gr.Button("Describe the sound", variant="primary")
        with gr.Column(scale=3):
            table = gr.Dataframe(
                headers=list(COLUMNS),
                datatype=["number", "number", "number", "str", "number"],
                label="Captions",
                interactive=False,
                wrap=True,
                column_widths=["11%", "11%", "14%", "48%", "16%"],
                elem_id="captions",
            )
            said = gr.Textbox(label="What was heard", interactive=False, elem_id="said")
    work = answered(partial(describe_sound, captioner, folder), ([],), folder)
    button.click(work, [audio, candidates, seed, *options], [table, said], api_name="caption")


def _field(gr: Any, name: str, value: Any) -> Any:
    label = name.replace("_", " ").capitalize()
    if isinstance(value, bool):
        return gr.Checkbox(value, label=label)
    if isinstance(value, int | float):
        return gr.Number(value, label=label, precision=0 if isinstance(value, int) else None)
    return gr.Textbox(value, label=label)
