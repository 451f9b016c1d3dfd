"""The files of an index: what they hold, and how damage is told."""

import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiojax.errors import AudiojaxError, UsageError
from audiojax.index import store
from audiojax.index.check import check_index
from audiojax.index.search import Index
from audiojax.index.update import FileRow


def write_index(folder: Path, vectors: np.ndarray, counts: list[int], dtype: str = "float32", root=Path("/sounds"), **changes) -> Path:
    """An index of made-up files with so many windows of a second each."""
    settings = store.Settings("runs/m", "m", 1000, 1.0, dtype=dtype)
    starts = np.concatenate([np.arange(count) for count in counts]).astype(float)
    first = np.cumsum(counts) - counts
    rows = [FileRow(f"{i}.wav".encode(), float(counts[i]), "d", 1, 1, False, int(first[i]), counts[i]) for i in range(len(counts))]
    table = pa.Table.from_pylist([vars(row) | changes for row in rows], store.FILES)
    with store.locked(folder):
        batch = store.window_batch(vectors, starts, np.ones(len(vectors)), dtype)
        windows = store.write_part(folder, "windows", batch.schema, [batch])
        files = store.write_part(folder, "files", store.FILES, table.to_batches())
        store.commit(folder, settings, root, vectors.shape[1], (files, windows))
    return folder


@pytest.fixture
def made(tmp_path):
    return write_index(tmp_path / "index", np.random.default_rng(0).standard_normal((6, 4)), [1, 2, 3])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_vectors_are_read_where_they_lie_and_come_back_with_their_length(tmp_path, dtype):
    vectors = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32) * 1e5  # beyond float16
    vectors[2] = 0
    index = Index.open(write_index(tmp_path / "index", vectors, [6], dtype))
    (units,) = map(store.unit_vectors, index._stored.windows)
    assert (units.dtype, units.flags.writeable, units.base is not None) == (np.dtype(dtype), False, True)
    np.testing.assert_allclose(np.linalg.norm(units.astype(np.float32), axis=1), [1, 1, 0, 1, 1, 1], rtol=1e-3)
    np.testing.assert_allclose(index.vectors([5, 0, 0, 2]), vectors[[5, 0, 0, 2]], rtol=1e-3 if dtype == "float16" else 1e-6, atol=50)


def test_a_folder_without_an_index_says_how_to_make_one(tmp_path):
    for folder in (tmp_path, tmp_path / "no"):
        with pytest.raises(UsageError, match=r"(holds no sound index|no such folder); make one with audiojax index DIR"):
            Index.open(folder)


@pytest.mark.parametrize("kind", ["files", "windows", "index"])
@pytest.mark.parametrize("damage", ["cut", "lost", "noise"])
def test_a_damaged_file_is_named(made, kind, damage):
    (path,) = made.glob(f"{kind}*")
    if damage == "lost":
        path.unlink()
    else:
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2] if damage == "cut" else bytes(len(data)))
    words = (
        "no sound index"
        if (kind, damage) == ("index", "lost")
        else rf"{path.name}: damaged: .*; delete the folder of the index and make it anew"
    )
    with pytest.raises(AudiojaxError, match=words):
        Index.open(made)


@pytest.mark.parametrize(
    "changes", [{"row": -1}, {"row": 4}, {"row": 0}, {"windows": -1}, {"row": None}], ids=["before", "behind", "shared", "negative", "none"]
)
def test_files_without_windows_of_their_own_are_damage(tmp_path, changes):
    folder = write_index(tmp_path / "index", np.eye(6), [3, 3], **changes)
    with pytest.raises(AudiojaxError, match=r"files-\w+\.arrow: damaged: (names windows that are not there|has rows that are not whole)"):
        Index.open(folder)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("format", 99, "index.json: is of format 99, this audiojax reads 1"),
        ("settings", {"model": "m"}, "index.json: damaged: TypeError"),
        ("parts", [], "index.json: damaged: names files"),
        ("parts", [{"name": "../../etc/passwd", "rows": 1, "bytes": 1}], "index.json: damaged: names files"),
        ("parts", [{"name": "files-" + 32 * "0" + ".arrow", "rows": 1, "bytes": 1, "crc32": "?"}], "index.json: damaged: ValueError"),
        ("parts", ["files"], "index.json: damaged: AttributeError"),
        ("width", 3, r"windows-\w+\.arrow: damaged: its columns"),
    ],
)
def test_a_list_of_files_that_makes_no_sense_is_named(made, key, value, words):
    path = made / store.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(AudiojaxError, match=words):
        Index.open(made)


def test_a_reader_meets_an_update_halfway(made, monkeypatch):
    """The files that it was about to open are replaced."""
    genuine, calls = store._read_manifest, []

    def read(folder):
        manifest = genuine(folder)
        if not calls:
            write_index(made, np.eye(4), [4])
        calls.append(folder)
        return manifest

    monkeypatch.setattr(store, "_read_manifest", read)
    assert (Index.open(made).windows, len(calls)) == (4, 2)


def test_an_open_index_outlives_an_update(made):
    index = Index.open(made)
    write_index(made, np.eye(4), [4])
    assert len(index.search(np.ones((1, 4)), 3)[0]) == 3


def test_a_root_that_is_not_utf_8(tmp_path):
    root = Path(os.fsdecode(b"/Ger\xe4usche"))
    index = Index.open(write_index(tmp_path / "index", np.eye(2), [1, 1], root=root))
    assert index.search(np.eye(2), 1)[1][0].path == root / "1.wav"


@pytest.mark.parametrize("kind", ["files", "windows"])
@given(place=st.integers(0, 10**9), bit=st.integers(0, 7))
@settings(max_examples=20)
def test_a_flipped_bit_is_found_wherever_it_lies(kind, place, bit):
    with tempfile.TemporaryDirectory() as folder:
        made = write_index(Path(folder) / "index", np.eye(6), [1, 2, 3])
        assert [part.crc32 is None for part in check_index(made).parts] == [False, False]
        (path,) = made.glob(f"{kind}*")
        data = bytearray(path.read_bytes())
        data[place % len(data)] ^= 1 << bit
        path.write_bytes(data)
        with pytest.raises(AudiojaxError, match=rf"{path.name}: damaged: .*; delete the folder of the index and make it anew"):
            check_index(made)


def test_a_flipped_bit_of_a_vector_opens_and_is_found_by_a_check(made):
    (path,) = made.glob("windows*")
    data = bytearray(path.read_bytes())
    place = data.index(np.asarray(next(Index.open(made)._stored.vectors()))[3].tobytes())
    data[place] ^= 1
    path.write_bytes(data)
    Index.open(made)
    with pytest.raises(AudiojaxError, match=rf"{path.name}: damaged: its CRC-32 is"):
        check_index(made)


def test_an_index_of_an_older_audiojax_has_no_checksums(made):
    path = made / store.MANIFEST
    found = json.loads(path.read_text())
    for part in found["parts"]:
        del part["crc32"]
    path.write_text(json.dumps(found))
    assert [part.crc32 for part in check_index(made).parts] == [None, None]
