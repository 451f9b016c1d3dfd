"""Public weight files as named arrays, read tensor by tensor: safetensors, sharded folders, and torch checkpoints without torch.

    with open_weights("bert-base-uncased") as weights:   # a file, or a folder with weights in it
        weights.shapes()                                  # at once, from the header
        weights["embeddings.word_embeddings.weight"]      # read-only, mapped from the file when asked for

Nothing in a file is executed. Host only, no jax.
"""

import hashlib
import mmap
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.pretrained.headers import read_header, read_index
from audiojax.pretrained.stored import Stored, refused
from audiojax.pretrained.torch_files import LeftOut, read_torch

SAFETENSORS = ("model.safetensors", "diffusion_pytorch_model.safetensors")
TORCH = ("pytorch_model.bin.index.json", "pytorch_model.bin", "diffusion_pytorch_model.bin")
AUTHORS = ("*.pth", "*.pt")  # of authors who name their file as they like
NAMED = ("*.safetensors.index.json", *SAFETENSORS, "*.safetensors", *TORCH)
PATTERNS = (*((name,) for name in NAMED), AUTHORS)  # of the weights in a folder, the first one goes
USUAL_KEYS = ("state_dict", "model")
READABLE = "audiojax reads safetensors files and torch checkpoints"


class WeightFile(Mapping[str, np.ndarray]):
    """Name -> array of a weight file, in the file's order. Made by `open_weights`; a context manager.

    Arrays are read-only and stay valid after `close`; the file must not be cut short while they are in use.

    Attributes:
      source: the file or index that was opened.
      format: "safetensors", "torch zip" or "torch legacy", with "sharded " before it where several files make the model.
      extra: plain values that were stored beside the tensors.
    """

    def __init__(self, source: Path, form: str, tensors: dict[str, tuple[Stored, int]], extra: dict, files: list[tuple[str, mmap.mmap]]):
        self.source = source
        self.format = form
        self.extra = extra
        self._tensors = tensors  # each with the place of its file in `files`
        self._files = files

    def __getitem__(self, name: str) -> np.ndarray:
        stored, file = self._tensors[name]
        return stored.read(self._opened()[file][1])

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __repr__(self) -> str:
        return f"WeightFile({shown(self.source)}, {self.format}, {len(self)} tensors)"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape, without reading values."""
        return {name: stored.shape for name, (stored, _) in self._tensors.items()}

    def dtypes(self) -> dict[str, np.dtype]:
        """Name -> dtype, without reading values."""
        return {name: stored.dtype for name, (stored, _) in self._tensors.items()}

    def digest(self) -> str:
        """SHA-256 of the file in hex; of several files, that of the lines "<digest>  <name>" in the order of their names."""
        digests = sorted((name, _sha256(mapped)) for name, mapped in self._opened())
        if len(digests) == 1:
            return digests[0][1]
        return hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in digests).encode()).hexdigest()

    def forget(self) -> None:
        """Lets go of the memory that holds what was read from the files; an array that is still in use reads it again."""
        for _, mapped in self._opened():
            _forget(mapped)

    def close(self) -> None:
        """Lets go of the files; the last array that was taken from one ends its mapping."""
        self._files = []

    def __enter__(self) -> "WeightFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _opened(self) -> list[tuple[str, mmap.mmap]]:
        if not self._files:
            raise UsageError(f"{shown(self.source)} has been closed; open it again to read from it")
        return self._files


def open_weights(path: str | os.PathLike, key: str | None = None) -> WeightFile:
    """The tensors of a weight file by name. Their values are read when they are asked for.

    A folder stands for the weights in it, the first of: `*.safetensors.index.json`, `model.safetensors`,
    `diffusion_pytorch_model.safetensors`, the only `*.safetensors`, `pytorch_model.bin.index.json`, `pytorch_model.bin`,
    `diffusion_pytorch_model.bin`, the only `*.pth` or `*.pt`.

    A torch checkpoint is a dictionary, of tensors or of dictionaries of which one holds them. The names of that one are the names here,
    unchanged: nothing is joined. It is `key` where that is given (with "" for the outermost, "a.b" for b in a); else "state_dict" or
    "model", if it holds tensors; else the outermost, if it does; else the only one that does. What the checkpoint holds beside tensors,
    plain numbers, text, lists (tuples too) and dictionaries, is in `extra` as it is nested there: `extra["cfg"]` of BEATs, or
    `extra["args"]`. For safetensors, `extra` is the metadata.

    Args:
      path: a file or a folder.
      key: the dictionary in a torch checkpoint that holds the weights.

    Raises:
      UsageError: no such file, a folder without weights, or a key that is not there.
      WeightFileError: the file is damaged, is no weight file, or holds what is refused.
    """
    path = Path(path).expanduser()
    try:
        if path.is_dir():
            path = _in_folder(path)
        if path.name.endswith(".index.json"):
            return _open_sharded(path, key)
        return _open_file(path, key)
    except OSError as error:
        raise UsageError(
            f"{shown(error.filename or path)}: cannot be read ({error.strerror}); give a weight file or a folder with one"
        ) from error


def holds_weights(folder: Path) -> bool:
    """Whether `open_weights` finds something to open in a folder."""
    return any(_files_like(folder, patterns) for patterns in PATTERNS)


def _files_like(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    found = {file for pattern in patterns for file in folder.glob(pattern)}
    return sorted(file for file in found if file.name[0] != ".")  # some systems keep notes in hidden twins


def _in_folder(folder: Path) -> Path:
    """The file in a folder that holds its weights or lists them."""
    for patterns in PATTERNS:
        found = _files_like(folder, patterns)
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(shown(file.name) for file in found[:3])
            raise UsageError(f"{shown(folder)} has {len(found)} files like {' or '.join(patterns)} ({names}, ...); name one of them")
    looked = ", ".join(("*.safetensors.index.json", "*.safetensors", *TORCH, *AUTHORS))
    raise UsageError(f"{shown(folder)} has no weights: looked for {looked}; if the file has another name, give its path")


def _open_sharded(index: Path, key: str | None) -> WeightFile:
    """The model that an index and the files beside it make."""
    shards, extra = read_index(index)
    file, listed = _mapped(index)
    file.close()
    tensors, forms, files = {}, set(), [(index.name, listed)]
    for name in sorted(set(shards.values())):
        shard = _open_file(index.with_name(name), key)
        wanted = {tensor for tensor, home in shards.items() if home == name}
        if wanted != set(shard):
            odd = sorted(wanted ^ set(shard))
            raise refused(index, f"and {name[:80]!a} do not agree on {len(odd)} tensors, among them {odd[0][:80]!a}")
        tensors |= {tensor: (stored, len(files)) for tensor, (stored, _) in shard._tensors.items()}
        files += shard._files
        forms.add(shard.format)
    ordered = {name: tensors[name] for name in shards}
    return WeightFile(index, f"sharded {' and '.join(sorted(forms))}", ordered, extra, files)


def _open_file(path: Path, key: str | None) -> WeightFile:
    file, mapped = _mapped(path)
    with file:
        if _is_safetensors(path, mapped):
            if key:
                raise UsageError(f"{shown(path)} is a safetensors file, which has no dictionaries in it; leave out the key {key!a}")
            form = "safetensors"
            tensors, extra = read_header(path, file, len(mapped))
        else:
            form, saved = read_torch(path, file, len(mapped))
            tensors, extra = _chosen(path, saved, key), _plain(saved)
    return WeightFile(path, form, {name: (stored, 0) for name, stored in tensors.items()}, extra, [(path.name, mapped)])


def _mapped(path: Path) -> tuple[BinaryIO, mmap.mmap]:
    """The open file and its bytes, mapped into memory."""
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its writer
        raise UsageError(f"{shown(path)} is not a file; give a weight file or a folder with one")
    file = path.open("rb")
    try:
        if not os.fstat(file.fileno()).st_size:
            raise refused(path, "is empty")
        return file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except BaseException:
        file.close()
        raise


def _is_safetensors(path: Path, content: mmap.mmap) -> bool:
    """Whether the file is to be read as safetensors, and not as a torch checkpoint.

    Raises:
      WeightFileError: it is neither, but what a download leaves behind when it goes wrong.
    """
    head = content[:512]
    text = head.lstrip().lower()
    if head.startswith(b"version https://git-lfs"):
        raise refused(path, "is a Git LFS pointer, not the weights it stands for", "download the real file (git lfs pull)")
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise refused(path, "is a web page, not weights", "the download needs another address or a login")
    if path.suffix == ".safetensors" or (len(head) > 8 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] <= len(content)):
        return True
    if head.startswith((b"PK", b"\x80")):
        return False
    kind = "is a text file" if head.isascii() and head.decode().isprintable() else "is no weight file"
    raise refused(path, f"{kind}: it starts with {head[:24]!r}", READABLE)


def _chosen(path: Path, saved: Any, key: str | None) -> dict[str, Stored]:
    """The tensors of the dictionary that holds the weights, as `open_weights` says."""
    places = {place: found for place, found in _dictionaries(saved) if any(isinstance(value, Stored) for value in found.values())}
    among = f"; tensors are in {', '.join(repr(place)[:80] for place in list(places)[:8])}" if places else ""
    if not places:
        raise refused(path, "holds no dictionary of tensors", READABLE + " that hold a state dict")
    if key is None:
        key = next((usual for usual in (*USUAL_KEYS, "") if usual in places), None)
    if key is None and len(places) == 1:
        (key,) = places
    if key is None:
        raise UsageError(f"{shown(path)} holds several dictionaries of tensors{among}; say which by its key")
    if key not in places:
        raise UsageError(f"{shown(path)} has no dictionary of tensors {key!a}{among}")
    tensors = {name: value for name, value in places[key].items() if isinstance(value, Stored)}
    if not all(isinstance(name, str) for name in tensors):
        raise refused(path, f"has tensors under numbers in {key!a}, not under names", READABLE + " that hold a state dict")
    return tensors


def _dictionaries(saved: Any, place: str = "") -> Iterator[tuple[str, dict]]:
    """Every dictionary that is reached through dictionaries alone, with the keys that lead to it joined by "."."""
    if isinstance(saved, dict):
        yield place, saved
        for name, value in saved.items():
            yield from _dictionaries(value, f"{place}.{name}" if place else str(name))


def _plain(saved: Any) -> dict:
    """The outermost dictionary without tensors, and without what then is empty."""
    kept = _without_tensors(saved)
    return kept if isinstance(kept, dict) else {}


def _without_tensors(value: Any) -> Any:
    if isinstance(value, dict | list) and value:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        kept = {key: plain for key, item in pairs if not isinstance(plain := _without_tensors(item), LeftOut)}
        if not kept:
            return LeftOut()
        return kept if isinstance(value, dict) else list(kept.values())
    return LeftOut() if isinstance(value, Stored) else value


def _sha256(content: mmap.mmap, chunk: int = 2**24) -> str:
    digest = hashlib.sha256()
    with memoryview(content) as view:
        for start in range(0, len(view), chunk):
            digest.update(view[start : start + chunk])
            _forget(content)  # else the whole file would stay in memory, beside the weights that were made of it
    return digest.hexdigest()


def _forget(mapped: mmap.mmap) -> None:
    """Gives the pages of a mapped file back; they are read again when they are looked at."""
    if hasattr(mapped, "madvise"):  # not on Windows
        mapped.madvise(mmap.MADV_DONTNEED)
