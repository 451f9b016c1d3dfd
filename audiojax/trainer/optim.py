"""Optax from plain config: one optimiser per group of parameters, each with its own schedule and its own gradient clipping.

A config gives groups as {"<name>": {"pattern": <regex on parameter paths>, "lr": ..., ...}}; the keys are the fields of `Group`.
A group whose pattern is ".*" takes the parameters that no other group matches, so the order of groups does not matter.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from audiojax.errors import UsageError
from audiojax.partition import flat_paths, from_paths
from audiojax.typing import Params

CATCH_ALL = ".*"


@dataclass(frozen=True)
class Group:
    """Settings of one group.

    Attributes:
      pattern: regex searched in parameter paths.
      name: "adam" | "adamw" (decoupled weight decay) | "sgd".
      lr: peak learning rate.
      schedule: "constant" | "step" | "cosine" | "linear", after the warm-up.
      warmup: steps of linear warm-up; a float below 1 is a share of all steps. Step i of w uses (i + 1) / w of the peak.
      step_every: under "step", steps between decays; a float below 1 is a share of all steps.
      step_factor: under "step", what each decay multiplies by.
      end_factor: under "cosine" and "linear", the share of the peak that is left at the end.
      clip_norm: gradients of this group are scaled to at most this global norm; 0 = no clipping.
      b1, b2, eps: of Adam.
      weight_decay: of AdamW, times the learning rate.
      no_decay: regex on paths that are not decayed.
    """

    pattern: str
    lr: float
    name: str = "adam"
    schedule: str = "constant"
    warmup: float = 0
    step_every: float = 0
    step_factor: float = 0.1
    end_factor: float = 0.0
    clip_norm: float = 0.0
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    no_decay: str = r"(^|/)(bias|scale|b|beta|gamma)$"


@dataclass(frozen=True)
class Optimizer:
    """An optax transformation, the group of every parameter (same tree), and each group's learning rate as a function of the step."""

    tx: optax.GradientTransformation
    labels: Any
    schedules: Mapping[str, Callable[[Any], Float[Array, ""]]]


def make_group(name: str, settings: Mapping[str, Any]) -> Group:
    """A checked `Group`; UsageError names an unknown key or a bad value."""
    known = {field.name for field in dataclasses.fields(Group)}
    unknown = sorted(set(settings) - known)
    if unknown:
        raise UsageError(f"optimiser group '{name}': unknown key '{unknown[0]}'; keys are {', '.join(sorted(known))}")
    missing = sorted({"pattern", "lr"} - set(settings))
    if missing:
        raise UsageError(f"optimiser group '{name}': '{missing[0]}' is missing")
    group = Group(**settings)
    if group.name not in ("adam", "adamw", "sgd"):
        raise UsageError(f"optimiser group '{name}': name='{group.name}' takes adam, adamw or sgd")
    if group.schedule not in ("constant", "step", "cosine", "linear"):
        raise UsageError(f"optimiser group '{name}': schedule='{group.schedule}' takes constant, step, cosine or linear")
    for key in ("lr", "warmup", "step_every", "clip_norm", "weight_decay"):
        value = getattr(group, key)
        if not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise UsageError(f"optimiser group '{name}': {key}={value!r:.80} is no number from 0 up")
    if group.schedule == "step" and not group.step_every:
        raise UsageError(f"optimiser group '{name}': schedule='step' needs step_every")
    if group.weight_decay and group.name != "adamw":
        raise UsageError(f"optimiser group '{name}': weight_decay needs name='adamw'")
    return group


