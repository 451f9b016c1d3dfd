"""Settings of one phase of training, built once from plain config and checked at the edge."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from audiojax.errors import UsageError


@dataclass(frozen=True)
class Phase:
    """How one task is trained.

    Attributes:
      name: folder of the checkpoints and first column of metrics.csv, for instance "contrastive".
      steps: length of the phase, in batches; 0 = nothing is trained, and the phase only evaluates what it starts from.
      batch_size: examples of the global batch.
      groups: optimiser groups, see `audiojax.trainer.optim.Group`.
      trainable: regex on parameter paths; the rest is frozen.
      accumulate: micro-batches of a batch.
      ema_decay: 0 = no moving average.
      ema_warmup: the decay after i good steps is at most (1 + i) / (10 + i), so that the average soon leaves the first weights behind.
      parallel: "pmap" | "mesh".
      mesh: devices along data, fsdp, tensor; -1 = what is left.
      eval_every: steps between evaluations; 0 = at the end only.
      save_every: steps between checkpoints besides those of evaluations; 0 = none besides.
      keep: newest checkpoints that are kept, besides the best one.
      log_every: steps between rows of metrics.csv.
      max_bad_steps: the run stops after so many steps in a row without finite loss and gradients.
      seed: of initialisation, noise and dropout.
    """

    name: str
    steps: int
    batch_size: int
    groups: Mapping[str, Mapping[str, Any]] = field(hash=False)
    trainable: str = ".*"
    accumulate: int = 1
    ema_decay: float = 0.0
    ema_warmup: bool = False
    parallel: str = "pmap"
    mesh: tuple[int, int, int] = (-1, 1, 1)
    eval_every: int = 0
    save_every: int = 0
    keep: int = 2
    log_every: int = 10
    max_bad_steps: int = 10
    seed: int = 0


def make_phase(name: str, *sections: Mapping[str, Any]) -> Phase:
    """The phase whose settings are the sections' keys, later ones winning.

    Raises:
      UsageError: an unknown or missing key, or a value out of range.
    """
    merged = {key: value for section in sections for key, value in section.items()}
    known = {f.name for f in dataclasses.fields(Phase)} - {"name"}
    unknown = sorted(set(merged) - known)
    if unknown:
        raise UsageError(f"phase '{name}': unknown key '{unknown[0]}'; keys are {', '.join(sorted(known))}")
    missing = [key for key in ("steps", "batch_size", "groups") if key not in merged]
    if missing:
        raise UsageError(f"phase '{name}': '{missing[0]}' is missing")
    phase = Phase(name=name, **{**merged, "mesh": tuple(merged.get("mesh", (-1, 1, 1)))})
    least_of = dict.fromkeys(("steps", "eval_every", "save_every", "seed"), 0)
    least_of |= dict.fromkeys(("batch_size", "accumulate", "keep", "log_every", "max_bad_steps"), 1)
    for key, least in least_of.items():
        value = getattr(phase, key)
        if not isinstance(value, int):
            raise UsageError(f"phase '{name}': {key}={value!r:.80} is no whole number")
        if value < least:
            raise UsageError(f"phase '{name}': {key}={value} is below {least}")
    if not isinstance(phase.ema_decay, int | float) or not 0 <= phase.ema_decay < 1:
        raise UsageError(f"phase '{name}': ema_decay={phase.ema_decay} is outside [0, 1)")
    return phase
