"""Diffusion-Link: CLAP embeddings of sounds bridged to those of texts by diffusion, and captions from them (arXiv 2510.11330)."""

from audiojax.papers.diffusion_link.bridging import bridge_embeddings
from audiojax.papers.diffusion_link.embeddings import audio_embeddings, text_embeddings
from audiojax.papers.diffusion_link.settings import FORMS, PHASES, TRAINED, Settings, make_settings
from audiojax.papers.diffusion_link.task import PAPER, make_task
from audiojax.papers.diffusion_link.writer import Writer, make_writer, write

__all__ = [
    "FORMS",
    "PAPER",
    "PHASES",
    "TRAINED",
    "Settings",
    "Writer",
    "audio_embeddings",
    "bridge_embeddings",
    "make_settings",
    "make_task",
    "make_writer",
    "text_embeddings",
    "write",
]
