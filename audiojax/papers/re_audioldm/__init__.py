"""Re-AudioLDM, retrieval-augmented text-to-audio (arXiv 2309.08051), and AudioLDM, which it extends (arXiv 2301.12503).

A text's CLAP embedding and, in the former, tokens of retrieved clips steer a U-Net that denoises latents of log-mel spectrograms.
"""

from audiojax.papers.re_audioldm.opening import open_tower
from audiojax.papers.re_audioldm.task import PAPER, PHASES, make_task

__all__ = ["PAPER", "PHASES", "make_task", "open_tower"]
