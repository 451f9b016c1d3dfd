"""The Python calls behind every subcommand."""

from audiojax.api.bridge_files import bridge_files
from audiojax.api.bridging import Bridge
from audiojax.api.caption_table import write_captions
from audiojax.api.captioning import Captioner
from audiojax.api.demo import demo
from audiojax.api.evaluate import evaluate
from audiojax.api.find import Finder
from audiojax.api.generating import order_of, read_prompts, write_one, write_sounds
from audiojax.api.loading import load, load_bridge, load_captioner, load_finder, load_maker, load_reranker
from audiojax.api.making import Maker
from audiojax.api.publishing import export
from audiojax.api.score import score
from audiojax.api.score_audio import score_audio
from audiojax.api.sweep import sweep
from audiojax.api.towers import train_towers
from audiojax.api.train import train
from audiojax.api.weights import load_pretrained
from audiojax.api.wishes import Wish
from audiojax.index.search import Index
from audiojax.papers.re_audioldm.clips import reference_of

__all__ = [
    "Bridge",
    "Captioner",
    "Finder",
    "Index",
    "Maker",
    "Wish",
    "bridge_files",
    "demo",
    "evaluate",
    "export",
    "load",
    "load_bridge",
    "load_captioner",
    "load_finder",
    "load_maker",
    "load_pretrained",
    "load_reranker",
    "order_of",
    "read_prompts",
    "reference_of",
    "score",
    "score_audio",
    "sweep",
    "train",
    "train_towers",
    "write_captions",
    "write_one",
    "write_sounds",
]
