"""The page in a real Chromium without a screen: a prompt is typed, the button pressed, and the sound and its picture appear.

Runs where Chromium, its driver and selenium are installed.
"""

import json
import shutil
from urllib.parse import urlparse

import pytest

pytestmark = pytest.mark.slow
HEARD = """
const [address, done] = arguments;
fetch(address).then(answer => answer.arrayBuffer()).then(bytes => new AudioContext().decodeAudioData(bytes))
  .then(sound => done([Math.round(1000 * sound.duration) / 1000, sound.numberOfChannels]), error => done(String(error)));
"""  # seconds and channels of a sound file, by the browser's own decoder
WAIT = 300  # seconds, of which a busy machine compiles most


@pytest.fixture
def chromium(tmp_path):
    webdriver = pytest.importorskip("selenium.webdriver")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("Chromium or chromedriver is missing")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    words = "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update disable-sync"
    for word in (*words.split(), "window-size=1400,1000", f"user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()


def requested(browser):
    """The addresses that the browser has asked for."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"]


def test_a_prompt_becomes_a_sound_in_the_browser(chromium, address):
    from selenium.webdriver.support.ui import WebDriverWait

    def wait(css, whole=bool):
        """The first element of a kind, once it is there and as it should be."""
        found = WebDriverWait(chromium, WAIT).until(lambda _: [one for one in chromium.find_elements("css selector", css) if whole(one)])
        return found[0]

    def said():
        return chromium.find_element("css selector", "#said textarea").get_attribute("value")

    chromium.get(address)
    prompt, button = wait("textarea[placeholder='rain on a roof']"), wait("button.primary")
    button.click()
    WebDriverWait(chromium, WAIT).until(lambda _: said())
    assert said() == "a prompt is empty: say what is to be heard, such as 'rain on a roof'"
    assert not chromium.find_elements("css selector", "#picture img")
    prompt.send_keys("a bell")
    wait("textarea[placeholder='10']").send_keys("0.5")
    steps = wait("input[aria-label='number input for Steps']")
    steps.clear()
    steps.send_keys("2\t")
    button.click()
    picture = wait("#picture img", lambda image: image.get_property("naturalWidth"))
    assert (picture.get_property("naturalWidth"), picture.get_property("naturalHeight")) == (800, 128)
    wait("#sound audio")
    wait("#sound #duration", lambda time: time.text == "0:01")  # of the player, in whole seconds
    assert chromium.execute_async_script(HEARD, wait("#sound a[download]").get_property("href")) == [0.5, 1]
    assert said() == "0.5 s at 16000 Hz; the picture goes from 40 Hz up to 8 kHz (mel scale)"
    assert {urlparse(url).hostname for url in requested(chromium) if url.startswith(("http", "ws"))} == {"127.0.0.1"}
    assert not [entry for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"]
