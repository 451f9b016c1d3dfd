"""DAC: captions of sounds by diffusion in the hidden space of BERT (arXiv 2409.09401)."""

from audiojax.papers.dac.captions import sentences
from audiojax.papers.dac.inference import write
from audiojax.papers.dac.settings import PHASES, Sampling, Settings, make_settings
from audiojax.papers.dac.task import PAPER, make_task

__all__ = ["PAPER", "PHASES", "Sampling", "Settings", "make_settings", "make_task", "sentences", "write"]