def make_schedule(group: Group, steps: int) -> Callable[[Any], Float[Array, ""]]:
    """step (0-based) -> learning rate, float32: linear warm-up, then constant, steps, or half a cosine or a line that ends at `steps`."""
    warmup = _in_steps(group.warmup, steps)
    every = max(1, _in_steps(group.step_every, steps))

    def learning_rate(step: Any) -> Float[Array, ""]:
        step = jnp.asarray(step, jnp.float32)
        share = jnp.clip((step - warmup) / max(1, steps - warmup), 0.0, 1.0)
        if group.schedule == "cosine":
            factor = group.end_factor + (1 - group.end_factor) * 0.5 * (1 + jnp.cos(jnp.pi * share))
        elif group.schedule == "linear":
            factor = group.end_factor + (1 - group.end_factor) * (1 - share)
        elif group.schedule == "step":
            factor = group.step_factor ** jnp.floor(step / every)
        else:
            factor = jnp.ones((), jnp.float32)
        if warmup:
            factor = jnp.where(step < warmup, (step + 1) / warmup, factor)
        return group.lr * factor

    return learning_rate


def label_params(groups: Mapping[str, Group], params: Params) -> dict[str, Any]:
    """The tree of group names.

    Raises:
      UsageError: a parameter in no group or in two, or a group without parameters (a catch-all may be left without).
    """
    labels = {}
    for path in flat_paths(params):
        names = [name for name, group in groups.items() if group.pattern != CATCH_ALL and re.search(group.pattern, path)]
        names = names or [name for name, group in groups.items() if group.pattern == CATCH_ALL]
        if len(names) != 1:
            raise UsageError(f"parameter '{path}' is in {'no optimiser group' if not names else 'groups ' + ' and '.join(names)}")
        labels[path] = names[0]
    empty = sorted(name for name in set(groups) - set(labels.values()) if groups[name].pattern != CATCH_ALL)
    if empty:
        raise UsageError(f"optimiser group '{empty[0]}': pattern '{groups[empty[0]].pattern}' matches no trainable parameter")
    return from_paths(labels)


def make_optimizer(settings: Mapping[str, Mapping[str, Any]], params: Params, steps: int) -> Optimizer:
    """The optimiser of the trainable `params` (arrays or shapes) over `steps` steps.

    A skipped step advances no group's schedule: the schedule counts updates.
    """
    groups = {name: make_group(name, group) for name, group in settings.items()}
    labels = label_params(groups, params)
    groups = {name: group for name, group in groups.items() if name in set(jax.tree.leaves(labels))}
    schedules = {name: make_schedule(group, steps) for name, group in groups.items()}
    transforms = {name: _transform(group, schedules[name]) for name, group in groups.items()}
    return Optimizer(optax.partition(transforms, labels), labels, schedules)


def group_norms(tree: Params, labels: Any) -> dict[str, Float[Array, ""]]:
    """Global norm of each group's leaves, float32 at least."""
    squares: dict[str, Any] = {}
    for leaf, label in zip(jax.tree.leaves(tree), jax.tree.leaves(labels), strict=True):
        leaf = leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))
        squares[label] = squares.get(label, 0.0) + jnp.sum(jnp.square(leaf))
    return {label: jnp.sqrt(total) for label, total in squares.items()}


def _transform(group: Group, schedule: Callable[[Any], Any]) -> optax.GradientTransformation:
    parts = [optax.clip_by_global_norm(group.clip_norm)] if group.clip_norm else []
    if group.name != "sgd":
        parts.append(optax.scale_by_adam(group.b1, group.b2, group.eps))
    if group.weight_decay:
        parts.append(optax.add_decayed_weights(group.weight_decay, mask=lambda tree: _decay_mask(tree, group.no_decay)))
    return optax.chain(*parts, optax.scale_by_learning_rate(schedule))


def _decay_mask(tree: Any, no_decay: str) -> Any:
    def decays(path: Any, _: Any) -> bool:
        return not re.search(no_decay, jax.tree_util.keystr(path, simple=True, separator="/"))

    return jax.tree_util.tree_map_with_path(decays, tree)


def _in_steps(value: float, steps: int) -> int:
    return round(value * steps) if isinstance(value, float) and value < 1 else int(value)
