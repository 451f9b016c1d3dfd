"""The listening sheet holds a player, a picture and captions for every variant of every class."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiojax.data.soundworld import listening
from audiojax.data.soundworld.classes import BY_NAME
from audiojax.errors import UsageError


def test_sheet_has_every_variant_and_needs_no_other_file(tmp_path):
    page = listening.write_sheet(tmp_path / "new" / "sheet.html", domain="field", names=["siren", "dog_bark"]).read_text()
    expected = sum(len(listening.variants(BY_NAME[name])) for name in ("siren", "dog_bark"))
    assert expected == 7 + 6
    assert page.count("<audio") == page.count("<img") == page.count("<figcaption>") == expected
    assert not re.search(r"(src|href)='(?!data:)", page)
    audio, rate = soundfile.read(io.BytesIO(base64.b64decode(re.search(r"audio/mpeg;base64,([^']+)", page)[1])))
    assert rate == 16_000
    assert np.abs(audio).max() > 0.2
    assert "a dog barks" in page or "a hound barks" in page


def test_a_full_disk_leaves_the_page_that_was_there(tmp_path, monkeypatch):
    (tmp_path / "sheet.html").write_text("the last one")

    def full(self, content):
        with self.open("wb") as file:
            file.write(content[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UsageError, match="sheet.html: cannot be written .No space left"):
        listening.write_sheet(tmp_path / "sheet.html", names=["rain"])
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("sheet.html", "the last one")]


def test_unknown_names_and_paths_are_named(tmp_path):
    with pytest.raises(UsageError, match="siron"):
        listening.write_sheet(tmp_path / "a.html", names=["siron"])
    with pytest.raises(UsageError, match="domain"):
        listening.write_sheet(tmp_path / "a.html", domain="moon")
    with pytest.raises(UsageError, match="cannot be written"):
        listening.write_sheet(tmp_path, names=["siren"])
