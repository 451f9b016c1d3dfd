"""The header of a safetensors file and the index of a sharded one, read strictly. Host only, no jax.

A file is eight bytes (the length of the header, little-endian), the header (JSON: name -> dtype, shape and byte offsets), and the values.
The safetensors package reads the same but copies every tensor, and takes a header that names one tensor twice.
"""

import json
import struct
from pathlib import Path
from typing import Any, BinaryIO

from audiojax.pretrained.stored import DTYPES, MAX_DIMENSIONS, Stored, refused, row_major, within

MAX_HEADER = 8 * 2**20  # bytes; 100,000 tensors, and little enough to be parsed without a thought about memory
CODES = {
    "BOOL": "bool",
    **{f"{letter}{bits}": f"{kind}{bits}" for letter, kind in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)},
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "C64": "complex64",
}


def read_header(path: Path, file: BinaryIO, size: int) -> tuple[dict[str, Stored], dict[str, str]]:
    """Name -> tensor, and the metadata, of a safetensors file of `size` bytes.

    Raises:
      WeightFileError: the header is none, or does not describe every byte of the file exactly once.
    """
    file.seek(0)
    prefix = file.read(8)
    length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
    if not 2 <= length <= min(MAX_HEADER, size - 8):
        raise refused(path, f"is truncated or no safetensors file: it announces a header of {length} bytes and has {size}")
    header = _parsed(path, file.read(length))
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise refused(path, "has metadata that is not text")
    base, tensors, spans = 8 + length, {}, []
    for name, entry in header.items():
        try:
            dtype, shape, begin, end = _entry(entry)
            count = (end - begin) // dtype.itemsize
            tensors[name] = within(dtype, shape, row_major(shape), base + begin, count)
            if tensors[name].span != end - begin:
                raise ValueError(f"has {end - begin} bytes for the shape {list(shape)} in {dtype}")
        except ValueError as error:
            raise refused(path, f"is damaged: tensor {name[:80]!a} {error}") from error
        spans.append((begin, end, name))
    reached = 0
    for begin, end, name in sorted(spans):
        if begin != reached:
            raise refused(path, f"is damaged: tensor {name[:80]!a} starts at byte {begin}, where {reached} is next")
        reached = end
    if base + reached != size:
        raise refused(path, f"has {size} bytes where its header describes {base + reached}")
    return tensors, metadata


def read_index(path: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """Tensor name -> shard name, and the metadata, of a sharded model's `*.index.json`. A shard is a name in the same folder.

    Raises:
      WeightFileError: it is no index, or names a file elsewhere.
    """
    with path.open("rb") as file:
        text = file.read(MAX_HEADER + 1)
    if len(text) > MAX_HEADER:
        raise refused(path, f"has more than {MAX_HEADER} bytes, too many for an index")
    index = _parsed(path, text)
    shards, metadata = index.get("weight_map"), index.get("metadata", {})
    if not isinstance(shards, dict) or not shards or not isinstance(metadata, dict):
        raise refused(path, 'is no index of weights: it has no "weight_map" of tensor names to file names')
    for shard in shards.values():
        if not isinstance(shard, str) or shard in ("", ".", "..") or any(letter in shard for letter in "/\\\0"):
            raise refused(path, f"names the shard {str(shard)[:80]!a}, which is not a file name in its folder", "do not use it")
    return shards, metadata


def _parsed(path: Path, text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_without_doubles)
    except RecursionError:
        raise refused(path, "has a header that nests too deep") from None
    except ValueError as error:  # not UTF-8, not JSON, or a name twice
        raise refused(path, f"has a damaged header ({str(error)[:100]})") from error
    if not isinstance(value, dict):
        raise refused(path, "has a header that is no JSON object")
    return value


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Readers differ in which of two equal names they take."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name appears twice")
    return found


def _entry(entry: Any) -> tuple[Any, tuple[int, ...], int, int]:
    """dtype, shape, first byte and byte after the last, of one tensor's description."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError("is described by something other than dtype, shape and data_offsets")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in CODES:
        raise ValueError(f"has the dtype {str(code)[:20]!a}, which is not read")
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or not all(type(n) is int and 0 <= n < 2**62 for n in numbers):
            raise ValueError("has a shape or offsets that are no sizes")
    if len(offsets) != 2 or offsets[0] > offsets[1] or len(shape) > MAX_DIMENSIONS:
        raise ValueError("has offsets that are no range, or too many dimensions")
    return DTYPES[CODES[code]], tuple(shape), *offsets
