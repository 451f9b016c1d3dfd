"""The form of a model that finds sounds: a description, a sound or both become a table of places with players."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from audiojax.api.finding.search import Searcher
from audiojax.audio.io import DecodeOptions, decode
from audiojax.files import shown
from audiojax.index.search import Hit, Index
from audiojax.page.fields import answered, dropped_sound, given, number, whole
from audiojax.report.pictures import spectrogram_png
from audiojax.report.players import audio_uri, data_uri
from audiojax.report.results import PREVIEW_SECONDS, shorten

MOST_HITS = 50
HEAD = Markup("<tr><th>#</th><th>score</th><th>file</th><th>sound</th><th>spectrogram</th></tr>")
ROW = Markup(
    "<tr><td>{rank}</td><td>{score:.3f}</td><td>{name}<br><small>{start:.1f} to {end:.1f} s</small></td>"
    '<td><audio controls preload="metadata" src="{sound}" aria-label="{name}"></audio></td>'
    '<td><img src="{picture}" alt="spectrogram of {name}"></td></tr>'
)


class Found(NamedTuple):
    """What was found: a table as HTML that needs no other file, and a line about it."""

    table: str
    said: str


def find_sounds(
    searcher: Searcher, index: Index, folder: Path, query: str, audio: str | os.PathLike | None, weight: float, k: int
) -> Found:
    """The sounds that `audiojax search` finds for the same values.

    Args:
      index: that the searcher searches in.
      folder: the page's own.
      query: a description, "" for none.
      audio: a sound that the results should be like, a file below `folder`.
      weight: of the description beside the sound, in [0, 1].
      k: results, up to MOST_HITS.

    Raises:
      UsageError: nothing to look for, or a value that makes no sense.
      AudioFileError: a sound cannot be read.
    """
    like = None if audio is None else given(folder, audio)
    hits = searcher.search((query or "").strip() or None, whole("results", k, 1, MOST_HITS), audio=like, weight=number("weight", weight))
    return Found(hit_table(hits, index.root), f"The best {len(hits)} of {len(index)} files below {shown(index.root)}")


def hit_table(hits: Sequence[Hit], root: Path) -> str:
    """The hits as an HTML table with players and spectrograms inside, each of up to PREVIEW_SECONDS from where the best window begins.

    Raises:
      AudioFileError: a file that was searched can no longer be read.
    """
    rows = Markup("")
    for rank, hit in enumerate(hits, 1):
        clip = decode(hit.path, DecodeOptions(start=hit.start, seconds=PREVIEW_SECONDS))
        rows += ROW.format(
            rank=rank,
            score=hit.score,
            name=shorten(hit.path, root),
            start=hit.start,
            end=hit.end,
            sound=audio_uri(clip.samples, clip.sample_rate),
            picture=data_uri(spectrogram_png(clip.samples, clip.sample_rate), "image/png"),
        )
    return str(Markup('<table class="hits"><thead>{}</thead><tbody>{}</tbody></table>').format(HEAD, rows))


def lay_out(gr: Any, searcher: Searcher, index: Index, folder: Path) -> None:
    """Adds the form to a page of gradio."""
    query = gr.Textbox(label="Description", placeholder="a dog barks while rain falls", autofocus=True)
    with gr.Accordion("Like a sound that there is", open=False), gr.Row():
        audio = dropped_sound(gr, "Like this sound")
        weight = gr.Slider(0, 1, 0.5, step=0.05, label="Weight of the description", info="beside the sound")
    k = gr.Slider(1, MOST_HITS, 10, step=1, label="Results")
    button = gr.Button("Find", variant="primary")
    said = gr.Textbox(label="What was found", interactive=False, elem_id="said")
    table = gr.HTML(elem_id="hits")
    work = answered(partial(find_sounds, searcher, index, folder), ("",), folder)
    gr.on([button.click, query.submit], work, [query, audio, weight, k], [table, said], api_name="search")
