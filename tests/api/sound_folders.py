"""Folders of short sounds, and a small tagger in its public layout, for what measures generated sound."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from audiojax.audio.spectral import SOUNDWORLD_16K
from audiojax.encoders.panns import PRESETS, Panns
from audiojax.pretrained.publish import publish_tower
from audiojax.towers.panns import PannsTower
from tests.encoders.filling import filled_variables, mel_batch

RATE, SECONDS, CLASSES = 16_000, 0.8, 52
CONFIG = replace(PRESETS["cnn14"]["tiny"], channels=(4, 4, 6, 8), head=True, classes=CLASSES)


def tagger_folder(folder):
    """A CNN14 with its tags, of 8 features."""
    module = Panns(CONFIG)
    variables = filled_variables(module, mel_batch(1, 80))
    publish_tower(PannsTower(module, CONFIG, variables, None, Path("here"), "digest", mel=SOUNDWORLD_16K), "panns", folder)
    return folder


def sound_folder(folder, count, noise=0.0, seed=0, rate=RATE):
    """Tones of different pitches, clip0.wav and on, under noise."""
    folder.mkdir(parents=True)
    time = np.arange(int(SECONDS * rate)) / rate
    rng = np.random.default_rng(seed)
    for i in range(count):
        tone = 0.3 * np.sin(2 * np.pi * (200 + 130 * i) * time) * np.exp(-(i % 4) * time)
        soundfile.write(folder / f"clip{i}.wav", tone + noise * rng.normal(size=len(time)), rate)
    return folder
