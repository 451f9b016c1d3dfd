"""The child process that says what lies where in a torch checkpoint, without torch.

Started by `audiojax.pretrained.torch_files` as `python -I -S torch_child.py` with the checkpoint as standard input; prints one JSON object:

    {"format": "torch zip" or "torch legacy",
     "storages": {key: [first byte, bytes]},
     "tensors": [[dtype, storage key, elements of the storage before its own first, its elements, offset, shape, strides], ...],
     "tree": what was saved: {"dict": [[key, value], ...]}, lists, plain values, {"tensor": index}, {"other": type}}

or {"refused": why}. Everything that takes a hostile file apart, zip directory and pickle, happens here, under limits of memory and time.
"""

import codecs
import contextlib
import io
import json
import os
import resource
import struct
import sys
import zipfile
import zlib
from typing import Any, BinaryIO

sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # the package itself is out of reach, and with it all that it imports
from unpickle import ITEM_SIZES, MAX_PICKLE, Machine, Refused, Tree, instance  # noqa: E402

MEMORY_LIMIT = 2**30  # bytes of address space
SECONDS_LIMIT = 10  # of processor time
MAX_MEMBERS = 200_000
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001


def describe(file: BinaryIO) -> dict:
    """The description of a checkpoint of either format, as at the top of this file."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    zipped = file.read(2) == b"PK"
    file.seek(0)
    machine = Machine()
    tree, storages = _describe_zip(file, machine) if zipped else _describe_legacy(file, size, machine)
    name = "torch zip" if zipped else "torch legacy"
    return {"format": name, "storages": storages, "tensors": machine.tensors, "tree": Tree().encode(tree)}


def _describe_zip(file: BinaryIO, machine: Machine) -> tuple[Any, dict]:
    """A zip file with `<name>/data.pkl`, and storages in `<name>/data/<key>`."""
    members = _members(file)
    pickles = [name for name in members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise Refused("is a zip file, but not of torch: it has no data.pkl" if not pickles else "has more than one data.pkl")
    root = pickles[0].removesuffix("data.pkl")
    order = _content(file, members, f"{root}byteorder", 16)
    if order not in (None, b"little"):
        raise Refused(f"has its numbers in {order!a} byte order; save it again on a little-endian machine")
    stream = io.BytesIO(_content(file, members, pickles[0], MAX_PICKLE))
    tree = machine.run(stream)
    if stream.read(1):
        raise Refused("has something behind its pickle")
    storages = {}
    for key, (dtype, numel) in machine.storages.items():
        if f"{root}data/{key}" not in members:
            raise Refused(f"lacks the storage {key[:40]!a}")
        storages[key] = start, size = members[f"{root}data/{key}"][:2]
        if size != numel * ITEM_SIZES[dtype]:
            raise Refused(f"announces {numel} {dtype} elements in the storage {key[:40]!a}, which has {size} bytes")
    return tree, storages


def _members(file: BinaryIO) -> dict[str, tuple[int, int, int]]:
    """Name -> first byte, bytes, checksum of the members, which lie uncompressed side by side.

    Torch maps them into memory and so never compresses; unpacking here would only open the door to files that are larger than they look.
    """
    with zipfile.ZipFile(file) as archive:
        infos, directory = archive.infolist(), archive.start_dir
    if len(infos) > MAX_MEMBERS:
        raise Refused(f"is a zip file of more than {MAX_MEMBERS} members")
    members, end = {}, 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        name = info.orig_filename
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.compress_size != info.file_size:
            raise Refused(f"has a compressed or encrypted member {name[:40]!a}, which torch does not write")
        if name in members:
            raise Refused(f"has two members named {name[:40]!a}")
        file.seek(info.header_offset)
        signature, *_, name_bytes, extra_bytes = struct.unpack("<4s5H3I2H", file.read(30))
        local_name = file.read(name_bytes)
        coding = "utf-8" if info.flag_bits & 0x800 else "cp437"
        start = info.header_offset + 30 + name_bytes + extra_bytes
        if signature != b"PK\3\4" or local_name.decode(coding) != name or info.header_offset < end or start + info.file_size > directory:
            raise Refused(f"has a zip directory that does not fit its member {name[:40]!a}")
        end = start + info.file_size
        members[name] = start, info.file_size, info.CRC
    return members


def _content(file: BinaryIO, members: dict[str, tuple[int, int, int]], name: str, limit: int) -> bytes | None:
    if name not in members:
        return None
    start, size, checksum = members[name]
    if size > limit:
        raise Refused(f"has {size} bytes in {name[:40]!a}, more than {limit}")
    file.seek(start)
    content = file.read(size)
    if checksum and zlib.crc32(content) != checksum:  # torch can be told to leave it out, and then writes 0
        raise Refused(f"is damaged: the checksum of {name[:40]!a} does not hold")
    return content


def _describe_legacy(file: BinaryIO, size: int, machine: Machine) -> tuple[Any, dict]:
    """Before torch 1.6: the pickles of a magic number, a version, the writer's machine, what was saved and the keys; then the storages."""
    if machine.run(file) != LEGACY_MAGIC:
        raise Refused("is a pickle, but not of torch")
    if machine.run(file) != LEGACY_PROTOCOL:
        raise Refused(f"is of a torch format other than {LEGACY_PROTOCOL}")
    if instance(machine.run(file), dict).get("little_endian") is not True:
        raise Refused("has its numbers in big-endian byte order; save it again on a little-endian machine")
    tree = machine.run(file)
    keys = machine.run(file)
    storages = {}
    for key in instance(keys, list):
        if type(key) is not str or key in storages or key not in machine.storages:
            raise Refused("lists storages that its pickle does not name")
        dtype, numel = machine.storages[key]
        start, count = file.tell() + 8, numel * ITEM_SIZES[dtype]
        if file.read(8) != struct.pack("<q", numel) or start + count > size:
            raise Refused(f"is truncated or damaged at the storage {key[:40]!a}")
        storages[key] = start, count
        file.seek(start + count)
    if len(storages) < len(machine.storages) or file.tell() != size:
        raise Refused("lacks storages, or has something behind them")
    return tree, storages


def _confine() -> None:
    """From here on this process opens no file, writes none, starts none, and is ended when it takes too much time or memory."""
    for coding in ("cp437", "latin-1", "utf-8", "ascii", "raw-unicode-escape"):
        codecs.lookup(coding)  # imports what it needs
    limits = {"CPU": SECONDS_LIMIT, "AS": MEMORY_LIMIT, "FSIZE": 0, "NOFILE": 0, "NPROC": 0, "CORE": 0}
    for name, limit in limits.items():
        with contextlib.suppress(ValueError, OSError, AttributeError):  # a tighter limit is in force, or the system has none
            hard = limit + (name == "CPU")  # a process ended at the soft limit says what ended it
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, hard))


def main() -> None:
    with open(0, "rb", closefd=False) as file:
        _confine()
        try:
            answer = describe(file)
        except Refused as error:
            answer = {"refused": str(error)}
        except MemoryError:
            answer = {"refused": f"needs more than {MEMORY_LIMIT // 2**20} MiB to be looked through"}
        except Exception as error:  # zipfile and struct raise what they like
            answer = {"refused": f"is damaged ({type(error).__name__}: {error})"}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
