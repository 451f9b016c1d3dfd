"""What is known about one sort of checkpoint: how it is recognised, sized, and made into a tower. Each family's file has its own.

Sizes come from config.json where there is one; what is read from there is checked here, because anybody may have written it. `where`
names another place that they come from, for the errors.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn

from audiojax.errors import UsageError
from audiojax.partition import Rules
from audiojax.pretrained.rules import Family
from audiojax.towers.base import Tower

MAX_SIZE = 1_000_000  # of a vocabulary, the largest of all

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Checkpoint:
    """What can be seen of a checkpoint before a tensor is read.

    Attributes:
      folder: that it lies in.
      facts: what config.json holds; empty for a bare file.
      shapes: name -> shape of the tensors.
      extra: plain values that a torch file keeps beside its tensors.
    """

    folder: Path
    facts: Mapping[str, Any]
    shapes: Shapes
    extra: Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """How one sort of checkpoint becomes a tower.

    Attributes:
      config: (checkpoint, **options) -> our config.
      module: config -> module.
      family: config -> conversion table.
      example: config -> inputs that initialise the module.
      types: what config.json may call it, as "model_type" or "_class_name".
      recognise: whether the names and shapes of a bare file are those of this kind.
      options: names of the arguments of `load_pretrained` that `config` takes.
      tower: the class of the result.
      rules: where its parameters lie on a mesh, see `audiojax.partition`.
      fields: checkpoint, config -> what that class takes beyond the fields of `Tower`: a tokenizer, a front end.
    """

    config: Callable[..., Any]
    module: Callable[..., nn.Module]
    family: Callable[[Any], Family]
    example: Callable[[Any], tuple[Any, ...]]
    types: tuple[str, ...] = ()
    recognise: Callable[[Shapes], bool] | None = None
    options: tuple[str, ...] = ()
    tower: type[Tower] = Tower
    rules: Rules = ()
    fields: Callable[[Checkpoint, Any], Mapping[str, Any]] | None = None


def size(facts: Mapping[str, Any], key: str, default: int | None = None, least: int = 1, where: str = "config.json") -> int:
    """A whole number of config.json (or another file, `where`), small enough to be one of a model's sizes.

    Raises:
      UsageError: it is not.
    """
    value = facts.get(key, default)
    if type(value) is not int or not least <= value <= MAX_SIZE:
        raise UsageError(f"{where}: {key} is {value!a:.80}, and a whole number from {least} to {MAX_SIZE:,} is needed")
    return value


def sizes(facts: Mapping[str, Any], key: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """A list of such numbers. UsageError where it is none."""
    value = facts.get(key, default)
    if not isinstance(value, list | tuple) or not 0 < len(value) <= 100 or any(type(x) is not int or not 1 <= x <= MAX_SIZE for x in value):
        raise UsageError(f"config.json: {key} is {value!a:.80}, and a list of whole numbers from 1 to {MAX_SIZE:,} is needed")
    return tuple(value)


def number(facts: Mapping[str, Any], key: str, default: float | None = None, where: str = "config.json") -> float:
    """A finite number of config.json (or another file, `where`). UsageError where it is none."""
    value = facts.get(key, default)
    if type(value) not in (int, float) or not abs(value) < 1e9:
        raise UsageError(f"{where}: {key} is {value!a:.80}, and a number is needed")
    return float(value)


def expect(facts: Mapping[str, Any], where: str = "config.json", **values: Any) -> None:
    """Checks settings that our towers have in one form alone; what config.json leaves out is taken to be so.

    Raises:
      UsageError: config.json says something else.
    """
    for key, value in values.items():
        if facts.get(key, value) != value:
            raise UsageError(f"{where}: {key} is {facts[key]!a:.80}, and this tower has {value!a} alone")
