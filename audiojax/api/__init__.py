"""The Python calls behind every subcommand: train, evaluate, load, load_pretrained, export, sweep, demo."""

from audiojax.api.demo import demo
from audiojax.api.evaluate import evaluate
from audiojax.api.find import Finder, load
from audiojax.api.sweep import sweep
from audiojax.api.train import export, train
from audiojax.api.weights import load_pretrained

__all__ = ["Finder", "demo", "evaluate", "export", "load", "load_pretrained", "sweep", "train"]
