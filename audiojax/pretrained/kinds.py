"""What is known about one sort of checkpoint: how it is recognised, sized, and made into a tower. Each family's file has its own.

Sizes come from config.json where there is one; what is read from there is checked here, because anybody may have written it. `where`
names another place that they come from, for the errors.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import flax.linen as nn

from audiojax.errors import UsageError
from audiojax.partition import Rules
from audiojax.pretrained.rules import Family
from audiojax.towers.base import Tower

MAX_SIZE = 1_000_000  # of a vocabulary, the largest of all

ADAPTER = "adapter_config.json"  # beside the weights of a peft adapter
OWN = "audiojax"  # table of config.json, or of a file's metadata, with what a public layout has no words for

Shapes = Mapping[str, tuple[int, ...]]
Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Checkpoint:
    """What can be seen of a checkpoint before a tensor is read.

    Attributes:
      folder: that it lies in.
      facts: what config.json holds; empty for a bare file.
      shapes: name -> shape of the tensors.
      extra: plain values that a torch file keeps beside its tensors.
      file: name of the file of the tensors, or of their list.
    """

    folder: Path
    facts: Mapping[str, Any]
    shapes: Shapes
    extra: Mapping[str, Any]
    file: str = ""

    @property
    def own(self) -> Mapping[str, Any]:
        """What `Kind.publish` added to the public layout, in checkpoints that audiojax wrote. UsageError where it is no table."""
        return section(self.facts or self.extra, OWN)


@dataclass(frozen=True)
class Public:
    """A tower as its public layout has it, but for the names and shapes of the tensors.

    Attributes:
      tower: whose variables and config are written.
      facts: config.json; empty where the layout is a bare file.
      extra: plain values beside the tensors of a bare file.
      files: name -> JSON of what else lies in the folder.
    """

    tower: Tower
    facts: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


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
      publish: the inverse of `config` and `fields`, for towers that audiojax trains.
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
    publish: Callable[[Any], Public] | None = None


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


def section(facts: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A nested table of config.json; empty where it is left out. UsageError where it is something else."""
    found = facts.get(key) or {}
    if not isinstance(found, dict):
        raise UsageError(f"config.json: {key} is {found!a:.80}, and a table is needed")
    return found


def differences(settings: Any, template: Any) -> dict[str, Any]:
    """The fields of a dataclass that are not as in the template, as JSON has them."""
    ours, theirs = asdict(settings), asdict(template)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in ours.items() if value != theirs[key]}


def overridden(template: Settings, facts: Mapping[str, Any], where: str) -> Settings:
    """The template with the fields that a table names: the inverse of `differences`.

    Raises:
      UsageError: a field that the template lacks, a value that cannot stand in its place, or values that do not go together.
    """
    types, found = {entry.name: entry.type for entry in fields(template)}, {}
    for key, value in facts.items():
        found[key] = tuple(value) if isinstance(value, list) else value
        if key not in types or not _fits(found[key], getattr(template, key), types[key]):
            raise UsageError(f"{where}: {key!a:.40} is {value!a:.80}, which cannot be read")
    try:
        return replace(template, **found)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error


def _fits(value: Any, old: Any, annotation: Any) -> bool:
    """Whether a value may replace `old`: one of the words that the annotation lists, or numbers, of which whole ones are sizes."""
    if get_origin(annotation) is Literal:
        return value in get_args(annotation)
    if isinstance(old, tuple):
        return isinstance(value, tuple) and 0 < len(value) <= 100 and all(_fits(x, 1, int) for x in value)
    if isinstance(old, bool):
        return type(value) is bool
    if isinstance(old, float):
        return type(value) in (int, float) and abs(value) <= MAX_SIZE
    return not isinstance(old, str) and type(value) is int and 1 <= value <= MAX_SIZE
