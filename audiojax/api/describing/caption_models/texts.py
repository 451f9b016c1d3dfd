"""Text through a tower on all devices: a BERT with its tokenizer, and rows of token ids in batches of few shapes."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from audiojax.api.opening import final_folder, is_public, open_tower
from audiojax.encoders.bert import BertEncoder
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.pretrained.hub import find_checkpoint
from audiojax.pretrained.store import is_converted
from audiojax.text.tokenizer import Tokenizer
from audiojax.towers.llama import bucket
from audiojax.towers.text import TextTower
from audiojax.trainer.layout import Layout, make_layout
from audiojax.typing import Array

ROWS = 32  # texts at a time, at least one a device

RowFunction = Callable[[Mapping[str, Any], Int[Array, "b l"], Bool[Array, "b l"]], Float[Array, "b ..."]]


def open_bert(name: str | os.PathLike, progress: bool = True) -> tuple[TextTower, Tokenizer]:
    """A BERT or RoBERTa with its tokenizer.

    Raises:
      UsageError: as `open_tower`, another kind of model, no tokenizer beside it, or one that is not its own.
    """
    tower = open_tower(name, progress)
    if not isinstance(tower.module, BertEncoder):
        raise UsageError(f"{shown(name)}: holds a {type(tower.module).__name__}, and a BERT or RoBERTa is needed")
    tokenizer = Tokenizer.load(_tokenizer_folder(name))
    if tokenizer.vocab_size > tower.config.vocab_size:
        raise UsageError(f"{shown(name)}: its tokenizer has {tokenizer.vocab_size} entries, and the model {tower.config.vocab_size}")
    return tower, tokenizer


def _tokenizer_folder(name: str | os.PathLike) -> Path:
    if not is_public(name):
        return final_folder(name) / "tokenizer"
    folder = find_checkpoint(name)
    if is_converted(folder):
        return folder / "files"
    return folder if folder.is_dir() else folder.parent


class RowsOnDevices:
    """A function of token ids, compiled once for each bucket of lengths, with the rows of a batch spread over all devices.

    A row goes with others of its bucket and padding of its own, so what it becomes depends on nothing but itself.
    """

    def __init__(self, function: RowFunction, params: Mapping[str, Any], pad_id: int, limit: int, layout: Layout | None = None):
        """Places the parameters.

        Args:
          function: (params, ids, mask) -> an array with a row for each row.
          pad_id: id at the positions where the mask is False.
          limit: tokens that the model takes.
          layout: on which the parameters lie already; None copies them to every device.
        """
        self._layout = make_layout("pmap") if layout is None else layout
        self._call = partial(jax.jit(function), jax.device_put(params, self._layout.replicated) if layout is None else params)
        self._pad_id, self._limit = pad_id, limit
        self._size = -(-ROWS // self._layout.devices) * self._layout.devices

    def __call__(self, rows: Sequence[Sequence[int]]) -> Iterator[tuple[int, Float[np.ndarray, "..."]]]:
        """(number of the row, what it becomes), the shortest rows first; each row has a token and at most `limit`."""
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        for length, group in groupby(order, key=lambda i: min(bucket(len(rows[i])), self._limit)):
            numbers = list(group)
            for start in range(0, len(numbers), self._size):
                chosen = numbers[start : start + self._size]
                ids, mask = np.full((self._size, length), self._pad_id, np.int32), np.zeros((self._size, length), bool)
                for place in range(self._size):
                    row = rows[chosen[min(place, len(chosen) - 1)]]  # copies of the last row fill the batch
                    ids[place, : len(row)], mask[place, : len(row)] = row, True
                out = np.asarray(self._call(*jax.device_put((ids, mask), self._layout.batch_sharding)))
                yield from zip(chosen, out, strict=False)
