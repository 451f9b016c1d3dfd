"""The Python calls behind every subcommand: train, evaluate, load, export, sweep, demo."""

from audiojax.api.train import export, train

__all__ = ["export", "train"]
