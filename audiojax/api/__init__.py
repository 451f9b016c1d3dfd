"""The Python calls behind every subcommand."""

from audiojax.api.demo import demo
from audiojax.api.evaluate import evaluate
from audiojax.api.find import Finder, load, load_finder
from audiojax.api.sweep import sweep
from audiojax.api.towers import train_towers
from audiojax.api.train import export, train
from audiojax.api.weights import load_pretrained

__all__ = [
    "Finder",
    "demo",
    "evaluate",
    "export",
    "load",
    "load_finder",
    "load_pretrained",
    "sweep",
    "train",
    "train_towers",
]
