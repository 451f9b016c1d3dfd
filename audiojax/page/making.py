"""The form of a model that makes sounds: a prompt becomes a sound and its picture."""

import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from audiojax.api.making.generating import order_of
from audiojax.api.making.maker import Maker
from audiojax.api.making.wishes import EDIT_STRENGTH, Plan, Wish
from audiojax.page.fields import answered, dropped_sound, given, number, whole
from audiojax.papers.re_audioldm.clips import MOST_SECONDS, reference_of
from audiojax.papers.re_audioldm.settings import MOST_STEPS, SAMPLERS, Sampling
from audiojax.report.pictures import spectrogram_pixels

PICTURE = {"bands": 128, "columns": 800}
MOST_CANDIDATES = 16


class Sounded(NamedTuple):
    """A sound that was made: its .wav file, its spectrogram, and a line about it."""

    sound: str
    picture: UInt8[np.ndarray, "bands columns 3"]
    said: str


def make_sound(
    maker: Maker,
    folder: Path,
    prompt: str,
    negative: str,
    seconds: str,
    steps: int,
    guidance: float,
    sampler: str,
    seed: int,
    candidates: int,
    audio: str | os.PathLike | None,
    strength: float,
) -> Sounded:
    """The sound that `audiojax generate` makes of the same values, in a .wav file of its own below `folder`.

    Args:
      folder: the page's own.
      seconds: a number as text; empty for the usual length, or that of the reference.
      audio: a reference, a file below `folder`.
      strength: how far from the reference; without one it has no meaning.

    Raises:
      UsageError: an empty prompt, or a value that makes no sense.
      AudioFileError: the reference cannot be read.
    """
    wish = Wish(prompt or "", negative or "", whole("seed", seed))
    length = number("seconds", seconds) if (seconds or "").strip() else None
    reference = None
    if audio is not None:
        reference = reference_of(maker.hear(given(folder, audio)).samples, maker.geometry, seconds=length)
    plan = maker.plan(
        reference,
        sampler=sampler,
        steps=whole("steps", steps, 1, MOST_STEPS),
        strength=None if reference is None else number("strength", strength),
        guidance=number("guidance", guidance),
        seconds=length,
        candidates=whole("candidates", candidates, 1, MOST_CANDIDATES),
    )
    (made,) = maker.make([wish], plan, reference)
    path = made.save(Path(tempfile.mkdtemp(dir=folder)) / f"{order_of(wish).name}.wav")
    rate = made.sample_rate
    said = f"{len(made.waveform) / rate:g} s at {rate} Hz; the picture goes from 40 Hz up to {rate / 2000:g} kHz (mel scale)"
    if made.score is not None:
        said += f"; candidate {made.candidate + 1} of {plan.candidates}, whose CLAP score {made.score:.3f} is the best"
    return Sounded(str(path), spectrogram_pixels(made.waveform, rate, **PICTURE), said)


def lay_out(gr: Any, maker: Maker, folder: Path) -> None:
    """Adds the form to a page of gradio."""
    ranks = maker.networks.ranker is not None
    with gr.Row():
        with gr.Column():
            prompt = gr.Textbox(label="Prompt", placeholder="rain on a roof", autofocus=True)
            negative = gr.Textbox(label="Negative prompt", placeholder="what is not to be heard")
            with gr.Row():
                about = f"up to {MOST_SECONDS:g}; empty: {maker.seconds:g}, or those of the reference"
                seconds = gr.Textbox(label="Seconds", info=about, placeholder=f"{maker.seconds:g}")
                seed = gr.Number(0, label="Seed", info="the same one makes the same sound", precision=0, minimum=0)
            with gr.Row():
                sampler = gr.Radio(list(SAMPLERS), value=Sampling.sampler, label="Sampler")
                steps = gr.Slider(1, MOST_STEPS, Sampling.steps, step=1, label="Steps", info="20 do with dpm++")
            with gr.Row():
                guidance = gr.Slider(0, 20, Plan.guidance, step=0.1, label="Guidance", info="how strongly the prompt steers")
                candidates = gr.Slider(
                    1, MOST_CANDIDATES, 1, step=1, label="Candidates", info="made, of which CLAP keeps the best", visible=ranks
                )
            with gr.Accordion("From a sound that there is", open=False):
                audio = dropped_sound(gr, "Reference")
                strength = gr.Slider(0, 1, EDIT_STRENGTH, step=0.05, label="Strength", info="how far from the reference")
            button = gr.Button("Make the sound", variant="primary")
        with gr.Column():
            sound = gr.Audio(label="Sound", interactive=False, elem_id="sound", buttons=["download"])
            picture = gr.Image(label="Spectrogram", interactive=False, format="png", elem_id="picture", buttons=["download"])
            said = gr.Textbox(label="What was made", interactive=False, elem_id="said")
    fields = [prompt, negative, seconds, steps, guidance, sampler, seed, candidates, audio, strength]
    work = answered(partial(make_sound, maker, folder), (None, None), folder)
    gr.on([button.click, prompt.submit], work, fields, [sound, picture, said], api_name="generate")
