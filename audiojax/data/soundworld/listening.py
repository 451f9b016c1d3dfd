"""The listening sheet: one HTML page on which every class can be heard, seen and read, plain and with each of its attributes.

The page is self-contained (sounds as MP3, pictures as JPEG, both inline), so it can be sent or archived as it is.
"""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

import librosa
import matplotlib.image
import numpy as np
import soundfile

from audiojax.data.soundworld import classes, grammar, lexicon, render, scenes
from audiojax.data.soundworld.classes import BY_NAME, VALUES, SoundClass
from audiojax.data.soundworld.scenes import Event, Scene
from audiojax.errors import UsageError
from audiojax.files import write_whole

SECONDS = 2.8  # of a sounding example
RANGE_DB = 70.0  # shown below the loudest point of a picture
STYLE = """body{font:15px/1.4 system-ui,sans-serif;margin:2em auto;max-width:1500px;padding:0 1em;color:#222;background:#fafafa}
h2{margin:1.4em 0 .3em;font-size:1.1em}small{color:#777;font-weight:normal}.row{display:flex;flex-wrap:wrap;gap:12px}
figure{margin:0;width:230px}img{width:230px;height:96px;display:block;image-rendering:auto;border-radius:4px}
audio{width:230px;height:30px;margin-top:3px}figcaption{font-size:12px;color:#444}b{color:#000}"""


def variants(row: SoundClass) -> list[tuple[dict[str, str], int]]:
    """(attributes, count) of the examples of a class: plain, each value of each attribute alone, and twice where it is countable."""
    marked = [({attribute: value}, 1) for attribute in row.attributes for value in VALUES[attribute]]
    return [({}, 1), *marked, *([({}, 2)] if row.kind == "single" else [])]


def example(name: str, attributes: dict[str, str], count: int = 1, seed: int = 0) -> Scene:
    """A scene with a single event of a class, the attributes as given and everything else as in the splits."""
    row = BY_NAME[name]
    if row.kind == "single":
        length = row.spacing * (count - 1) + row.unit
    else:
        length = 2.0 if row.kind == "train" else {"short": 0.47, "long": 2.35}.get(attributes.get("duration"), 1.1)
    number = scenes.stable_hash(seed, "example", name)
    event = Event(name, 0.15, round(0.15 + length, 4), count, attributes, number)
    return Scene("example", 0, number, max(SECONDS, length + 0.4), (event,), ((0,),))


def spectrogram(audio: np.ndarray, sample_rate: int) -> bytes:
    """JPEG of the log-mel spectrogram of int16 audio: 64 mel bands upwards, 10 ms frames to the right."""
    mel = librosa.feature.melspectrogram(y=audio / 32768.0, sr=sample_rate, n_fft=512, hop_length=sample_rate // 100, n_mels=64)
    level = librosa.power_to_db(mel, ref=np.max, top_db=RANGE_DB)
    picture = io.BytesIO()
    matplotlib.image.imsave(picture, level[::-1], cmap="magma", vmin=-RANGE_DB, vmax=0, format="jpg", pil_kwargs={"quality": 80})
    return picture.getvalue()


def write_sheet(
    path: str | Path, domain: str = "studio", names: Sequence[str] | None = None, seed: int = 0, sample_rate: int = 16_000
) -> Path:
    """Path of the written HTML page with every variant of every class (or of `names`); the file appears whole or not at all.

    Raises: UsageError for an unknown domain or class, or a path that cannot be written.
    """
    if domain not in lexicon.DOMAINS:
        raise UsageError(f"SoundWorld domain {domain!r}: use {' or '.join(lexicon.DOMAINS)}")
    unknown = [name for name in names or () if name not in BY_NAME]
    if unknown:
        raise UsageError(f"SoundWorld class {unknown[0]!r}: use some of {', '.join(classes.names())}")
    parts = [f"<!doctype html><meta charset='utf-8'><title>SoundWorld, {domain}</title><style>{STYLE}</style>"]
    parts.append(f"<h1>SoundWorld, {domain}</h1><p>Plain sound first, then each attribute alone. Pictures: log-mel, {RANGE_DB:.0f} dB.</p>")
    for name in names or classes.names():
        row = BY_NAME[name]
        parts.append(f"<h2>{name.replace('_', ' ')} <small>{row.tier}, {row.kind}</small></h2><div class='row'>")
        parts += [_figure(example(name, attributes, count, seed), domain, sample_rate) for attributes, count in variants(row)]
        parts.append("</div>")
    return write_whole(path, "\n".join(parts) + "\n")


def _figure(scene: Scene, domain: str, sample_rate: int) -> str:
    audio = render.render(scene, domain, sample_rate)
    sound = io.BytesIO()
    soundfile.write(sound, audio, sample_rate, format="MP3", bitrate_mode="VARIABLE", compression_level=0.6)
    event = scene.events[0]
    label = ", ".join(event.attributes.values()) or ("plain" if event.count == 1 else f"{event.count} times")
    texts = "<br>".join(html.escape(text) for text in grammar.captions(scene, domain)[:2])
    picture, tone = (base64.b64encode(data).decode() for data in (spectrogram(audio, sample_rate), sound.getvalue()))
    image, player = f"data:image/jpeg;base64,{picture}", f"data:audio/mpeg;base64,{tone}"
    caption = f"<figcaption><b>{label}</b><br>{texts}</figcaption>"
    return f"<figure><img alt='{label}' src='{image}'><audio controls preload='none' src='{player}'></audio>{caption}</figure>"
