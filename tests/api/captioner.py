"""A captioner without weights, for the tests of everything around one."""

import numpy as np

from audiojax.api.describing.captioning import Captioner, Described, sound_digest
from audiojax.audio import io, lengths
from audiojax.audio.pool import Window
from audiojax.audio.reasons import AudioFileError
from audiojax.data.transforms import to_float

RATE = 1000
WORDS = ("dog", "bell", "rain", "wind", "door", "bird", "engine", "voice")


class Parrot(Captioner):
    """Says how loud a window is, and a word for its seed; notes the shapes that it is called with, and may break at a call."""

    model_id, parameters = "parrot", 8

    def __init__(self, samples=RATE, devices=1, break_at=None, **config):
        super().__init__(RATE, samples, "zero", devices, "runs/parrot")
        self.defaults = {"steps": 10, "guidance": 1.0}
        self.config, self.card = config, {"task": "dac/diffusion", "step": 7, "choice": "ema"}
        self.shapes, self.chosen, self.break_at = [], [], break_at

    def example(self, sound):
        return {"waveform": lengths.fit(sound, self.samples, short=self.padding)}

    def caption_batch(self, batch, seeds, options):
        waveforms = batch["waveform"]
        self.shapes.append(waveforms.shape)
        self.chosen.append(dict(options))
        if len(self.shapes) == self.break_at:
            raise RuntimeError("killed")
        texts = [f"level {np.abs(row).max():.1f} {WORDS[seed % 8]}" for row, seed in zip(waveforms, seeds, strict=True)]
        return [Described(text, 0.5, len(text.split())) for text in texts]


class Listener(Parrot):
    """Knows the clips of a source by their sound, and says of the i-th one what `say(record, i, seed)` gives."""

    def __init__(self, source, say, **config):
        super().__init__(**config)
        self.sample_rate, self.samples = 16_000, 61_440
        self.records = {sound_digest(to_float(source[i]["audio"])): (source[i], i) for i in range(len(source))}
        self.say = say

    def caption_batch(self, batch, seeds, options):
        self.shapes.append(batch["waveform"].shape)
        found = [self.records[sound_digest(row)] for row in batch["waveform"]]
        texts = [self.say(record, i, int(seed)) for (record, i), seed in zip(found, seeds, strict=True)]
        return [Described(text, 0.5, len(text.split())) for text in texts]


def windows_here(paths, options, *, seconds, short, **_):
    """What `window_files` gives, without child processes, which take a second to start."""
    samples = round(seconds * options.sample_rate)
    for path in paths:
        try:
            blocks = list(io.stream(path, options))
        except AudioFileError as error:
            yield path, error.bad
            continue
        heard = sum(map(len, blocks))
        for first, window in lengths.slide(blocks, samples, samples, short=short):
            yield path, Window(window, first / options.sample_rate, min(samples, heard - first) / options.sample_rate)
        yield path, None
