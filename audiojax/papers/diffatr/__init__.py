"""DiffATR: diffusion-based generative modelling for audio-text retrieval (arXiv 2409.10025)."""

from audiojax.papers.diffatr.inference import Fusion, Scores, fuse
from audiojax.papers.diffatr.ranking import Direction
from audiojax.papers.diffatr.task import (
    PAPER,
    PHASES,
    Settings,
    choose_fusion,
    generation_curve,
    make_settings,
    make_task,
    search_all,
    search_split,
    search_text,
)

__all__ = [
    "PAPER",
    "PHASES",
    "Direction",
    "Fusion",
    "Scores",
    "Settings",
    "choose_fusion",
    "fuse",
    "generation_curve",
    "make_settings",
    "make_task",
    "search_all",
    "search_split",
    "search_text",
]
