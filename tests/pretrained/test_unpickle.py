"""What hostile and damaged torch checkpoints come to: a reason, and nothing of theirs has run."""

import os
import pickle
import struct
import time
import zipfile

import numpy as np
import pytest

from audiojax.errors import AudiojaxError
from audiojax.pretrained import torch_files
from audiojax.pretrained.reading import open_weights
from audiojax.pretrained.stored import WeightFileError
from tests.pretrained.torch_layout import LEGACY_FRONT, Call, Global, Storage, legacy_file, legacy_of, pickled, tensor, zip_file, zip_of

NO_KEYS = pickle.dumps([], 2)
WEIGHT = {"w": tensor(np.float32([1, 2, 3]))}


class Touch:
    """A pickle that makes a file when it is loaded by Python's own reader."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def attempt(tmp_path, content):
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    return open_weights(path)


def refusal(tmp_path, content):
    """The message; it is one line and names the file, and it did not take long."""
    began = time.monotonic()
    with pytest.raises(WeightFileError) as caught:
        attempt(tmp_path, content)
    message = str(caught.value)
    assert time.monotonic() - began < 60
    assert message.startswith(str(tmp_path / "a.pt"))
    assert "\n" not in message
    assert len(message) < 800
    return message


def program(*instructions):
    """A pickle of these bytes."""
    return b"\x80\x02" + b"".join(instructions) + b"."


@pytest.mark.parametrize("layout", [zip_file, legacy_file])
def test_nothing_runs(tmp_path, layout):
    marker = tmp_path / "ran"
    pickle.loads(pickle.dumps(Touch(marker)))
    assert marker.exists()  # the payload is a real one
    marker.unlink()
    for saved in (
        Touch(marker),
        {"w": tensor(np.float32([1])), "x": [Touch(marker)]},
        {"w": Call("torch._utils", "_rebuild_tensor_v2", Touch(marker))},
    ):
        assert "system', which is no part of weights and may run code" in refusal(tmp_path, layout(saved))
    assert not marker.exists()


@pytest.mark.parametrize(
    "name",
    [
        *(
            "os system",
            "posix system",
            "nt system",
            "subprocess Popen",
            "builtins eval",
            "builtins exec",
            "builtins getattr",
            "__builtin__ eval",
        ),
        *("builtins __import__", "builtins print", "builtins set", "torch.storage _load_from_bytes", "torch load", "torch.hub load"),
        *(
            "torch._utils _rebuild_device_tensor_from_numpy",
            "torch.jit.unsupported_tensor_ops execWrapper",
            "numpy.testing._private.utils runstring",
        ),
        *(
            "runpy run_path",
            "pickle loads",
            "codecs open",
            "_codecs decode",
            "collections OrderedDict.__init__",
            "argparse Namespace.__class__",
        ),
        *("collections.OrderedDict fromkeys", "torch Size.__class__", "torch.cuda FloatStorage", "__torch__ Model", "pathlib PosixPath"),
    ],
)
def test_other_names_are_refused_by_name(tmp_path, name):
    module, attribute = name.split(" ")
    stacked = b"\x8c" + bytes([len(module)]) + module.encode() + b"\x8c" + bytes([len(attribute)]) + attribute.encode() + b"\x93"
    message = refusal(tmp_path, zip_of(program(stacked), []))
    assert f"asks for '{module}.{attribute}'" in message
    assert "if you trust it open it with torch" in message


@pytest.mark.parametrize(
    ("instructions", "words"),
    [
        ([b"(ios\nsystem\n"], "instruction INST"),
        ([b"(cargparse\nNamespace\no"], "instruction OBJ"),
        ([b"\x82\x01"], "instruction EXT1"),
        ([b"\x83\x01\x00"], "instruction EXT2"),
        ([b"Pstorage\n"], "instruction PERSID"),
        ([b"\x8f"], "instruction EMPTY_SET"),
        ([b"\x97"], "instruction NEXT_BUFFER"),
        ([b"N0N"], "instruction POP"),
        ([b"cargparse\nNamespace\n)R"], "calls argparse.Namespace"),
        ([b"cargparse\nNamespace\nK\1\x85\x81"], "builds an object"),
        ([b"ccollections\nOrderedDict\n)\x81"], "builds an object"),
        ([b"ctorch\nSize\n}b"], "gives a Name a state"),
        ([b"]}b"], "gives a list a state"),
        ([b"}}b"], "gives a dict a state"),
        ([b"cargparse\nNamespace\n)\x81]b"], "list in the place of dict"),
        ([b"ctorch\nSize\n]\x85\x85R"], "no number of elements"),
        ([b"ctorch\nSize\n]R"], "list in the place of tuple"),
        ([b"ctorch\nSize\n)R)R"], "tuple in the place of Name"),
        ([b"ctorch\nfloat32\n)R"], "str in the place of Name"),
        ([b"ctorch\nFloatStorage\n)R"], "StorageType in the place of Name"),
        ([b"K\1Q"], "int in the place of tuple"),
        ([b"(tQ"], "names a storage in a way"),
        ([b"X\6\0\0\0moduleK\1\x86Q"], "pickled model with its source code"),
        ([b"(X\7\0\0\0storageK\1X\1\0\0\0aX\1\0\0\0bK\1tQ"], "int in the place of StorageType"),
        ([b"(X\7\0\0\0storagectorch\nFloatStorage\nK\1X\1\0\0\0bK\1tQ"], "int in the place of str"),
        ([b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0aX\1\0\0\0bJ\xff\xff\xff\xfftQ"], "no number of elements"),
        ([b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0aX\1\0\0\0bK\1tQ"], "lacks the storage 'a'"),
        ([b"c_codecs\nencode\nX\1\0\0\0aX\4\0\0\0zlib\x86R"], "encodes text"),
        ([b"cnumpy\ndtype\nX\1\0\0\0O\x85R"], "numpy scalar of type 'O'"),
        ([b"cnumpy\ndtype\n", b"N" + b"\x85" * 100_000, b"\x85R"], "tuple in the place of str"),
        ([b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX\2\0\0\0f8\x85RC\1a\x86R"], "buffer of 8 bytes"),
        ([b"h\5"], "damaged pickle"),
        ([b""], "damaged pickle"),
        ([b"NN"], "damaged pickle"),
        ([b"e"], "damaged pickle"),
        ([b"}(Nu"], "key without a value"),
        ([b"}N", b"\x85" * 100_000, b"Ns"], "key that is neither text"),
        ([b"}\x8a\x09", b"\1" * 9, b"Ns"], "key that is neither text"),
    ],
)
def test_instructions_only_do_what_weights_need(tmp_path, instructions, words):
    assert words in refusal(tmp_path, zip_of(program(*instructions), [])), instructions


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"]" * 1_500_000, "more than 1000000 steps"),
        (b"N" + b"\x85" * 900_000, "deeper than 64"),
        (b"]q\0h\0a", "deeper than 64"),
        (b"]q\0" + b"".join(b"]q%c(%se" % (i + 1, b"h%c" % i * 10) for i in range(48, 58)), "damaged pickle"),
        (b"(]q\1" + b"".join(b"(" + b"h%c" % i * 10 + b"lq%c" % (i + 1) for i in range(1, 9)) + b"t", "more than 200000 values"),
        (b"X" + struct.pack("<I", 2**31 - 1), "more than 67108864 bytes"),
        (b"\x8d" + struct.pack("<Q", 2**62), "more than 67108864 bytes"),
        (b"(X" + struct.pack("<I", 10**6) + b"a" * 10**6 + b"q\0" + b"h\0" * 20 + b"l", "8388608 characters"),
        (b"\x8b" + struct.pack("<I", 2**20) + b"\x7f" * 2**20, "integer of more than 1024 bits"),
        (b"I" + b"9" * 4299 + b"\n", "damaged pickle"),
        (b"I" + b"9" * 4000 + b"\n", "integer of more than 1024 bits"),
        (
            b"cargparse\nNamespace\n)\x81q\1}("
            + b"".join(b"M" + struct.pack("<H", i) + b"N" for i in range(60_000))
            + b"uq\0b"
            + b"h\0b" * 99,
            "steps",
        ),
    ],
)
def test_pickles_that_grow_are_stopped(tmp_path, body, words):
    assert words in refusal(tmp_path, b"".join((*LEGACY_FRONT, program(body), NO_KEYS)))


def test_the_child_is_ended_when_it_takes_too_long_and_its_failures_are_told(tmp_path, monkeypatch):
    content = zip_file(WEIGHT)
    for code, error, words in [
        ("while True: pass", WeightFileError, "took more than 2 s to be looked through"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGXCPU)", WeightFileError, "took too much time or memory"),
        ("import os; os.abort()", WeightFileError, r"ended the process that looked through it \(signal 6\)"),
        ("raise OSError('no memory')", AudiojaxError, "child.py fails on this machine"),
    ]:
        (tmp_path / "child.py").write_text(code)
        monkeypatch.setattr(torch_files, "CHILD", tmp_path / "child.py")
        monkeypatch.setattr(torch_files, "WALL_SECONDS", 2.0)
        with pytest.raises(error, match=words):
            attempt(tmp_path, content)


def test_the_child_can_open_no_file_and_write_none(tmp_path, monkeypatch):
    """What it would meet if a hole in it were found."""
    (tmp_path / "child.py").write_text(
        "import os, runpy, json, resource\n"
        f"child = runpy.run_path({str(torch_files.CHILD)!r})\n"
        "child['_confine']()\n"
        "try:\n"
        "    os.open('/etc/passwd', os.O_RDONLY)\n"
        "except OSError as error:\n"
        "    print(json.dumps({'refused': f'could not: {error.strerror}; {sorted(os.environ)} {os.getcwd()}'}))\n"
    )
    monkeypatch.setattr(torch_files, "CHILD", tmp_path / "child.py")
    monkeypatch.setenv("SECRET", "x")
    message = refusal(tmp_path, zip_file(WEIGHT))
    assert "could not: Too many open files" in message
    assert "SECRET" not in message


def test_tensors_stay_within_their_storage(tmp_path):
    storage = Storage(np.zeros(6, np.float32))
    for shape, offset, strides, words in [
        ((7,), 0, (1,), "reaches beyond the 6 elements"),
        ((6,), 1, (1,), "reaches beyond the 5 elements"),
        ((2, 3), 0, (4, 1), "reaches beyond the 6 elements"),
        ((2,), 2**61, (1,), "reaches beyond"),
        ((2**40,), 0, (0,), "shows 6 elements of its storage as 1099511627776"),
        ((2**40, 2**40), 0, (0, 0), "too large"),
        ((1,) * 40, 0, (1,) * 40, "too large"),
        ((1,) * 70, 0, (1,) * 70, "a shape of 70 dimensions"),
        ((2,), -1, (1,), "no number of elements"),
        ((2,), 0, (-1,), "no number of elements"),
        ((2,), 0, (1, 1), "another number of strides"),
        ((2.0,), 0, (1,), "no number of elements"),
    ]:
        saved = {"w": Call("torch._utils", "_rebuild_tensor_v2", storage, offset, shape, strides, False, {})}
        assert words in refusal(tmp_path, zip_file(saved)), shape
    saved = {"w": Call("torch._utils", "_rebuild_tensor_v2", storage, 6, (0, 3), (3, 1), False, {})}
    assert attempt(tmp_path, zip_file(saved))["w"].shape == (0, 3)
    content, storages = pickled(WEIGHT)
    assert "announces 3 float32 elements in the storage '0', which has 8 bytes" in refusal(
        tmp_path, zip_of(content, [Storage(np.zeros(2, np.float32))])
    )
    shared = [("storage", Global("torch", kind), "0", "cpu", 3) for kind in ("FloatStorage", "IntStorage")]
    two = program(b"".join(pickle_of_identity(identity) + b"Q" for identity in shared) + b"\x86")
    assert "describes the storage '0' in two ways" in refusal(tmp_path, zip_of(two, storages))


def pickle_of_identity(identity):
    """The instructions that leave a persistent id on the stack."""
    return pickled(identity)[0][2:-1]


def test_zip_tricks_are_refused(tmp_path):
    content, storages = pickled(WEIGHT)
    whole = zip_of(content, storages)
    assert "compressed or encrypted member" in refusal(tmp_path, zip_of(content, storages, compression=zipfile.ZIP_DEFLATED))
    assert "b'big' byte order" in refusal(tmp_path, zip_of(content, storages, byteorder=b"big"))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("archive/data.pkl", "archive/data.pkm"):
            archive.writestr(name, content)
    doubled = (tmp_path / "a.zip").read_bytes().replace(b"data.pkm", b"data.pkl")
    assert "two members named 'archive/data.pkl'" in refusal(tmp_path, doubled)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("a/data.pkl", "b/data.pkl"):
            archive.writestr(name, content)
    assert "more than one data.pkl" in refusal(tmp_path, (tmp_path / "a.zip").read_bytes())
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("arr_0.npy", b"x")
    assert "is a zip file, but not of torch" in refusal(tmp_path, (tmp_path / "a.zip").read_bytes())
    assert "lacks the storage '0'" in refusal(tmp_path, zip_of(content, []))
    assert "something behind its pickle" in refusal(tmp_path, zip_of(content + b"N.", storages))
    assert "is damaged" in refusal(tmp_path, whole[:-1])
    assert "is damaged" in refusal(tmp_path, whole[: len(whole) // 2])
    at = whole.index(content)
    assert "checksum of 'archive/data.pkl'" in refusal(tmp_path, whole[: at + 3] + bytes([whole[at + 3] ^ 1]) + whole[at + 4 :])
    central = whole.index(b"PK\1\2")
    for place, value in [(42, 1), (24, 0xFF), (10, 8), (8, 1), (46, ord("x"))]:  # offset, size, method, flags, name
        changed = bytearray(whole)
        changed[central + place] = value
        assert refusal(tmp_path, bytes(changed)), place
    encoded = content.replace(b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x001")
    assert "lacks the storage '1'" in refusal(tmp_path, zip_of(encoded, storages))


def test_legacy_files_are_checked_to_their_end(tmp_path):
    content, storages = pickled(WEIGHT, legacy=True)
    whole = legacy_of(content, storages)
    assert attempt(tmp_path, whole)["w"].tolist() == [1, 2, 3]
    front, numbers = whole[:-20], whole[-20:]
    assert "truncated or damaged at the storage '0'" in refusal(tmp_path, whole[:-1])
    assert "truncated or damaged at the storage '0'" in refusal(tmp_path, front)
    assert "truncated or damaged at the storage '0'" in refusal(tmp_path, front + struct.pack("<q", 2) + numbers[8:])
    assert "lacks storages, or has something behind them" in refusal(tmp_path, whole + b"x")
    assert "lacks storages" in refusal(tmp_path, b"".join((*LEGACY_FRONT, content, NO_KEYS)))
    for keys in (["1"], ["0", "0"], [0]):
        ending = pickle.dumps(keys, 2) + numbers * len(keys)
        assert "lists storages that its pickle does not name" in refusal(tmp_path, b"".join((*LEGACY_FRONT, content, ending)))
    magic, version, machine = LEGACY_FRONT
    big = pickle.dumps({"little_endian": False}, 2)
    assert "big-endian" in refusal(tmp_path, b"".join((magic, version, big, content)))
    assert "torch format other than 1001" in refusal(tmp_path, b"".join((magic, pickle.dumps(1002, 2), machine, content)))
    for cut in range(4, len(whole), 19):
        assert refusal(tmp_path, whole[:cut]), cut


def test_big_endian_numpy_numbers_are_read(tmp_path):
    saved = WEIGHT | {
        "n": Call(
            "numpy.core.multiarray", "scalar", Call("numpy", "dtype", "f8", False, True, state=(3, ">", None)), b"\x3f\xf8" + bytes(6)
        )
    }
    assert attempt(tmp_path, zip_file(saved)).extra == {"n": 1.5}
