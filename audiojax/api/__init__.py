"""The Python calls behind every subcommand."""

from audiojax.api.bridging.bridge import Bridge
from audiojax.api.bridging.bridge_files import bridge_files
from audiojax.api.demo import demo
from audiojax.api.describing.caption_table import write_captions
from audiojax.api.describing.captioning import Captioner
from audiojax.api.describing.score import score
from audiojax.api.evaluate import evaluate
from audiojax.api.finding.find import Finder
from audiojax.api.loading import load, load_bridge, load_captioner, load_finder, load_maker, load_reranker
from audiojax.api.making.generating import order_of, read_prompts, write_one, write_sounds
from audiojax.api.making.maker import Maker
from audiojax.api.making.score_audio import score_audio
from audiojax.api.making.wishes import Wish
from audiojax.api.publishing import export
from audiojax.api.sweep import sweep
from audiojax.api.towers import train_towers
from audiojax.api.train import train
from audiojax.api.weights import load_pretrained
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
