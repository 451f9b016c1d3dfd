"""Where a tensor lies in a file, and its values from there. Host only, no jax."""

import dataclasses
import math
import mmap
import os

import ml_dtypes
import numpy as np

from audiojax.errors import AudiojaxError
from audiojax.files import shown

DTYPES = {
    **{name: np.dtype(name) for name in ("bool", "float16", "float32", "float64", "complex64", "complex128")},
    **{f"{sign}int{bits}": np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
    **{name: np.dtype(getattr(ml_dtypes, name)) for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2")},
}
MAX_DIMENSIONS = 32
AGAIN = "download or copy it again"


class WeightFileError(AudiojaxError):
    """A weight file is damaged, or holds what this library refuses to read."""


def refused(path: str | os.PathLike, wrong: str, advice: str = AGAIN) -> WeightFileError:
    """The error that says what is wrong with a file, whatever text of the file `wrong` quotes, and what to do."""
    wrong = " ".join(wrong.encode("ascii", "backslashreplace").decode().split())
    return WeightFileError(f"{shown(path)} {wrong[:300]}; {advice}")


@dataclasses.dataclass(frozen=True)
class Stored:
    """A tensor in a file: `start` is the byte of its first element, `strides` are in bytes."""

    dtype: np.dtype
    shape: tuple[int, ...]
    start: int
    strides: tuple[int, ...]

    @property
    def span(self) -> int:
        """Bytes from the first element to the end of the last; 0 where there is none."""
        if 0 in self.shape:
            return 0
        return self.dtype.itemsize + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))

    def read(self, mapped: mmap.mmap) -> np.ndarray:
        """The values, read-only: a view into the mapped file, but copies of what is not aligned and of booleans (bytes but 0 are True)."""
        dtype = np.dtype(np.uint8) if self.dtype == bool else self.dtype
        buffer, start = mapped, self.start
        if self.span == 0:
            array = np.zeros(self.shape, dtype)
        else:
            if start % dtype.alignment:
                buffer, start = np.frombuffer(mapped, np.uint8, self.span, start).copy(), 0
            array = np.ndarray(self.shape, dtype, buffer, start, self.strides)
        if self.dtype == bool:
            array = np.asarray(array != 0)  # without dimensions it would be a scalar
        array.flags.writeable = False
        return array


def within(dtype: np.dtype, shape: tuple[int, ...], strides: tuple[int, ...], start: int, elements: int) -> Stored:
    """The tensor whose storage is the `elements` elements from byte `start` on. Strides are in elements.

    Raises:
      ValueError: it reaches beyond them, or has more elements than they are: a view by stride 0, small in the file and large in memory.
    """
    if len(shape) > MAX_DIMENSIONS or math.prod(max(n, 1) for n in shape) * dtype.itemsize >= 2**62:
        raise ValueError(f"has the shape {list(shape)[:MAX_DIMENSIONS]}, which is too large")
    steps = tuple(stride * dtype.itemsize if n > 1 else dtype.itemsize for n, stride in zip(shape, strides, strict=True))
    stored = Stored(dtype, shape, start, steps)
    if stored.span > elements * dtype.itemsize:
        raise ValueError(f"reaches beyond the {elements} elements of its storage")
    if math.prod(shape) > elements:
        raise ValueError(f"shows {elements} elements of its storage as {math.prod(shape)}")
    return stored


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides in elements of a tensor whose last dimension runs fastest."""
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
