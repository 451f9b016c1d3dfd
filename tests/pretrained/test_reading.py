"""Weight files of every layout: what was written is what is read, lazily; and a file that is none says so."""

import argparse
import collections
import hashlib
import json
import mmap
import struct
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from audiojax.errors import UsageError
from audiojax.pretrained.reading import open_weights
from audiojax.pretrained.stored import DTYPES, WeightFileError
from tests.pretrained.torch_layout import Call, Global, Storage, legacy_file, parameter, tensor, zip_file

WRITERS = {"torch zip": zip_file, "torch legacy": legacy_file}


def random_tensors(dtypes=("float32", "float16", "bfloat16", "float64", "int64", "int8", "uint8", "bool")):
    """One array a dtype, of 0 to 3 dimensions and odd sizes, so that few of them are aligned."""
    rng = np.random.default_rng(0)
    shapes = [(3, 5), (7,), (2, 1, 3), (), (0, 4), (1,), (3,), (5,)]
    return {
        f"layers.{i}.{dtype}": np.asarray(rng.standard_normal(shape) * 50).astype(dtype)
        for i, (dtype, shape) in enumerate(zip(dtypes, shapes, strict=True))
    }


def assert_equal(weights, expected):
    assert list(weights) == list(expected)
    assert weights.shapes() == {name: value.shape for name, value in expected.items()}
    assert weights.dtypes() == {name: value.dtype for name, value in expected.items()}
    for name, value in expected.items():
        assert weights[name].dtype == value.dtype
        assert not weights[name].flags.writeable
        np.testing.assert_array_equal(weights[name], value)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("protocol", [1, 2, 4])
@pytest.mark.parametrize("form", WRITERS)
def test_torch_checkpoints_are_read_as_they_were_written(tmp_path, form, protocol):
    arrays = random_tensors()
    path = write(
        tmp_path / "a.pth", WRITERS[form](collections.OrderedDict((name, tensor(value)) for name, value in arrays.items()), protocol)
    )
    with open_weights(path) as weights:
        assert_equal(weights, arrays)
        assert (weights.format, weights.source, weights.extra) == (form, path, {})
        assert weights.digest() == hashlib.sha256(path.read_bytes()).hexdigest()


