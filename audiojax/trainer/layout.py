"""Two ways to run one step on all devices: `pmap` over an axis, or `jit` on a (data, fsdp, tensor) mesh.

Everything that differs between the two is in this file: how devices are named, how the state is placed, what a device batch looks like,
how the pure step and the prediction are wrapped, and what form of the state a checkpoint of several processes takes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding

from audiojax.collectives import pmean
from audiojax.errors import UsageError
from audiojax.partition import Rules, each_its_own, state_shardings

AXES = ("data", "fsdp", "tensor")
AXIS_NAME = "data"  # of pmap


@dataclass(frozen=True)
class Layout:
    """Where a run lives.

    Attributes:
      parallel: "pmap" | "mesh".
      mesh: all devices as (data, fsdp, tensor), those of process 0 first, then those of process 1, and so on, as the rows of a batch are;
        under pmap the devices of this process alone, as ("data",), which all hold the state.
      ways: shards that the global batch falls into.
      devices: of all processes.
    """

    parallel: str
    mesh: Mesh
    ways: int
    devices: int

    @property
    def replicated(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def batch_sharding(self) -> NamedSharding:
        axes = AXIS_NAME if self.parallel == "pmap" else ("data", "fsdp")
        return NamedSharding(self.mesh, PartitionSpec(axes))

    def put_whole(self, tree: Any) -> Any:
        """The tree with every leaf on each device of the layout, but for those that are laid out on its mesh already."""

        def where(x: Any) -> NamedSharding:
            sharding = x.sharding if isinstance(x, jax.Array) else None
            return sharding if isinstance(sharding, NamedSharding) and sharding.mesh == self.mesh else self.replicated

        return jax.device_put(tree, jax.tree.map(where, tree))

    @property
    def spans_processes(self) -> bool:
        """Whether arrays of this layout live on more than this process."""
        return self.parallel == "mesh" and len({device.process_index for device in self.mesh.devices.flat}) > 1


def make_layout(parallel: str = "pmap", mesh_sizes: Sequence[int] = (-1, 1, 1), devices: Sequence[Any] | None = None) -> Layout:
    """The layout over `devices` (default: all).

    Args:
      parallel: "pmap" | "mesh"; one device is a mesh under either name, for a pmap over it only takes longer to compile.
      mesh_sizes: devices along data, fsdp, tensor; one of them may be -1 (what is left).

    Raises:
      UsageError: another name, or sizes whose product is not the number of devices.
    """
    if parallel not in ("pmap", "mesh"):
        raise UsageError(f"parallel='{parallel}': takes 'pmap' or 'mesh'")
    devices = list(jax.devices() if devices is None else devices)
    if parallel == "pmap" and len(devices) == 1:
        mesh_sizes = (1, 1, 1)
    elif parallel == "pmap":
        local = [device for device in devices if device.process_index == jax.process_index()]
        return Layout("pmap", Mesh(np.array(local), (AXIS_NAME,), axis_types=(AxisType.Auto,)), len(devices), len(devices))
    sizes = list(mesh_sizes)
    if len(sizes) != len(AXES) or sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
        raise UsageError(f"mesh={tuple(mesh_sizes)}: takes three sizes (data, fsdp, tensor), at most one of them -1")
    if -1 in sizes:
        sizes[sizes.index(-1)] = max(1, len(devices) // prod(size for size in sizes if size != -1))
    if prod(sizes) != len(devices):
        raise UsageError(f"mesh {tuple(sizes)} needs {prod(sizes)} devices, and there are {len(devices)}")
    devices.sort(key=lambda device: (device.process_index, device.id))  # jax.make_mesh would mix processes, as the wires of a pod do
    rows = np.array(devices).reshape(-1, sizes[2])  # the devices of a row see the same examples
    if any(len({device.process_index for device in row}) > 1 for row in rows):
        local = sum(device.process_index == devices[0].process_index for device in devices)
        raise UsageError(f"mesh {tuple(sizes)}: the tensor axis spans processes of {local} devices; use a divisor of {local} along it")
    mesh = Mesh(rows.reshape(sizes), AXES, axis_types=(AxisType.Auto,) * len(AXES))
    return Layout("mesh", mesh, sizes[0] * sizes[1], len(devices))


def check_batch_size(layout: Layout, batch_size: int, accumulate: int = 1) -> None:
    """Raises UsageError, with both numbers, unless the devices and micro-batches divide a training batch."""
    if batch_size % layout.ways:
        raise UsageError(f"batch_size {batch_size} is not divisible by {layout.ways} devices: use a multiple of {layout.ways}")
    if batch_size // layout.ways % accumulate:
        raise UsageError(f"{batch_size // layout.ways} examples a device are not divisible by accumulate={accumulate}")
    if batch_size % jax.process_count():
        raise UsageError(f"batch_size {batch_size} is not divisible by {jax.process_count()} processes")


def shardings_of(layout: Layout, tree: Any, params: Any, rules: Rules) -> Any:
    """A sharding per leaf of `tree`: by the rules on a mesh, replicated under pmap."""
    if layout.parallel == "pmap":
        return jax.tree.map(lambda _: layout.replicated, tree)
    return state_shardings(tree, params, rules, layout.mesh)


def place(leaf: Any, sharding: Sharding) -> Any:
    """`leaf` laid out by `sharding`. It shares the caller's memory where it can, so it may not be donated."""
    if isinstance(leaf, jax.Array) and leaf.sharding.is_equivalent_to(sharding, leaf.ndim):
        return leaf
    if sharding.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    return jax.jit(jnp.copy, out_shardings=sharding)(jax.device_get(leaf) if _is_local_numbers(leaf) else leaf)  # equal on every process


