"""The Python calls behind every subcommand: train, evaluate, load, export, sweep, demo, train_towers."""

from audiojax.api.demo import demo
from audiojax.api.evaluate import evaluate
from audiojax.api.find import Finder, load, load_finder
from audiojax.api.sweep import sweep
from audiojax.api.towers import train_towers
from audiojax.api.train import export, train

__all__ = ["Finder", "demo", "evaluate", "export", "load", "load_finder", "sweep", "train", "train_towers"]
