"""The page as it is served: asked through gradio_client and plain HTTP, and what of the machine it does not give away."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiojax.errors import UsageError
from audiojax.page import serving
from audiojax.page.serving import import_gradio, is_loopback, served
from tests.api.captioner import RATE, Parrot
from tests.api.test_mteb_encoder import TONES, ToneFinder, tone
from tests.index.sounds import write

PROGRAM = """
import signal, sys
from audiojax.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background processes ignore Ctrl-C
sys.exit(main(sys.argv[1:]))
"""
VALUES = ["rain on a roof", "", "0.06", 2, 3.5, "ddim", 3, 1, None, 0.5]  # of the form that makes sounds


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "localhost"])
def test_addresses_of_this_machine_alone_are_known(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.3", "example.org", ""])
def test_other_addresses_are_open_to_the_network(host):
    assert not is_loopback(host)


def test_a_missing_gradio_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UsageError, match=r"^gradio cannot be imported \(gradio is missing\): pip install 'audiojax\[page\]'$"):
        import_gradio()
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"


def test_variables_of_gradio_are_put_aside_and_come_back(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_ALLOWED_PATHS", "/")
    monkeypatch.setenv("GRADIO_SHARE", "True")
    monkeypatch.setenv("no_proxy", "example.org")
    for name in ("GRADIO_TEMP_DIR", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving._own_variables(str(tmp_path), "127.0.0.1"):
        assert not {"GRADIO_ALLOWED_PATHS", "GRADIO_SHARE"} & os.environ.keys()
        assert os.environ["GRADIO_TEMP_DIR"] == str(tmp_path)
        assert (os.environ["no_proxy"], os.environ["NO_PROXY"]) == ("example.org,127.0.0.1,localhost", "127.0.0.1,localhost")
    assert [os.environ[name] for name in ("GRADIO_ALLOWED_PATHS", "GRADIO_SHARE", "no_proxy")] == ["/", "True", "example.org"]
    assert not {"GRADIO_TEMP_DIR", "NO_PROXY"} & os.environ.keys()


def test_the_network_is_warned_of(monkeypatch, capsys):
    class Silent:
        source = "runs/m"

    def interrupted(*_, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(serving, "served", interrupted)
    monkeypatch.setattr(serving.os, "_exit", lambda code: None)
    before = signal.getsignal(signal.SIGTERM)
    try:
        for host in ("127.0.0.1", "0.0.0.0"):
            serving.serve(Silent(), host=host, port=7860, browser=False)
    finally:
        signal.signal(signal.SIGTERM, before)
    said = capsys.readouterr()
    assert said.err == "--host 0.0.0.0: anybody who reaches this machine over the network can use the page\n"
    assert said.out == "\nThe page has ended.\n" * 2


def client(address):
    return pytest.importorskip("gradio_client").Client(address, verbose=False)


def get(url):
    """(status, body) of a request."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, b""


