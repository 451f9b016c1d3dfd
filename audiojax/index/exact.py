"""Exact inner-product search: the best rows of any number of vectors, read block by block, on all devices.

A block goes to the devices while the one before it is searched. Each device keeps the best of the rows that it has seen, so the scores of
all rows never exist together. All blocks have one shape: one program is compiled for a number of queries, whatever the number of rows.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

BLOCK_ROWS = 16_384  # of a device, at a time
QUERY_ROWS = 256  # scored together: a device holds QUERY_ROWS * BLOCK_ROWS scores, 16 MiB
AXIS = "rows"


class Best(NamedTuple):
    """The k best rows of each query, best first; rows of equal score in their own order.

    Attributes:
      scores: inner products, float32.
      rows: their numbers.
    """

    scores: Float[np.ndarray, "q k"]
    rows: Int[np.ndarray, "q k"]


class _State(NamedTuple):
    """The best of the rows that each device has seen: [devices, query blocks, queries, k]."""

    scores: Float[Array, "m c b k"]
    rows: Int[Array, "m c b k"]
    groups: Int[Array, "m c b k"]


class ExactSearch:
    """Searches rows that are read again for each search, or once and for all."""

    def __init__(
        self,
        chunks: Callable[[], Iterable[Float[np.ndarray, "_ d"]]],
        groups: Int[np.ndarray, " n"],
        *,
        devices: Sequence[jax.Device] | None = None,
        resident: bool = False,
        block_rows: int = BLOCK_ROWS,
    ):
        """Nothing is read here.

        Args:
          chunks: gives the rows, float32 or float16, in pieces of any lengths; products are summed in float32.
          groups: number of what each row belongs to; of each group only its best row counts, and rows of -1 never do. The rows of a group
            lie together.
          devices: that share the rows; None for all of this process.
          resident: keep the blocks on the devices after the first search, at one copy of the rows in the dtype they have.
          block_rows: rows that a device takes at a time.
        """
        devices = tuple(devices or jax.local_devices())
        self._mesh = jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)
        self._chunks, self._groups = chunks, np.asarray(groups, np.int32)
        counting = self._groups[self._groups >= 0]
        self._found = int(np.count_nonzero(np.diff(counting))) + 1 if len(counting) else 0  # groups that count
        self._single = self._found == len(counting)
        least = 1 << (max(1, -(-len(groups) // len(devices))) - 1).bit_length()  # few rows make a small block
        self._block = min(block_rows, least) * len(devices)
        self._resident: list[Any] | None = [] if resident else None

    def search(self, queries: Float[np.ndarray, "q d"], k: int) -> Best:
        """The k best groups of each query by their best row, or all groups where there are fewer.

        ValueError for k < 1, queries of another width than the rows, or another number of rows than of groups.
        """
        queries = np.asarray(queries, np.float32)
        if k < 1:
            raise ValueError(f"k = {k}: at least one row is asked for")
        k = min(k, self._found)
        if not k or not len(queries):
            return Best(np.zeros((len(queries), k), np.float32), np.zeros((len(queries), k), np.int64))
        together = min(len(queries), QUERY_ROWS)
        padded = np.pad(queries, ((0, -len(queries) % together), (0, 0))).reshape(-1, together, queries.shape[1])
        return self._merged(self._scan(jax.device_put(padded, NamedSharding(self._mesh, PartitionSpec())), k), len(queries), k)

    def _scan(self, queries: Float[Array, "c b d"], k: int) -> _State:
        shape = (self._mesh.size, *queries.shape[:2], k)
        empty = _State(np.full(shape, -np.inf, np.float32), np.full(shape, -1, np.int32), np.full(shape, -1, np.int32))
        state = jax.device_put(empty, NamedSharding(self._mesh, PartitionSpec(AXIS)))
        for rows, groups, first in self._resident or self._placed():
            if rows.shape[1] != queries.shape[2]:
                raise ValueError(f"queries of width {queries.shape[2]} for rows of width {rows.shape[1]}")
            before = state
            state = _step(state, queries, rows, groups, first, mesh=self._mesh, k=k, single=self._single)
            jax.block_until_ready(before)  # one block is searched, one is on its way, and no more
        return state

    def _placed(self) -> Iterator[tuple[Array, Array, np.int32]]:
        """(rows, groups, number of the first row) of each block, on the devices."""
        sharding = NamedSharding(self._mesh, PartitionSpec(AXIS))
        kept, first = [], 0
        for rows, count in _blocks(self._chunks(), self._block):
            groups = np.full(self._block, -1, np.int32)
            groups[:count] = self._groups[first : first + count]
            block = (*jax.device_put((rows, groups), sharding), np.int32(first))
            first += count
            if self._resident is not None:
                kept.append(block)
            yield block
        if first != len(self._groups):
            raise ValueError(f"{len(self._groups)} groups for {first} rows")
        if self._resident is not None:
            self._resident = kept

    def _merged(self, state: _State, count: int, k: int) -> Best:
        """The best of all devices."""
        scores, rows = (np.moveaxis(np.asarray(leaf), 0, 2).reshape(-1, self._mesh.size * k)[:count] for leaf in state[:2])
        order = np.lexsort((rows, -scores), axis=1)
        scores, rows = (np.take_along_axis(leaf, order, axis=1) for leaf in (scores, rows))
        if self._mesh.size > 1 and not self._single:  # a group may lie on several devices
            groups = np.where(rows >= 0, self._groups[rows], -1)
            keep = np.stack([_first_of_each(line, k) for line in groups])
            scores, rows = (np.take_along_axis(leaf, keep, axis=1) for leaf in (scores, rows))
        return Best(scores[:, :k], rows[:, :k].astype(np.int64))


def _blocks(chunks: Iterable[Float[np.ndarray, "_ d"]], size: int) -> Iterator[tuple[Float[np.ndarray, "n d"], int]]:
    """(block, rows in it) of one shape: a view where a block lies in one chunk; the last one ends in zeros."""
    held, filled = None, 0
    for chunk in chunks:
        at = 0
        while at < len(chunk):
            if not filled and len(chunk) - at >= size:
                yield chunk[at : at + size], size
                at += size
                continue
            if not filled:
                held = np.zeros((size, chunk.shape[1]), chunk.dtype)
            part = chunk[at : at + size - filled]
            held[filled : filled + len(part)] = part
            at, filled = at + len(part), filled + len(part)
            if filled == size:
                yield held, size
                filled = 0
    if filled:
        yield held, filled


def _first_of_each(groups: Int[np.ndarray, " n"], k: int) -> Int[np.ndarray, " k"]:
    """Places of the first k different groups, -1 left out."""
    values, places = np.unique(groups, return_index=True)
    return np.sort(places[values >= 0])[:k]


@partial(jax.jit, static_argnames=("mesh", "k", "single"))
def _step(state: _State, queries, rows, groups, first, *, mesh: Mesh, k: int, single: bool) -> _State:
    """The state after one more block. `first` is the number of the block's first row."""

    def on_device(state: _State, queries, rows, groups, first) -> _State:
        first = first + jax.lax.axis_index(AXIS) * rows.shape[0]
        block = rows.astype(jnp.float32)

        def of_queries(given: tuple[_State, Float[Array, "b d"]]) -> _State:
            best, queries = given
            scores = jnp.einsum("qd,nd->qn", queries, block, precision="highest")
            scores = jnp.where(scores == 0.0, 0.0, scores)  # -0.0 would lose to 0.0
            scores = jnp.where(groups[None] >= 0, scores, -jnp.inf)
            scores = scores if single else _best_of_groups(scores, groups)
            top, places = jax.lax.top_k(scores, min(k, scores.shape[1]))  # the first of equals
            return _join(best, _State(top, places + first, groups[places]), k, single)

        local = jax.tree.map(lambda leaf: leaf[0], state)
        return jax.tree.map(lambda leaf: leaf[None], jax.lax.map(of_queries, (local, queries)))

    shared, whole = PartitionSpec(AXIS), PartitionSpec()
    wrapped = jax.shard_map(on_device, mesh=mesh, in_specs=(shared, whole, shared, shared, whole), out_specs=shared, check_vma=False)
    return wrapped(state, queries, rows, groups, first)


