"""The form that finds, as a function: a table that plays by itself, in which names are text and never markup."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiojax.errors import UsageError
from audiojax.index.search import Hit
from audiojax.page.finding import find_sounds, hit_table

NAMES = ("low & <script>alert(1)<", "middle", 'high" onerror="x')
RATE = 8_000


class Finder:
    """Gives the files of a folder in the order of their names, and notes what it was asked."""

    def __init__(self, root):
        self.root, self.asked = root, []

    def __len__(self):
        return 3

    def search(self, query, k, *, audio, weight):
        self.asked.append((query, k, audio, weight))
        if query is None and audio is None:
            raise UsageError("nothing to look for: give a description, a sound file, or both")
        return [Hit(path, 0.5, 1.5, 0.875, 0.75) for path in sorted(self.root.rglob("*.wav"))][:k]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    for i, name in enumerate(NAMES):
        tone = 0.5 * np.sin(2 * np.pi * 500 * (i + 1) * np.arange(2 * RATE) / RATE)
        path = Path(folder, *(["deep"] if i == 1 else []), f"{name}.wav".replace("/", ""))
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, tone, RATE)
    return folder


def test_the_table_holds_names_places_players_and_pictures(root):
    finder = Finder(root)
    found = find_sounds(finder, finder, root, " rain ", None, 0.5, 2)
    assert finder.asked == [("rain", 2, None, 0.5)]
    assert found.said == f"The best 2 of 3 files below {root}"
    assert found.table.count("<audio ") == found.table.count("<img ") == found.table.count("0.875") == 2
    assert "deep/middle.wav<br><small>0.5 to 1.5 s</small>" in found.table
    sources = re.findall(r'src="([^"]*)"', found.table)
    assert {source.split(",")[0] for source in sources} == {"data:audio/flac;base64", "data:image/png;base64"}
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(sources[0].split(",")[1])))
    assert (len(samples), rate) == (12_000, RATE)  # from the start of the best window to the end


def test_names_of_files_are_text(root):
    table = hit_table([Hit(path, 0.0, 1.0, 0.5, 0.5) for path in root.rglob("*.wav")], root)
    assert "<script" not in table
    assert "low &amp; &lt;script&gt;alert(1)&lt;.wav" in table
    assert 'onerror="' not in table


def test_a_sound_is_handed_on_and_an_empty_description_is_none(root):
    finder, sound = Finder(root), next(root.glob("high*"))
    find_sounds(finder, finder, root, "", sound, 0.25, 1.0)
    assert finder.asked == [(None, 1, sound.resolve(), 0.25)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((" ", None, 0.5, 3), "nothing to look for"),
        (("rain", "/etc/passwd", 0.5, 3), "was not dropped on this page"),
        (("rain", None, 0.5, 51), "results is 51; a whole number from 1 to 50"),
        (("rain", None, None, 3), "weight is empty; a number is needed"),
    ],
)
def test_misuse_is_named(root, values, message):
    finder = Finder(root)
    with pytest.raises(UsageError, match=message):
        find_sounds(finder, finder, root, *values)