def ask(address, values):
    """The event that ends a call of the form, and its data."""
    body = json.dumps({"data": values}).encode()
    request = urllib.request.Request(f"{address}gradio_api/call/generate", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{address}gradio_api/call/generate/{event}", timeout=300) as answer:
        lines = [line for line in answer.read().decode().splitlines() if line and "heartbeat" not in line and line != "data: null"]
    return lines[-2].removeprefix("event: "), json.loads(lines[-1].removeprefix("data: "))


@pytest.mark.slow
def test_a_prompt_becomes_the_sound_of_the_same_seed(address, maker):
    sound, picture, said = client(address).predict(*VALUES, api_name="/generate")
    made, rate = soundfile.read(sound)
    (wanted,) = maker.generate("rain on a roof", seconds=0.06, steps=2, seed=3)
    assert rate == 16_000
    np.testing.assert_allclose(made, wanted.waveform, atol=1 / 32_000)
    assert Path(picture).suffix == ".png"
    assert said == "0.06 s at 16000 Hz; the picture goes from 40 Hz up to 8 kHz (mel scale)"


@pytest.mark.slow
def test_a_sound_that_is_dropped_is_heard(address, tmp_path):
    handle_file = pytest.importorskip("gradio_client").handle_file
    write(tmp_path / "quiet.wav", 0.0)
    soundfile.write(tmp_path / "tone.wav", tone(300.0, 16_000, 0.12)["array"], 16_000)
    asked = client(address)
    sound, _, _ = asked.predict(*VALUES[:2], "", *VALUES[3:8], handle_file(str(tmp_path / "tone.wav")), 0.5, api_name="/generate")
    assert soundfile.info(sound).frames == 1_920
    *nothing, said = asked.predict(*VALUES[:8], handle_file(str(tmp_path / "quiet.wav")), 0.5, api_name="/generate")
    assert (nothing, said) == ([None, None], "quiet.wav: is silent: nothing can be started from it")


@pytest.mark.slow
def test_misuse_is_a_line_in_the_page(address):
    assert ask(address, ["", *VALUES[1:]]) == (
        "complete",
        [None, None, "a prompt is empty: say what is to be heard, such as 'rain on a roof'"],
    )


@pytest.mark.slow
def test_a_path_from_the_browser_opens_nothing(address, pipeline, tmp_path):
    soundfile.write(tmp_path / "secret.wav", tone(300.0, 16_000, 0.1)["array"], 16_000)
    for path in (f"{tmp_path}/secret.wav", "/etc/passwd", f"{pipeline}/model_index.json", "setup.py"):
        assert get(f"{address}gradio_api/file={path}")[0] == 403
        event, said = ask(address, [*VALUES[:8], {"path": path, "meta": {"_type": "gradio.FileData"}}, 0.5])
        assert (event, said) == ("error", {"error": None})


@pytest.mark.slow
def test_the_page_loads_nothing_from_elsewhere(address):
    status, body = get(address)
    assert status == 200
    loaded = re.findall(rb'<(?:script|link|img|iframe)[^>]*?(?:src|href)="([^"]*)"', body)
    assert loaded
    assert not [place for place in loaded if place.startswith((b"http", b"//"))]
    config = json.loads(get(f"{address}config")[1])
    assert not config.get("analytics_enabled")
    assert not config.get("share_url")
    buttons = [part["props"].get("buttons") for part in config["components"] if part["type"] == "audio"]
    assert buttons == [["download"], ["download"]]  # none that publishes a sound


@pytest.mark.slow
def test_captions_and_hits_are_served_where_the_network_has_a_proxy(port, tmp_path, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody listens
    handle_file = pytest.importorskip("gradio_client").handle_file
    pytest.importorskip("gradio")
    write(tmp_path / "a.wav", 0.2, 2 * RATE)
    with served(Parrot(), port=port) as address:
        table, said = client(address).predict(handle_file(str(tmp_path / "a.wav")), 1, 0, 10, 1.0, api_name="/caption")
    assert table["headers"] == ["from s", "to s", "candidate", "caption", "confidence"]
    assert [row[:2] for row in table["data"]] == [[0, 1], [1, 2]]
    assert said == "a.wav: 2 windows of up to 1 s"
    for name, hertz in TONES.items():
        (tmp_path / "tones").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "tones" / f"{name}.wav", tone(hertz, 8_000, 0.5)["array"], 8_000)
    finder = ToneFinder()
    index = finder.index(tmp_path / "tones", tmp_path / "tones.index")
    with served(finder, index, port=port) as address:
        table, said = client(address).predict("high tone", None, 0.5, 1, api_name="/search")
        like, _ = client(address).predict("", handle_file(str(tmp_path / "tones" / "low tone.wav")), 0.5, 1, api_name="/search")
    assert "high tone.wav" in table
    assert "low tone.wav" in like
    assert table.count("<audio") == like.count("<audio") == 1


@pytest.mark.slow
def test_a_port_that_is_taken_is_named(maker):
    pytest.importorskip("gradio")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"^127.0.0.1:{port} cannot be listened on"), served(maker, port=port):
            pass


@pytest.mark.slow
def test_ctrl_c_ends_the_command_and_leaves_nothing(pipeline, port, tmp_path):
    pytest.importorskip("gradio")
    words = [sys.executable, "-c", PROGRAM, "page", "--model", str(pipeline), "--port", str(port), "--no-browser", "--quiet"]
    environment = os.environ | {"TMPDIR": str(tmp_path), "AUDIOJAX_CACHE": str(tmp_path / "cache")}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as page:
        try:
            assert page.stdout.readline() == f"http://127.0.0.1:{port}/ shows {pipeline}; Ctrl-C ends it\n"
            assert len(list(tmp_path.glob("audiojax-page-*"))) == 1
            page.send_signal(signal.SIGINT)
            out, err = page.communicate(timeout=120)
        finally:
            page.kill()
    assert (page.returncode, out, err) == (0, "\nThe page has ended.\n", "")
    assert not list(tmp_path.glob("audiojax-page-*"))
