"""Which parameters train, and where every array of the state lives: path regexes, with a fallback, outside the model.

A path is the keys of a nested dict joined by "/", for instance "audio/conv1/kernel".
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from flax import traverse_util
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from audiojax.errors import UsageError
from audiojax.typing import Params

Rules = Sequence[tuple[str, PartitionSpec]]


def flat_paths(params: Params) -> dict[str, Any]:
    """path -> leaf of a nested dict."""
    return traverse_util.flatten_dict(dict(params), sep="/")


def from_paths(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The nested dict of a path -> leaf mapping."""
    return traverse_util.unflatten_dict(dict(flat), sep="/")


def split_params(params: Params, trainable: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(trainable, frozen) halves of a nested dict; `trainable` is a regex searched in each path.

    Raises:
      UsageError: the regex matches no parameter.
    """
    flat = flat_paths(params)
    chosen = {path: leaf for path, leaf in flat.items() if re.search(trainable, path)}
    if not chosen:
        raise UsageError(f"trainable='{trainable}' matches no parameter; paths look like '{next(iter(flat), '')}'")
    return from_paths(chosen), from_paths({path: leaf for path, leaf in flat.items() if path not in chosen})


def merge_params(trainable: Params, frozen: Params) -> dict[str, Any]:
    """The whole tree of two halves that `split_params` made."""
    return from_paths(flat_paths(frozen) | flat_paths(trainable))


def unmatched_rules(rules: Rules, params: Params) -> list[str]:
    """Patterns that match no parameter path: a renamed module leaves its rule behind."""
    paths = list(flat_paths(params))
    return [pattern for pattern, _ in rules if not any(re.search(pattern, path) for path in paths)]


def param_spec(path: str, shape: Sequence[int], rules: Rules, mesh: Mesh) -> PartitionSpec:
    """Spec of one parameter: the first rule that matches, else the larger of its last two dimensions that the fsdp axis divides, else
    replicated. Those before them are the space of a convolution's kernel, which the compiler does not partition reliably.

    Raises:
      UsageError: a rule splits a dimension that its mesh axes do not divide.
    """
    for pattern, spec in rules:
        if not re.search(pattern, path):
            continue
        if len(spec) > len(shape):
            raise UsageError(f"partition rule '{pattern}': {spec} has more dimensions than '{path}' {tuple(shape)}")
        for size, axes in zip(shape, spec, strict=False):
            ways = _ways(mesh, axes)
            if size % ways:
                raise UsageError(f"partition rule '{pattern}': dimension {size} of '{path}' is not divisible by {ways} ({axes})")
        return spec
    return _fsdp_spec(shape, mesh.shape.get("fsdp", 1))


def state_shardings(abstract_state: Any, params: Params, rules: Rules, mesh: Mesh) -> Any:
    """A sharding for every leaf of the state, optimiser moments and EMA included.

    A leaf whose path ends in a parameter's path and whose shape is that parameter's is laid out like it; every other leaf falls back by
    its shape.

    Args:
      abstract_state: pytree of arrays or ShapeDtypeStructs.
      params: the whole (abstract) parameter tree.
    """
    shapes = {path: tuple(leaf.shape) for path, leaf in flat_paths(params).items()}
    specs = {path: param_spec(path, shape, rules, mesh) for path, shape in shapes.items()}

    def sharding(key_path: Any, leaf: Any) -> NamedSharding:
        tokens = jax.tree_util.keystr(key_path, simple=True, separator="/").split("/")
        suffixes = ("/".join(tokens[i:]) for i in range(len(tokens)))
        found = next((s for s in suffixes if shapes.get(s) == tuple(leaf.shape)), None)
        spec = specs[found] if found else _fsdp_spec(leaf.shape, mesh.shape.get("fsdp", 1))
        return NamedSharding(mesh, spec)

    return jax.tree_util.tree_map_with_path(sharding, abstract_state)


def _ways(mesh: Mesh, axes: Any) -> int:
    names = () if axes is None else (axes,) if isinstance(axes, str) else tuple(axes)
    ways = 1
    for name in names:
        ways *= mesh.shape[name]
    return ways


def _fsdp_spec(shape: Sequence[int], ways: int) -> PartitionSpec:
    divisible = [(size, -i) for i, size in enumerate(shape) if ways > 1 and size and size % ways == 0 and i >= len(shape) - 2]
    if not divisible:
        return PartitionSpec()
    axis = -max(divisible)[1]
    return PartitionSpec(*([None] * axis), "fsdp")


def mesh_of(params: Params) -> Mesh | None:
    """The mesh of several devices on which parameters lie, if they do: over these, inference spreads its work."""
    sharding = getattr(jax.tree.leaves(params)[0], "sharding", None)
    return sharding.mesh if isinstance(sharding, NamedSharding) and sharding.mesh.size > 1 else None


def each_its_own(compute: Callable[[Any, Any], Any], sharding: Any, whole: Any, rows: Any) -> Any:
    """compute(whole, rows) inside a jit, by every device for the rows that it has, where `sharding` says that devices share the rows.

    For what the compiler does not split: it would gather all rows on every device for a Fourier transform or a loop over rows.

    Args:
      compute: without a sum over rows; its results have as many.
      sharding: of the rows where they came from, NamedSharding or anything else.
    """
    if not isinstance(sharding, NamedSharding) or sharding.is_fully_replicated:
        return compute(whole, rows)
    own = PartitionSpec(*sharding.spec[:1])
    return jax.shard_map(compute, mesh=sharding.mesh, in_specs=(PartitionSpec(), own), out_specs=own, check_vma=False)(whole, rows)
