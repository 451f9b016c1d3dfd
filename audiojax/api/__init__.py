"""The Python calls behind every subcommand: train, evaluate, load, export, sweep, demo."""

from audiojax.api.demo import demo
from audiojax.api.evaluate import evaluate
from audiojax.api.find import Finder, load
from audiojax.api.sweep import sweep
from audiojax.api.train import export, train

__all__ = ["Finder", "demo", "evaluate", "export", "load", "sweep", "train"]
