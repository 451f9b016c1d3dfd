"""Narrow CLAP towers and clips for them, drawn without jax's random numbers."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from audiojax.audio.spectral import MelConfig
from audiojax.encoders.clap import Clap
from audiojax.towers.clap import ClapTower
from audiojax.towers.clap_features import ClapFrontEnd
from tests.encoders.filling import filled_variables
from tests.encoders.test_clap import NARROW, inputs_of

RATE = 8_000
MEL = MelConfig(RATE, n_fft=512, win_length=512, hop=160, n_mels=64, f_min=50, f_max=4_000)
FRONT_ENDS = {
    "plain": ClapFrontEnd(MEL, RATE),  # clips of 1 s, 51 frames
    "fused": ClapFrontEnd(replace(MEL, filter_bank="htk"), RATE, fusion=True),
}
LENGTHS = (1, 300, 3_999, 4_000, 7_999, 8_000, 8_100, 8_160, 8_320, 11_000, 20_011)


def clips(lengths=LENGTHS, seed=0):
    """Noise whose loudness and colour change slowly, so that places in a clip and clips differ."""
    random = np.random.RandomState(seed)
    made = []
    for n in lengths:
        noise = random.standard_normal(n)
        low = np.convolve(noise, np.ones(16) / 4, "same")[:n]
        mix = 0.5 + 0.5 * np.sin(np.arange(n) / RATE * random.uniform(3, 9) + random.uniform(0, 6))
        made.append((random.uniform(0.02, 0.2) * (mix * noise + (1 - mix) * low)).astype(np.float32))
    return made


def variables(name):
    """Weights of a narrow CLAP, see `decibel_variables`."""
    return decibel_variables(NARROW[name])


def decibel_variables(config):
    """Weights; the statistics of bn0 are those of decibels."""
    filled = filled_variables(Clap(config), *inputs_of(config))
    statistics = filled["batch_stats"]["audio"]["encoder"]["bn0"]
    statistics["mean"] = -20 + 10 * statistics["mean"]
    statistics["var"] = 60 * statistics["var"]
    return filled


def tower(name, **fields):
    """A `ClapTower` without a file."""
    config = NARROW[name]
    made = {"front_end": FRONT_ENDS[name], "tokenizer": None, "batch": 3} | fields
    return ClapTower(Clap(config), config, variables(name), None, Path("none"), "", **made)
