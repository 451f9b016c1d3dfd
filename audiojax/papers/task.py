"""What a paper hands over: to the trainer four pure functions and a table of partition rules, to the calls what is done around them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from jax.sharding import PartitionSpec

from audiojax.errors import UsageError
from audiojax.typing import Array, Batch, Key, Params


@dataclass(frozen=True)
class Task:
    """One phase of one paper, as the trainer knows it.

    Every function is pure. `params` is the whole tree: the trainer splits it into a trainable and a frozen part before the step
    differentiates, and merges it again before it calls these functions. Batches are dicts of arrays, batch first.

    Attributes:
      name: "<paper>/<phase>", the label of checkpoints and logs.
      init: (key, batch) -> {"params": ..., "model_state": ...}; model_state holds running statistics and may be {}.
      loss: (params, model_state, batch, key, *, axis_name=None) -> (loss, (model_state, metrics)); loss and metrics are float32 scalars
        of the local shard, which the step averages; statistics and negatives go through `audiojax.collectives`.
      predict: (params, model_state, batch) -> name -> [b, ...]; evaluation mode, row i depends on row i alone.
      metrics: (params, predictions, key) -> name -> float; predictions are numpy arrays stacked over the whole split.
      partition_rules: (regex on "a/b/c" parameter paths, PartitionSpec) pairs over the mesh axes data, fsdp, tensor, by which the compiler
        divides the step. Without rules, every device of a mesh computes its own rows with all parameters, which lie divided between steps;
        a must for the gradients of grouped convolutions.
      select: the metric that model selection maximises.
      frozen: regex on the paths of parameters that a config may not train; "" = there are none.
    """

    name: str
    init: Callable[[Key, Batch], Mapping[str, Any]]
    loss: Callable[..., tuple[Array, tuple[Any, Mapping[str, Array]]]]
    predict: Callable[[Params, Any, Batch], Mapping[str, Array]]
    metrics: Callable[[Params, Mapping[str, Any], Key], Mapping[str, float]]
    partition_rules: tuple[tuple[str, PartitionSpec], ...]
    select: str
    frozen: str = ""


def _nothing(config: Mapping[str, Any]) -> None:
    return None


def _anything(config: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    return None


def _same(tower: Params, wanted: Params) -> Params:
    return tower


@dataclass(frozen=True)
class Slot:
    """Where a tower lies in a paper's trees.

    Attributes:
      params: path such as "dual/audio_tower".
      state: path such as "batch_stats/audio_tower"; "" without statistics.
      part: of the tower that is taken, a path in its own trees such as CLAP's "audio/encoder"; "" = all but its heads.
      model: of a checkpoint that holds several models, such as a pipeline's folder, the one that is taken: "vae".
      fit: (tree of the tower, tree of the paper at that place) -> the former with the paper's paths, where the two are not alike.
      partial: whether parameters that the tower does not have start fresh.
    """

    params: str
    state: str = ""
    part: str = ""
    model: str = ""
    fit: Callable[[Params, Params], Params] = _same
    partial: bool = False


@dataclass(frozen=True)
class Encoders:
    """What the frozen towers of a paper make of a clip and of a caption, so that training may run them once over the data.

    Both are (params, model_state, batch) -> name -> [b, ...]; row i depends on row i alone. In the batches of `Task.loss` and
    `Task.predict` these names then stand in place of what the towers take.

    Attributes:
      audio: of "waveform" and what comes with it; every name begins with "audio_".
      text: of "text_ids" and "text_mask"; every name begins with "text_". None where these two are kept as they are.
      facts: what decides the states besides weights and data, as JSON.
      towers: names of the slots that they use; () = all of the paper's.
    """

    audio: Callable[[Params, Any, Batch], Mapping[str, Array]]
    text: Callable[[Params, Any, Batch], Mapping[str, Array]] | None
    facts: Mapping[str, Any] = field(default_factory=dict)
    towers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Statistics:
    """Facts about the training data that are measured once, before the first phase, and kept in model_state.

    Attributes:
      names: of the entries of model_state that they fill.
      measure: (config, params, batches, *, vocab_size) -> these entries; params are those that the config's `init` names, and the batches
        hold `data.statistics_examples` training examples in a fixed order, the same on every process.
      phases: of the configs that need them; () = all.
      blank: whether `measure` takes, as the keyword `blank`, the text leaves [1, l] of an empty caption.
    """

    names: tuple[str, ...]
    measure: Callable[..., Mapping[str, Any]]
    phases: tuple[str, ...] = ()
    blank: bool = False


def _none(config: Mapping[str, Any]) -> tuple[str, ...]:
    return ()


def _as_they_are(phase: str, params: Params) -> Params:
    return params


@dataclass(frozen=True)
class Paper:
    """One system, as the calls that train and open it know it.

    Attributes:
      phases: that a config may name, each a task of its own.
      make_task: (config, phase, *, vocab_size) -> Task.
      check: raises UsageError for values of a config that would otherwise fail in the middle of a run.
      finish: (config, params, predictions of the validation split, key, *, vocab_size) -> the config with what is chosen on validation.
      slots: name in the config's section `init` -> place of that tower.
      encoders: (config, *, vocab_size) -> Encoders; None where the config's `data.states` has no meaning.
      hand_over: (phase, parameters of the phase before) -> those that it starts from.
      statistics: measured on the training data before the first phase, where the paper has some.
      outside: config -> the slots whose towers a finished run does not hold: it names them, with the hash of their weights. Each is a
        frozen branch of the parameters with the slot's own name.
      continues: (config, that of the finished run which it goes on from) raises UsageError where the two do not belong together.
    """

    phases: tuple[str, ...]
    make_task: Callable[..., Task]
    check: Callable[[Mapping[str, Any]], None] = _nothing
    finish: Callable[..., dict[str, Any]] | None = None
    slots: Mapping[str, Slot] = field(default_factory=dict)
    encoders: Callable[..., Encoders] | None = None
    hand_over: Callable[[str, Params], Params] = _as_they_are
    statistics: Statistics | None = None
    outside: Callable[[Mapping[str, Any]], tuple[str, ...]] = _none
    continues: Callable[[Mapping[str, Any], Mapping[str, Any]], None] = _anything


def choice(key: str, value: str, allowed: Collection[str]) -> str:
    """The value of a config key that takes one of some names.

    Raises:
      UsageError: it is none of them.
    """
    if value not in allowed:
        raise UsageError(f"config key '{key}' is '{value}'; it takes one of {', '.join(allowed)}")
    return value
