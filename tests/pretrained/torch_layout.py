"""Torch checkpoints of both formats, written without torch: for the tests that read them where there is none.

Names of torch are written into the pickle without being looked up, so any name can be asked for, also a hostile one.
"""

import dataclasses
import io
import pickle
import struct
import zipfile
from typing import Any

import ml_dtypes
import numpy as np

STORAGE_NAMES = {
    np.dtype(np.float64): "DoubleStorage",
    np.dtype(np.float32): "FloatStorage",
    np.dtype(np.float16): "HalfStorage",
    np.dtype(ml_dtypes.bfloat16): "BFloat16Storage",
    np.dtype(np.int64): "LongStorage",
    np.dtype(np.int32): "IntStorage",
    np.dtype(np.int16): "ShortStorage",
    np.dtype(np.int8): "CharStorage",
    np.dtype(np.uint8): "ByteStorage",
    np.dtype(bool): "BoolStorage",
    np.dtype(np.complex64): "ComplexFloatStorage",
}
LEGACY_FRONT = tuple(
    pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})
)


@dataclasses.dataclass(frozen=True)
class Global:
    """A name in a pickle."""

    module: str
    name: str

    def __call__(self):
        raise AssertionError("only a name")


class Call:
    """A call in a pickle: REDUCE of a name with arguments, then BUILD where there is a state."""

    def __init__(self, module: str, name: str, *arguments: Any, state: Any = None):
        self.reduced = (Global(module, name), arguments) if state is None else (Global(module, name), arguments, state)

    def __reduce__(self):
        return self.reduced


class Storage:
    """A one-dimensional array that tensors share."""

    def __init__(self, values: np.ndarray, view: tuple[str, int, int] | None = None):
        self.values = np.ascontiguousarray(values).reshape(-1)
        self.view = view  # as in files of torch 0.4: key, first element, elements


def tensor(values: Any, storage: Storage | None = None, offset: int = 0, strides: tuple[int, ...] | None = None) -> Call:
    """A tensor of these values; with a storage, the part of it with their shape."""
    values = np.asarray(values)
    contiguous = tuple(int(np.prod(values.shape[i + 1 :])) for i in range(values.ndim))
    arguments = (storage or Storage(values), offset, values.shape, strides or contiguous, False, Call("collections", "OrderedDict"))
    return Call("torch._utils", "_rebuild_tensor_v2", *arguments)


def parameter(values: Any) -> Call:
    return Call("torch._utils", "_rebuild_parameter", tensor(values), True, Call("collections", "OrderedDict"))


class _Pickler(pickle._Pickler):
    """The pickler in Python, whose steps can be replaced: names are written as they are, storages by their keys."""

    def __init__(self, file: io.BytesIO, protocol: int, legacy: bool):
        super().__init__(file, protocol)
        self.storages: dict[int, Storage] = {}
        self._legacy = legacy

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, Storage):
            return None
        self.storages.setdefault(id(value), value)
        key = str(list(self.storages).index(id(value)))
        kind = Global("torch", STORAGE_NAMES[value.values.dtype])
        return ("storage", kind, key, "cpu", len(value.values), *([value.view] if self._legacy else []))

    def save(self, value: Any, save_persistent_id: bool = True) -> None:
        if isinstance(value, Global):
            self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())
        else:
            super().save(value, save_persistent_id)


def pickled(saved: Any, protocol: int = 2, legacy: bool = False) -> tuple[bytes, list[Storage]]:
    """The pickle, and the storages that it names as "0", "1", ..."""
    memory = io.BytesIO()
    pickler = _Pickler(memory, protocol, legacy)
    pickler.dump(saved)
    return memory.getvalue(), list(pickler.storages.values())


def zip_file(saved: Any, protocol: int = 2) -> bytes:
    """As torch 1.6 and later write it."""
    return zip_of(*pickled(saved, protocol))


def zip_of(program: bytes, storages: list[Storage], byteorder: bytes = b"little", compression: int = zipfile.ZIP_STORED) -> bytes:
    """The zip layout around any pickle."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", compression) as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/byteorder", byteorder)
        for key, storage in enumerate(storages):
            archive.writestr(f"archive/data/{key}", storage.values.tobytes())
        archive.writestr("archive/version", b"3\n")
    return memory.getvalue()


def legacy_file(saved: Any, protocol: int = 2) -> bytes:
    """As torch before 1.6 wrote it."""
    return legacy_of(*pickled(saved, protocol, legacy=True))


def legacy_of(program: bytes, storages: list[Storage]) -> bytes:
    """The legacy layout around any pickle."""
    keys = pickle.dumps([str(key) for key in range(len(storages))], 2)
    contents = [struct.pack("<q", len(storage.values)) + storage.values.tobytes() for storage in storages]
    return b"".join((*LEGACY_FRONT, program, keys, *contents))