def test_safetensors_are_read_as_they_were_written(tmp_path):
    arrays = random_tensors()
    save_file(arrays, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with open_weights(tmp_path) as weights:
        assert_equal(weights, {name: arrays[name] for name in weights})
        assert set(weights) == set(arrays)
        assert (weights.format, weights.extra) == ("safetensors", {"format": "pt"})


@pytest.mark.parametrize("form", WRITERS)
def test_tensors_may_share_a_storage_and_have_strides(tmp_path, form):
    shared = Storage(np.arange(24, dtype=np.int64))
    saved = {
        "all": tensor(np.zeros((4, 6)), shared),
        "transposed": tensor(np.zeros((6, 4)), shared, strides=(1, 6)),
        "part": tensor(np.zeros((2, 2)), shared, offset=8, strides=(6, 2)),
        "one": tensor(np.zeros((1, 1)), shared, offset=23, strides=(999, 0)),
        "parameter": parameter(np.float32([1, 2])),
    }
    with open_weights(write(tmp_path / "a.bin", WRITERS[form](saved))) as weights:
        whole = np.arange(24).reshape(4, 6)
        np.testing.assert_array_equal(weights["transposed"], whole.T)
        np.testing.assert_array_equal(weights["part"], whole[1:3, 2:5:2])
        assert weights["one"].tolist() == [[23]]
        assert weights["parameter"].tolist() == [1, 2]


def test_files_of_torch_0_4_name_parts_of_storages(tmp_path):
    part = Storage(np.arange(10, dtype=np.float32), view=("7", 4, 3))
    with open_weights(write(tmp_path / "a.pth", legacy_file({"w": tensor(np.zeros((2,)), part, offset=1)}))) as weights:
        assert weights["w"].tolist() == [5, 6]
    outside = legacy_file({"w": tensor(np.zeros((3,)), part, offset=1)})
    with pytest.raises(WeightFileError, match="beyond the 2 elements"):
        open_weights(write(tmp_path / "b.pth", outside))


@settings(max_examples=20)  # two thirds of them start a child process
@given(data=st.data())
def test_any_arrays_come_back_from_any_layout(tmp_path_factory, data):
    dtypes = st.sampled_from(["float32", "float64", "bfloat16", "int64", "int32", "int16", "uint8", "bool"])
    shapes = st.lists(st.integers(0, 4), max_size=4)
    arrays = {}
    for name in data.draw(st.lists(st.text(max_size=8), min_size=1, max_size=4, unique=True)):
        shape = tuple(data.draw(shapes))
        numbers = data.draw(st.binary(min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
        arrays[name] = np.frombuffer(numbers, np.int8).reshape(shape).astype(data.draw(dtypes))
    layout = data.draw(st.sampled_from([*WRITERS, "safetensors"]))
    path = tmp_path_factory.mktemp("any") / ("a.safetensors" if layout == "safetensors" else "a.pt")
    if layout == "safetensors":
        arrays.pop("__metadata__", None)
        save_file(arrays, path)
    else:
        path.write_bytes(WRITERS[layout]({name: tensor(value) for name, value in arrays.items()}))
    with open_weights(path) as weights:
        assert_equal(weights, {name: arrays[name] for name in weights})
        assert set(weights) == set(arrays)


def test_the_nested_dictionary_with_the_weights_is_found_and_the_rest_is_extra(tmp_path):
    first, second = tensor(np.float32([1, 2])), tensor(np.float32([3]))
    optimizer = {"state": {0: {"mean": first}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    settings = {
        "epoch": 3,
        "args": argparse.Namespace(model="vit", betas=(0.9, 0.999)),
        "device": Call("torch", "device", "cuda", 1),
        "dtype": Global("torch", "float16"),
        "size": Call("torch", "Size", (2, 3)),
        "best": np.float64(0.25),
        "steps": np.int64(7),
        "done": np.bool_(True),
        "none": None,
        "nothing": {},
    }
    path = write(tmp_path / "a.pth", zip_file({"model": {"w": first, "step": 5}, "ema": {"w": second}, "optimizer": optimizer, **settings}))
    with open_weights(path) as weights:
        assert weights["w"].tolist() == [1, 2]
        assert weights.extra == {
            "model": {"step": 5},
            "optimizer": {"param_groups": [{"lr": 0.1, "params": [0]}]},
            "epoch": 3,
            "args": {"model": "vit", "betas": [0.9, 0.999]},
            "device": "cuda:1",
            "dtype": "torch.float16",
            "size": [2, 3],
            "best": 0.25,
            "steps": 7,
            "done": True,
            "none": None,
            "nothing": {},
        }
    assert open_weights(path, key="ema")["w"].tolist() == [3]
    assert open_weights(path, key="optimizer.state.0")["mean"].tolist() == [1, 2]
    with pytest.raises(UsageError, match=r"no dictionary of tensors 'mdoel'; tensors are in 'model', 'ema'"):
        open_weights(path, key="mdoel")


def test_which_dictionary_holds_the_weights(tmp_path):
    a, b = tensor(np.float32([1])), tensor(np.float32([2]))

    def opened(saved, key=None):
        return {name: value.tolist() for name, value in open_weights(write(tmp_path / "a.pt", zip_file(saved)), key).items()}

    assert opened({"state_dict": {"x": a}, "model": {"x": b}}) == {"x": [1]}
    assert opened({"x": a, "extra": {"y": b}}) == {"x": [1]}
    assert opened({"x": a, "model": {"y": b}}, key="") == {"x": [1]}
    assert opened({"generator": {"x": a}, "epoch": 1}) == {"x": [1]}
    assert opened({"model": "vit", "weights": {"x": a}}) == {"x": [1]}
    with pytest.raises(UsageError, match="several dictionaries of tensors; tensors are in 'left', 'right'; say which"):
        opened({"left": {"x": a}, "right": {"x": b}})
    for saved in ({"epoch": 1}, [a], a, {}):
        with pytest.raises(WeightFileError, match="holds no dictionary of tensors"):
            opened(saved)
    with pytest.raises(WeightFileError, match="under numbers"):
        opened({0: a})


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_a_sharded_folder_is_one_file(tmp_path, kind):
    arrays = {f"w{i}": np.full((3,), i, np.float32) for i in range(4)}
    blobs = tmp_path / "blobs"
    folder = tmp_path / "snapshots"
    blobs.mkdir()
    folder.mkdir()
    homes = {}
    for number, names in enumerate((("w3", "w0"), ("w1", "w2"))):
        shard = f"part-{number}.{kind}"
        chosen = {name: arrays[name] for name in names}
        if kind == "safetensors":
            save_file(chosen, blobs / str(number))
        else:
            (blobs / str(number)).write_bytes(zip_file({name: tensor(value) for name, value in chosen.items()}))
        (folder / shard).symlink_to(blobs / str(number))  # as download caches keep them
        homes |= dict.fromkeys(names, shard)
    homes = {name: homes[name] for name in arrays}
    front = "model.safetensors" if kind == "safetensors" else "pytorch_model.bin"
    index = folder / f"{front}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 48}, "weight_map": homes}))
    with open_weights(folder) as weights:
        assert_equal(weights, arrays)
        assert weights.format == f"sharded {'safetensors' if kind == 'safetensors' else 'torch zip'}"
        assert weights.extra == {"total_size": 48}
        assert weights.source == index
        names = sorted([index.name, "part-0." + kind, "part-1." + kind])
        lines = "".join(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
        assert weights.digest() == hashlib.sha256(lines.encode()).hexdigest()
    for odd in ("../blobs/0", "/etc/passwd", "..", "", "a\\b", "a\0b", 3):
        index.write_text(json.dumps({"weight_map": homes | {"w0": odd}}))
        with pytest.raises(WeightFileError, match="not a file name in its folder"):
            open_weights(folder)
    index.write_text(json.dumps({"weight_map": homes | {"w9": f"part-0.{kind}"}}))
    with pytest.raises(WeightFileError, match="do not agree on 1 tensors, among them 'w9'"):
        open_weights(folder)
    index.write_text(json.dumps({"weight_map": homes | {"w9": "part-9.bin"}}))
    with pytest.raises(UsageError, match=r"part-9.bin: cannot be read \(No such file"):
        open_weights(folder)
    for text in ("{", '{"weight_map": {}}', "[]", '{"weight_map": {"a": "b", "a": "c"}}', "[" * 100_000):
        index.write_text(text)
        with pytest.raises(WeightFileError, match=r"header|weight_map"):
            open_weights(folder)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="counts pages as Linux does")
def test_the_digest_leaves_no_file_in_memory(tmp_path):
    def mapped_bytes():
        return int(Path("/proc/self/statm").read_text().split()[2]) * mmap.PAGESIZE

    save_file({"w": np.zeros(2**24, np.float32)}, tmp_path / "w.safetensors")
    with open_weights(tmp_path / "w.safetensors") as weights:
        before = mapped_bytes()
        weights.digest()
        assert mapped_bytes() - before < 2**24  # of the file's 2**26


def test_a_folder_stands_for_the_best_file_in_it(tmp_path):
    def mark(name):
        if name.endswith("safetensors"):
            save_file({name: np.zeros(1, np.float32)}, tmp_path / name)
        else:
            write(tmp_path / name, zip_file({name: tensor(np.zeros(1))}))
        return list(open_weights(tmp_path))

    with pytest.raises(
        UsageError, match=r"has no weights: looked for \*.safetensors.index.json, \*.safetensors, pytorch_model.bin.index.json"
    ):
        open_weights(tmp_path)
    assert mark("esc_90.14.pt") == ["esc_90.14.pt"]
    write(tmp_path / "b.pth", zip_file({"b": tensor(np.zeros(1))}))
    with pytest.raises(UsageError, match=r"has 2 files like \*.pth or \*.pt \(b.pth, esc_90.14.pt"):
        open_weights(tmp_path)
    assert mark("diffusion_pytorch_model.bin") == ["diffusion_pytorch_model.bin"]
    assert mark("pytorch_model.bin") == ["pytorch_model.bin"]
    (tmp_path / "._any.safetensors").write_bytes(b"a hidden twin")
    assert mark("any.safetensors") == ["any.safetensors"]
    save_file({"b": np.zeros(1)}, tmp_path / "b.safetensors")
    with pytest.raises(UsageError, match=r"has 2 files like \*.safetensors \(any.safetensors, b.safetensors"):
        open_weights(tmp_path)
    assert mark("diffusion_pytorch_model.safetensors") == ["diffusion_pytorch_model.safetensors"]
    assert mark("model.safetensors") == ["model.safetensors"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell memory of its own from mapped files")
@pytest.mark.parametrize("kind", ["safetensors", "torch zip", "torch legacy"])
def test_opening_reads_no_values_and_reading_them_takes_no_memory_of_its_own(tmp_path, kind):
    """Eight tensors of 20 MB: opening maps next to nothing, and summing all of them needs less than one."""
    arrays = {f"w{i}": np.full(5_000_000, i, np.float32) for i in range(8)}
    path = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.pt")
    if kind == "safetensors":
        save_file(arrays, path)
    else:
        write(path, WRITERS[kind]({name: tensor(array) for name, array in arrays.items()}))
    program = f"""
from audiojax.pretrained.reading import open_weights
def resident(kind):
    return int(next(line for line in open("/proc/self/status") if line.startswith(kind)).split()[1])
own, files = resident("RssAnon"), resident("RssFile")
weights = open_weights({str(path)!r})
shapes = weights.shapes()
print(resident("RssFile") - files)
print(sum(float(weights[name].max()) for name in weights))
print(resident("RssAnon") - own)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    mapped, total, own = map(float, done.stdout.split())
    assert mapped < 40_000  # KB: the system maps more than the first page
    assert total == 28
    assert own < 25_000  # one tensor, copied where the file does not align it


def test_aligned_values_are_not_copied_and_outlive_the_file(tmp_path):
    save_file({"w": np.arange(6, dtype=np.float32).reshape(2, 3)}, tmp_path / "a.safetensors")
    weights = open_weights(tmp_path / "a.safetensors")
    array = weights["w"]
    assert not array.flags.owndata
    assert "w" in weights
    assert "v" not in weights
    with pytest.raises(KeyError):
        weights["v"]
    weights.close()
    assert array.tolist() == [[0, 1, 2], [3, 4, 5]]
    for use in (lambda: weights["w"], weights.digest):
        with pytest.raises(UsageError, match="has been closed"):
            use()


def test_what_is_no_weight_file_says_what_it_is(tmp_path):
    page = b"\n<!DOCTYPE html><html><body>Log in</body></html>"
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"
    for content, words in [
        (b"", "is empty; download"),
        (b"Not found", "is a text file: it starts with b'Not found'"),
        (b"\1\2\3\4" * 9, "is no weight file"),
        (page, "is a web page, not weights"),
        (pointer, "is a Git LFS pointer, not the weights it stands for; download the real file"),
        (b"PK\3\4" + bytes(100), r"is damaged \(BadZipFile"),
        (b"\x80\2.", "holds a damaged pickle"),
        (b"\x80\2K\1.", "is a pickle, but not of torch"),
    ]:
        with pytest.raises(WeightFileError, match=words) as caught:
            open_weights(write(tmp_path / "model.bin", content))
        assert str(tmp_path / "model.bin") in str(caught.value)
        assert "\n" not in str(caught.value)
    for name in ("a.safetensors", "a.bin"):
        with pytest.raises(WeightFileError, match="Git LFS pointer"):
            open_weights(write(tmp_path / name, pointer))
    with pytest.raises(UsageError, match="no.bin: cannot be read"):
        open_weights(tmp_path / "no.bin")
    with pytest.raises(UsageError, match="is not a file"):
        open_weights("/dev/null")
    save_file({"w": np.zeros(1)}, tmp_path / "b.safetensors")
    with pytest.raises(UsageError, match="leave out the key 'model'"):
        open_weights(tmp_path / "b.safetensors", key="model")


def safetensors_of(header: object, content: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content


def entry(dtype="U8", shape=(4,), offsets=(0, 4)) -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\1", "announces a header of 0 bytes"),
        (struct.pack("<Q", 2**63) + b"{}", "announces a header of 9223372036854775808 bytes and has 10"),
        (safetensors_of(b"[1]"), "no JSON object"),
        (safetensors_of(b"{]"), "damaged header"),
        (safetensors_of(b"{\xff}"), "damaged header"),
        (safetensors_of(b'{"a":' * 90_000), "nests too deep"),
        (
            safetensors_of(b'{"a":' + json.dumps(entry()).encode() + b',"a":' + json.dumps(entry()).encode() + b"}", b"abcd"),
            "name appears twice",
        ),
        (safetensors_of({"a": entry()}, b"abc"), "has 71 bytes where its header describes 72"),
        (safetensors_of({"a": entry()}, b"abcde"), "has 73 bytes where its header describes 72"),
        (safetensors_of({"a": entry(), "b": entry(offsets=(3, 7))}, b"abcdefg"), "tensor 'b' starts at byte 3, where 4 is next"),
        (safetensors_of({"a": entry(), "b": entry(offsets=(5, 9))}, b"abcdefghi"), "tensor 'b' starts at byte 5, where 4 is next"),
        (safetensors_of({"a": entry(shape=(5,))}, b"abcd"), "beyond the 4 elements"),
        (safetensors_of({"a": entry(shape=(3,))}, b"abcd"), r"has 4 bytes for the shape \[3\]"),
        (safetensors_of({"a": entry("F32", (0, 2**61, 2**61), (0, 0))}), "too large"),
        (safetensors_of({"a": entry(shape=(-1, -4))}, b"abcd"), "no sizes"),
        (safetensors_of({"a": entry(shape=(True, 4))}, b"abcd"), "no sizes"),
        (safetensors_of({"a": entry(shape=(4.0,))}, b"abcd"), "no sizes"),
        (safetensors_of({"a": entry(offsets=(4, 0))}, b"abcd"), "no range"),
        (safetensors_of({"a": entry("F4")}, b"abcd"), "dtype 'F4', which is not read"),
        (safetensors_of({"a": entry() | {"more": 1}}, b"abcd"), "something other"),
        (safetensors_of({"a": 1}, b"abcd"), "something other"),
        (safetensors_of({"__metadata__": {"a": 1}}), "metadata that is not text"),
    ],
)
def test_safetensors_headers_are_checked(tmp_path, content, words):
    with pytest.raises(WeightFileError, match=words):
        open_weights(write(tmp_path / "a.safetensors", content))


def test_safetensors_hold_every_dtype_that_numpy_can_have(tmp_path):
    codes = {
        "F8_E4M3": ml_dtypes.float8_e4m3fn,
        "F8_E5M2": ml_dtypes.float8_e5m2,
        "C64": np.complex64,
        "U16": np.uint16,
        "BF16": ml_dtypes.bfloat16,
    }
    for code, dtype in codes.items():
        array = np.ones(3, dtype)
        content = safetensors_of({"a": entry(code, (3,), (0, array.nbytes))}, array.tobytes())
        read = open_weights(write(tmp_path / "a.safetensors", content))["a"]
        assert read.dtype == dtype
        np.testing.assert_array_equal(read, array)
    assert DTYPES["bfloat16"].itemsize == 2