def _is_local_numbers(x: Any) -> bool:
    return isinstance(x, jax.Array) and x.is_fully_addressable and not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def put_batch(layout: Layout, batch: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """This process's rows of a training batch, as the wrapped step takes them.

    Under pmap the leaves become [local_devices, rows, ...] and stay host-local; on a mesh they become global arrays, whose rows are the
    rows of process 0, then of process 1, and so on.
    """
    if layout.parallel == "pmap":
        count = layout.mesh.size
        return {name: np.reshape(x, (count, x.shape[0] // count, *x.shape[1:])) for name, x in batch.items()}
    return {name: jax.make_array_from_process_local_data(layout.batch_sharding, np.asarray(x)) for name, x in batch.items()}


def wrap_step(layout: Layout, step: Callable[..., Any], state_sharding: Any, frozen_sharding: Any) -> Any:
    """The jitted (state, frozen, batch) -> (state, metrics) on all devices; the state is donated. Has `.lower` like any jitted function."""
    if layout.parallel == "pmap":
        return jax.pmap(
            partial(step, axis_name=AXIS_NAME), axis_name=AXIS_NAME, in_axes=(None, None, 0), out_axes=None, donate_argnums=(0,)
        )
    if layout.devices > 1:
        step = partial(step, each_its_rows=partial(each_its_rows, layout))
    return jax.jit(
        step,
        in_shardings=(state_sharding, frozen_sharding, layout.batch_sharding),
        out_shardings=(state_sharding, layout.replicated),
        donate_argnums=(0,),
    )


def each_its_rows(layout: Layout, compute: Callable[..., Any]) -> Callable[..., Any]:
    """compute(*whole, batch, key, axis_name) inside a jit on a mesh as pmap would run it: every device has all of what is whole and its own
    rows of the batch, and the results are averaged over devices. The compiler, which partitions no operation in it, adds communication
    before and after only."""
    mesh = Mesh(layout.mesh.devices.reshape(layout.ways, -1), (AXIS_NAME, "tensor"), axis_types=(AxisType.Auto,) * 2)
    whole, rows = PartitionSpec(), PartitionSpec(AXIS_NAME)

    def on_each(given: tuple[Any, ...], batch: Any, key: Any) -> Any:
        return pmean(compute(*given, batch, key, AXIS_NAME), AXIS_NAME)

    apart = jax.shard_map(on_each, mesh=mesh, in_specs=(whole, rows, whole), out_specs=whole, check_vma=False)
    return lambda *arguments: apart(arguments[:-3], *arguments[-3:-1])


def wrap_predict(layout: Layout, predict: Callable[..., Any]) -> Any:
    """The jitted predict(params, model_state, batch): rows over the devices, parameters where they are, results everywhere."""
    if layout.parallel == "pmap":
        return over_rows(layout, predict)
    return jax.jit(predict, in_shardings=(None, None, layout.batch_sharding), out_shardings=layout.replicated)


def over_rows(layout: Layout, compute: Callable[..., Any]) -> Any:
    """The jitted compute(*whole, rows), results everywhere: every device has all of what is whole, and its own rows of a batch that was put
    over the devices. Row i of the results may depend on row i alone."""

    def run(*arguments: Any) -> Any:
        return each_its_own(lambda whole, rows: compute(*whole, rows), layout.batch_sharding, arguments[:-1], arguments[-1])

    return jax.jit(run, out_shardings=layout.replicated)


def compile_step(layout: Layout, wrapped: Any, *arguments: Any) -> tuple[Any, float]:
    """(callable, FLOPs of one call on all devices) of a wrapped step; bodies of loops count once, 0 where the backend does not say.

    A pmap over several processes is called as it is, because its compiled form does not take host-local batches; its FLOPs are counted
    before optimisation.
    """
    lowered = wrapped.lower(*arguments)
    whole = layout.parallel == "pmap" and jax.process_count() > 1
    compiled = lowered if whole else lowered.compile()
    analysis = compiled.cost_analysis() or {}
    analysis = analysis[0] if isinstance(analysis, (list, tuple)) else analysis
    flops = max(0.0, float(analysis.get("flops", 0.0))) * layout.devices
    return (wrapped if whole else compiled), flops


def predict_rows(layout: Layout) -> int:
    """The number that a process's rows of an evaluation batch must be a multiple of."""
    return layout.mesh.size if layout.parallel == "pmap" else max(1, layout.ways // jax.process_count())


def put_rows(layout: Layout, batch: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """This process's rows of an evaluation batch as arrays over the devices of the layout."""
    if layout.spans_processes:
        return {name: jax.make_array_from_process_local_data(layout.batch_sharding, np.asarray(x)) for name, x in batch.items()}
    return {name: jax.device_put(np.asarray(x), layout.batch_sharding) for name, x in batch.items()}


def fetch_rows(layout: Layout, tree: Any) -> Any:
    """Predictions of all processes, in global row order, as numpy on every process."""
    local = jax.tree.map(lambda x: np.asarray(x.addressable_data(0)), tree)
    if layout.parallel == "pmap" and jax.process_count() > 1:
        return jax.tree.map(np.asarray, multihost_utils.process_allgather(local, tiled=True))
    return local


def to_saved(layout: Layout, tree: Any) -> Any:
    """The tree as Orbax saves it: global arrays. The pmap state of several processes is laid on a mesh of all devices.

    That of one process is read from its first device: of a replicated leaf Orbax takes a slice from each, compiled for every shape.
    """
    if layout.parallel == "mesh":
        return tree
    if jax.process_count() == 1:
        return jax.tree.map(lambda x: x.addressable_data(0), tree)
    replicated = saved_sharding(layout)
    return jax.tree.map(lambda x: _rewrap(x, replicated, [shard.data for shard in x.addressable_shards]), tree)


def from_saved(layout: Layout, tree: Any) -> Any:
    """The inverse of `to_saved`."""
    if layout.parallel == "mesh" or jax.process_count() == 1:
        return tree
    return jax.tree.map(lambda x: _rewrap(x, layout.replicated, [shard.data for shard in x.addressable_shards]), tree)


def saved_sharding(layout: Layout) -> NamedSharding:
    """Where `to_saved` puts a replicated leaf."""
    if layout.parallel == "mesh" or jax.process_count() == 1:
        return layout.replicated
    return NamedSharding(Mesh(np.array(jax.devices()), (AXIS_NAME,), axis_types=(AxisType.Auto,)), PartitionSpec())


def _rewrap(x: jax.Array, sharding: NamedSharding, shards: list[jax.Array]) -> jax.Array:
    return jax.make_array_from_single_device_arrays(x.shape, sharding, shards)