def _best_of_groups(scores: Float[Array, "q n"], groups: Int[Array, " n"]) -> Float[Array, "q n"]:
    """The scores with -inf for all rows of a group but its best, the first of equals; rows of -1 in its middle do not cut it in two."""
    place = jnp.arange(len(groups), dtype=jnp.int32)
    run = groups[jax.lax.cummax(jnp.where(groups >= 0, place, 0))]
    starts = jnp.concatenate([jnp.ones(1, bool), run[1:] != run[:-1]])
    head = jax.lax.cummax(jnp.where(starts, place, 0))  # place of the first row of a row's group
    best = jnp.full_like(scores, -jnp.inf).at[:, head].max(scores, indices_are_sorted=True)[:, head]
    candidate = jnp.where(scores == best, place[None], len(groups))
    winner = jnp.full(scores.shape, len(groups), jnp.int32).at[:, head].min(candidate, indices_are_sorted=True)[:, head]
    return jnp.where(winner == place[None], scores, -jnp.inf)


def _join(best: _State, more: _State, k: int, single: bool) -> _State:
    """The k best of two lists [q, k], whose rows are in order; a group that is in both counts once."""
    joined = _State(*(jnp.concatenate(pair, axis=1) for pair in zip(best, more, strict=True)))
    if not single:
        order = jax.lax.top_k(joined.scores, joined.scores.shape[1])[1]
        joined = _picked(joined, order)
        earlier = jnp.tril(jnp.ones((order.shape[1],) * 2, bool), -1)[None]
        again = jnp.any((joined.groups[:, :, None] == joined.groups[:, None, :]) & earlier, axis=2)
        joined = joined._replace(scores=jnp.where(again, -jnp.inf, joined.scores))
    return _picked(joined, jax.lax.top_k(joined.scores, k)[1])


def _picked(state: _State, places: Int[Array, "q k"]) -> _State:
    return _State(*(jnp.take_along_axis(leaf, places, axis=1) for leaf in state))
