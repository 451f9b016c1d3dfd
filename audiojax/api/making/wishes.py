"""What is asked of a maker and what it gives: wishes, the plan by which they are made, and sounds."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from audiojax.audio.writing import write_sound
from audiojax.papers.re_audioldm.clips import Reference
from audiojax.papers.re_audioldm.settings import Sampling

SECONDS = 10.0  # of a sound, where its maker was trained on no other length
EDIT_STRENGTH = 0.5  # where nothing else is said, and the whole reference is made anew


@dataclass(frozen=True)
class Wish:
    """One sound to make.

    Attributes:
      prompt: what is to be heard.
      negative: what is not.
      seed: decides all that is drawn, together with the prompt.
      clip: id of the clip whose caption the prompt is, which is not retrieved for it; "" = of none.
    """

    prompt: str
    negative: str = ""
    seed: int = 0
    clip: str = ""


@dataclass(frozen=True)
class Plan:
    """How sounds are made.

    Attributes:
      guidance: w of null + w (cond - null).
      seconds: length of a sound that has no reference.
      candidates: sounds made for each wish, of which the best is kept.
    """

    sampling: Sampling = Sampling()
    guidance: float = 3.5
    seconds: float = SECONDS
    candidates: int = 1


@dataclass(frozen=True, eq=False)
class Made:
    """A sound that was made.

    Attributes:
      waveform: [n] in [-1, 1].
      candidate: which one of a wish's candidates it is, from 0.
      score: its cosine with the prompt, by the CLAP that ranks; None where there was nothing to rank.
    """

    wish: Wish
    waveform: Float[np.ndarray, " n"]
    sample_rate: int
    candidate: int = 0
    score: float | None = None

    def save(self, path: str | os.PathLike) -> Path:
        """Writes a .wav or .flac of 16 bits, whole or not at all, and returns its path."""
        return write_sound(path, self.waveform, self.sample_rate)


def make_plan(
    reference: Reference | None = None,
    sampler: str = Sampling.sampler,
    steps: int = Sampling.steps,
    eta: float = Sampling.eta,
    strength: float | None = None,
    guidance: float = Plan.guidance,
    seconds: float = SECONDS,
    candidates: int = 1,
) -> Plan:
    """The plan of these options, see `Maker.generate`; the strength that is None follows from the reference. UsageError as `Sampling`."""
    if strength is None:
        strength = EDIT_STRENGTH if reference is not None and reference.hole is None else 1.0
    return Plan(Sampling(sampler, steps, eta, strength), guidance, seconds, candidates)
