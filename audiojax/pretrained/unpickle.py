"""A machine for the pickles of torch checkpoints that runs nothing they ask for. Standard library alone: it works in a child process.

A pickle is a program for a small stack machine. This is that machine without the instructions that weights do not need, and the names
that a pickle may ask for stand for data types of this file: no function of another module is ever looked up. What a hostile file can still
do is to be large, so steps, bytes and nesting are bounded.
"""

import dataclasses
import pickletools
import struct
from typing import Any, BinaryIO

MAX_PICKLE = 64 * 2**20  # bytes; the pickles of public checkpoints have less than one million
MAX_STEPS = 1_000_000  # instructions, and entries that an instruction copies
MAX_NODES = 200_000  # values in the tree, counted as often as they appear
MAX_TEXT = 8 * 2**20  # characters in the tree, counted as often as they appear
MAX_DEPTH = 64
MAX_BITS = 1024  # of an integer

ITEM_SIZES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
    "complex64": 8,
    "complex128": 16,
}
STORAGES = {
    "torch.DoubleStorage": "float64",
    "torch.FloatStorage": "float32",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
    "torch.ComplexFloatStorage": "complex64",
    "torch.ComplexDoubleStorage": "complex128",
}
DTYPES = {f"torch.{name}" for name in ITEM_SIZES}
NUMPY_CODES = {  # numpy's letter and size -> struct's letter
    **dict(zip(("f8", "f4", "f2", "b1"), "dfe?", strict=True)),
    **dict(zip(("i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1"), "qihbQIHB", strict=True)),
}
PLAIN = {  # instructions that push the value that follows them
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


class Refused(Exception):
    """Why the file is not read: the end of a sentence that begins with its name."""


@dataclasses.dataclass(frozen=True)
class Name:
    """A name that the pickle asked for and may have: a key of CALLS."""

    text: str


@dataclasses.dataclass(frozen=True)
class StorageType:
    dtype: str


@dataclasses.dataclass(frozen=True)
class Storage:
    """Elements `first` to `first + numel` of the storage `key`."""

    key: str
    dtype: str
    first: int
    numel: int


@dataclasses.dataclass(frozen=True)
class Tensor:
    index: int


@dataclasses.dataclass
class NumpyDtype:
    code: str
    order: str = "<"


class OrderedDict(dict):
    """Stands for collections.OrderedDict, whose attributes (torch keeps `_metadata` there) are not kept."""


class Namespace(dict):
    """Stands for argparse.Namespace: the options of the run that wrote the checkpoint."""


class Bounded:
    """A stream of which at most MAX_PICKLE bytes are read, however much is asked for at once."""

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self._left = MAX_PICKLE

    def read(self, count: int) -> bytes:
        if count > self._left:
            raise Refused(f"holds a pickle of more than {MAX_PICKLE} bytes, or is damaged")
        self._left -= count
        return self._stream.read(count)

    def readline(self) -> bytes:
        return self._stream.readline(4096)


class Machine:
    """Runs pickles; what they have asked for is in `storages` (key -> dtype, elements) and `tensors`."""

    def __init__(self):
        self.storages: dict[str, tuple[str, int]] = {}
        self.tensors: list[list] = []
        self._steps = 0

    def run(self, stream: BinaryIO) -> Any:
        """The value of the pickle that starts here; the stream stands behind it afterwards."""
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        try:
            for instruction, argument, _ in pickletools.genops(Bounded(stream)):
                self._spend(1)
                self._step(instruction.name, argument)
            (value,) = self._stack
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, AssertionError) as error:
            raise Refused(f"holds a damaged pickle ({type(error).__name__}: {error})") from error
        return value

    def _spend(self, steps: int) -> None:
        self._steps += steps
        if self._steps > MAX_STEPS:
            raise Refused(f"holds a pickle of more than {MAX_STEPS} steps")

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in PLAIN:
            if isinstance(argument, int) and argument.bit_length() > MAX_BITS:
                raise Refused(f"holds an integer of more than {MAX_BITS} bits")
            stack.append(argument)
            return
        if name in CONSTANTS:
            stack.append(CONSTANTS[name])
            return
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                self._marks.append(len(stack))
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "LIST":
                stack.append(self._since_mark())
            case "TUPLE":
                stack.append(tuple(self._since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self._pop(int(name[-1]))))
            case "DICT":
                stack.append(self._filled({}, self._since_mark()))
            case "APPEND":
                items = self._pop(1)
                instance(stack[-1], list).extend(items)
            case "APPENDS":
                items = self._since_mark()
                instance(stack[-1], list).extend(items)
            case "SETITEM":
                items = self._pop(2)
                self._filled(stack[-1], items)
            case "SETITEMS":
                items = self._since_mark()
                self._filled(stack[-1], items)
            case "GLOBAL":
                stack.append(_named(argument.replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                module, attribute = self._pop(2)
                stack.append(_named(f"{instance(module, str)}.{instance(attribute, str)}"))
            case "REDUCE":
                function, arguments = self._pop(2)
                stack.append(self._call(instance(function, Name).text, instance(arguments, tuple)))
            case "NEWOBJ":
                kind, arguments = self._pop(2)
                if kind != Name("argparse.Namespace") or arguments != ():
                    raise Refused("builds an object that weights do not need")
                stack.append(Namespace())
            case "BUILD":
                (state,) = self._pop(1)
                self._set_state(stack[-1], state)
            case "BINPERSID":
                stack.append(self._storage(*self._pop(1)))
            case _:
                raise Refused(f"uses the pickle instruction {name}, which weights do not need")

    def _pop(self, count: int) -> list[Any]:
        items = self._stack[-count:]
        if len(items) != count:
            raise IndexError("nothing left to take")
        del self._stack[-count:]
        return items

    def _since_mark(self) -> list[Any]:
        mark = self._marks.pop()
        items = self._stack[mark:]
        del self._stack[mark:]
        return items

    def _filled(self, target: Any, items: list[Any]) -> dict:
        """The dictionary with key, value, key, value, ... added. Keys are those whose hashing is cheap whatever they hold."""
        target = instance(target, dict)
        if len(items) % 2:
            raise ValueError("a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = value
        return target

    def _set_state(self, target: Any, state: Any) -> None:
        if isinstance(target, Namespace):
            self._spend(len(instance(state, dict)))
            target.update(state)
        elif isinstance(target, OrderedDict):
            instance(state, dict)
        elif isinstance(target, NumpyDtype):
            target.order = {"<": "<", "|": "<", ">": ">"}[instance(instance(state, tuple)[1], str)]
        else:
            raise Refused(f"gives a {type(target).__name__} a state, which weights do not need")

    def _storage(self, identity: Any) -> Storage:
        """What a persistent id stands for: ("storage", type, key, place, elements), and in old files (key, first, elements) of a part."""
        identity = instance(identity, tuple)
        if identity and identity[0] == "module":
            raise Refused("holds a pickled model with its source code, not weights")
        if not 5 <= len(identity) <= 6 or identity[0] != "storage":
            raise Refused("names a storage in a way that torch does not")
        kind, key, _, numel = identity[1:5]
        dtype, key, numel = instance(kind, StorageType).dtype, instance(key, str), _size(numel)
        if self.storages.setdefault(key, (dtype, numel)) != (dtype, numel):
            raise Refused(f"describes the storage {key[:40]!a} in two ways")
        if len(identity) == 5 or identity[5] is None:
            return Storage(key, dtype, 0, numel)
        _, first, part = instance(identity[5], tuple)
        if _size(first) + _size(part) > numel:
            raise Refused(f"names a part outside of the storage {key[:40]!a}")
        return Storage(key, dtype, first, part)

    def _call(self, name: str, arguments: tuple) -> Any:
        if name not in CALLS:
            raise Refused(f"calls {name}, which weights do not need")
        return CALLS[name](self, *arguments)

    def _rebuild_tensor(self, storage, offset, shape, strides, requires_grad=False, hooks=None, metadata=None) -> Tensor:
        storage = instance(storage, Storage)
        shape, strides = (tuple(_size(n) for n in _short(numbers)) for numbers in (shape, strides))
        if len(shape) != len(strides):
            raise ValueError("a tensor with another number of strides than dimensions")
        self.tensors.append([storage.dtype, storage.key, storage.first, storage.numel, _size(offset), shape, strides])
        return Tensor(len(self.tensors) - 1)

    def _rebuild_parameter(self, tensor, requires_grad=False, hooks=None) -> Tensor:
        return instance(tensor, Tensor)

    def _make_ordered_dict(self, pairs=()) -> OrderedDict:
        pairs = pairs if isinstance(pairs, list) else list(instance(pairs, tuple))
        self._spend(len(pairs))
        return OrderedDict((_key(key), value) for key, value in pairs)

    def _make_size(self, numbers=()) -> tuple:
        return tuple(_size(n) for n in _short(numbers))

    def _make_device(self, kind, index=None) -> str:
        return instance(kind, str)[:40] + ("" if index is None else f":{_size(index)}")

    def _make_bytes(self, text, coding) -> bytes:
        """Protocol 2 has no bytes: it keeps them as text. Only those of numpy scalars are wanted."""
        if len(text) > 64 or coding not in ("latin1", "latin-1"):
            raise Refused("encodes text, which weights do not need")
        return text.encode("latin-1")

    def _make_numpy_dtype(self, code, align=False, copy=False) -> NumpyDtype:
        if instance(code, str) not in NUMPY_CODES:
            raise Refused(f"holds a numpy scalar of type {code[:40]!a}, which is not read")
        return NumpyDtype(code)

    def _make_numpy_scalar(self, dtype, content) -> int | float | bool:
        dtype = instance(dtype, NumpyDtype)
        try:
            return struct.unpack(dtype.order + NUMPY_CODES[dtype.code], content)[0]
        except struct.error as error:
            raise ValueError(str(error)) from error


CALLS = {
    "torch._utils._rebuild_tensor_v2": Machine._rebuild_tensor,
    "torch._utils._rebuild_parameter": Machine._rebuild_parameter,
    "torch.Size": Machine._make_size,
    "torch.device": Machine._make_device,
    "collections.OrderedDict": Machine._make_ordered_dict,
    "numpy.dtype": Machine._make_numpy_dtype,
    "numpy.core.multiarray.scalar": Machine._make_numpy_scalar,
    "numpy._core.multiarray.scalar": Machine._make_numpy_scalar,
    "_codecs.encode": Machine._make_bytes,
}


def _named(name: str) -> Any:
    """What stands for a name that a pickle asks for: never the thing itself."""
    if name in STORAGES:
        return StorageType(STORAGES[name])
    if name in DTYPES:
        return name
    if name in CALLS or name == "argparse.Namespace":
        return Name(name)
    raise Refused(f"asks for {name[:120]!a}, which is no part of weights and may run code")


def instance(value: Any, kind: type) -> Any:
    """The value, if it is of that kind: what is in the wrong place is damage."""
    if not isinstance(value, kind):
        raise TypeError(f"{type(value).__name__} in the place of {kind.__name__}")
    return value


def _size(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**62:
        raise ValueError("a size or an offset that is no number of elements")
    return value


def _short(numbers: Any) -> tuple:
    if len(instance(numbers, tuple)) > MAX_DEPTH:
        raise ValueError(f"a shape of {len(numbers)} dimensions")
    return numbers


def _key(key: Any) -> str | int:
    """Nested tuples hash as deep as they nest, and large integers can be chosen to collide."""
    if type(key) is str or (type(key) is int and abs(key) < 2**32):
        return key
    raise Refused(f"holds a dictionary with a key that is neither text nor a small integer, but a {type(key).__name__}")


class Tree:
    """Turns what was saved into JSON, where shared parts appear as often as they are reached."""

    def __init__(self):
        self._nodes = 0
        self._text = 0

    def encode(self, value: Any, depth: int = 0) -> Any:
        self._nodes += 1
        self._text += len(value) if isinstance(value, str) else 0
        if self._nodes > MAX_NODES or self._text > MAX_TEXT:
            raise Refused(f"holds more than {MAX_NODES} values or {MAX_TEXT} characters beside its weights")
        if depth > MAX_DEPTH:
            raise Refused(f"nests its values deeper than {MAX_DEPTH}")
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, list | tuple):
            return [self.encode(item, depth + 1) for item in value]
        if isinstance(value, dict):
            return {"dict": [[self.encode(key), self.encode(item, depth + 1)] for key, item in value.items()]}
        return {"tensor": value.index} if isinstance(value, Tensor) else {"other": type(value).__name__}
