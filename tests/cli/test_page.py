"""`audiojax page` with a stand-in for the serving: which model it opens, with what, and what it refuses."""

import sys

import pytest
import soundfile

from audiojax import api
from audiojax.api.making import maker_parts
from audiojax.page import serving
from tests.api.captioner import Parrot
from tests.api.stub_maker import Hummer
from tests.api.test_mteb_encoder import TONES, ToneFinder, tone


@pytest.fixture
def served(monkeypatch):
    """What is handed to the serving."""
    calls = []
    monkeypatch.setattr(serving, "import_gradio", lambda: None)
    monkeypatch.setattr(serving, "serve", lambda *model, **where: calls.append((model, where)))
    return calls


def test_a_maker_is_opened_with_its_options(audiojax, served, monkeypatch):
    made, opened = Hummer(), []
    monkeypatch.setattr(maker_parts, "is_maker", lambda path: True)
    monkeypatch.setattr(api, "load_maker", lambda path, **options: opened.append((path, options)) or made)
    assert audiojax("page", "--model", "m", "--ranker", "clap", "--dtype", "bfloat16", "--quiet") == (0, "", "")
    assert opened == [("m", {"dtype": "bfloat16", "ranker": "clap", "progress": False})]
    assert served == [((made, None), {"host": "127.0.0.1", "port": 7860, "browser": True})]


def test_a_captioner_is_opened(audiojax, served, monkeypatch):
    parrot = Parrot()
    monkeypatch.setattr(api, "load", lambda path: parrot)
    assert audiojax("page", "--model", "m", "--host", "localhost", "--port", "8000", "--no-browser")[0] == 0
    assert served == [((parrot, None), {"host": "localhost", "port": 8000, "browser": False})]


def test_a_finder_is_opened_with_what_it_searches(audiojax, served, monkeypatch, tmp_path):
    finder = ToneFinder()
    (tmp_path / "tones").mkdir()
    for name, hertz in TONES.items():
        soundfile.write(tmp_path / "tones" / f"{name}.wav", tone(hertz, 8_000, 0.2)["array"], 8_000)
    finder.source = "tones"
    finder.index(tmp_path / "tones", tmp_path / "index")
    monkeypatch.setattr(api, "load_finder", lambda path: {"tones": finder}[path])
    assert audiojax("page", "--index", f"{tmp_path}/index")[0] == 0
    (((model, index), _),) = served
    assert (model, len(index), index.folder) == (finder, 3, tmp_path / "index")
    code, _, err = audiojax("page", "--index", f"{tmp_path}/index", "--ranker", "clap")
    assert (code, err) == (2, f"audiojax: --ranker is for models that make sounds, and {tmp_path}/index does not\n")
    assert audiojax("page", "--model", "tones", "--audio", f"{tmp_path}/tones", "--quiet")[0] == 0
    assert len(served[1][0][1]) == 3
    monkeypatch.setattr(api, "load", lambda path: finder)
    code, _, err = audiojax("page", "--model", "tones")
    assert (code, err) == (2, "audiojax: tones: finds sounds: say where, with --index INDEX or --audio DIR\n")


def test_a_model_that_does_none_of_it_is_refused(audiojax, served, monkeypatch):
    monkeypatch.setattr(api, "load", lambda path: 3)
    code, _, err = audiojax("page", "--model", "m")
    assert (code, err) == (2, "audiojax: m: holds a int, which neither makes, nor describes, nor finds sounds\n")
    assert served == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--model is missing"),
        (["--audio", "sounds"], "--model is missing"),
        (["--model", "m", "--port", "70000"], "--port: must be a whole number from 1 to 65535"),
        (["--model", "m", "--host", "::1"], "--host ::1: IPv6 addresses are not served; take 127.0.0.1 or localhost"),
        (["--model", "m", "--host", "::"], "--host ::: IPv6 addresses are not served"),
        (["--model", "m", "--host", "[::1]"], "--host [::1]: IPv6 addresses are not served"),
        (["--model", "m", "--share"], "there is no flag --share"),
        (["--model", "m", "--index", "i", "--audio", "a"], "not allowed with"),
        (["--model", "/nowhere/at/all"], "/nowhere/at/all"),
    ],
)
def test_misuse_is_named(audiojax, served, words, message):
    code, out, err = audiojax("page", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert served == []


def test_a_missing_gradio_shows_before_the_model_is_read(audiojax, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    code, _, err = audiojax("page", "--model", "/nowhere/at/all")
    assert (code, err) == (2, "audiojax: gradio cannot be imported (gradio is missing): pip install 'audiojax[page]'\n")
