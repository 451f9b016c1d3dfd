"""Language-based audio retrieval with co-attention networks (arXiv 2412.20914)."""

from audiojax.models.co_attention import States
from audiojax.papers.coattention.ranking import Direction, Split, rescore, search_split
from audiojax.papers.coattention.task import PAPER, PHASES, Settings, audio_states, make_settings, make_task, text_states

__all__ = [
    "PAPER",
    "PHASES",
    "Direction",
    "Settings",
    "Split",
    "States",
    "audio_states",
    "make_settings",
    "make_task",
    "rescore",
    "search_split",
    "text_states",
]
