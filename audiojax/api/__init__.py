"""The Python calls behind every subcommand."""

from audiojax.api.caption_table import write_captions
from audiojax.api.captioning import Captioner
from audiojax.api.demo import demo
from audiojax.api.evaluate import evaluate
from audiojax.api.find import Finder
from audiojax.api.loading import load, load_captioner, load_finder, load_reranker
from audiojax.api.score import score
from audiojax.api.sweep import sweep
from audiojax.api.towers import train_towers
from audiojax.api.train import export, train
from audiojax.api.weights import load_pretrained
from audiojax.index.search import Index

__all__ = [
    "Captioner",
    "Finder",
    "Index",
    "demo",
    "evaluate",
    "export",
    "load",
    "load_captioner",
    "load_finder",
    "load_pretrained",
    "load_reranker",
    "score",
    "sweep",
    "train",
    "train_towers",
    "write_captions",
]
