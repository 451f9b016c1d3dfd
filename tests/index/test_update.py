"""The index of a folder: what is embedded once, what an interruption leaves, what changes with the folder, and what does not mix."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from audiojax.audio.reasons import Reason
from audiojax.errors import AudiojaxError, UsageError
from audiojax.index import embeddings, store
from audiojax.index import update as updating
from audiojax.index.search import Index
from tests.index.sounds import RATE, Model, write


def levels(index: Index) -> dict[str, float]:
    """Path below the root -> mean of its first window, as the model gave it."""
    return {str(path.relative_to(index.root)): vector_of(index, number)[0] for number, path in enumerate(index.paths)}


def vector_of(index: Index, number: int) -> np.ndarray:
    return index.vectors([int(np.flatnonzero(index.file_of == number)[0])])[0]


def test_embeds_every_file_in_batches_of_one_shape(folder, update):
    model = Model()
    index = update(folder, model, batch_size=4, progress=True)
    assert model.shapes == [(4, RATE)] * 2
    assert levels(index) == pytest.approx({"0.wav": 0.1, "2.wav": 0.3, "4.wav": 0.5, "b/1.wav": 0.2, "b/3.wav": 0.4, "b/5.wav": 0.6})
    assert (index.skipped, index.silent, index.computed, index.windows) == ({}, (), 6, 6)
    assert index.hours * 3600 == pytest.approx(6)


def test_nothing_is_computed_twice_for_the_same_bytes(folder, update):
    first = update(folder, Model())
    shutil.copy(folder / "0.wav", folder / "b" / "copy.wav")
    (folder / "4.wav").rename(folder / "renamed.wav")
    os.utime(folder / "2.wav", (1, 1))
    model = Model()
    second = update(folder, model)
    assert (model.shapes, second.computed) == ([], 0)
    before, after = levels(first), levels(second)
    assert after["b/copy.wav"] == after["0.wav"] == before["0.wav"]
    assert after["renamed.wav"] == before["4.wav"]
    assert "4.wav" not in after


def test_only_new_and_changed_files_are_embedded_and_removed_ones_go(folder, update):
    update(folder, Model())
    write(folder / "0.wav", 0.9)
    write(folder / "new.wav", 0.8)
    (folder / "2.wav").unlink()
    model = Model()
    index = update(folder, model)
    assert (len(model.shapes), index.computed, len(index)) == (1, 2, 6)
    assert levels(index) == pytest.approx({"0.wav": 0.9, "4.wav": 0.5, "b/1.wav": 0.2, "b/3.wav": 0.4, "b/5.wav": 0.6, "new.wav": 0.8})
    assert {hit.path.name for hit in index.search(np.ones((1, 3)), 10)[0]} == {"0.wav", "1.wav", "3.wav", "4.wav", "5.wav", "new.wav"}


def test_an_update_without_changes_writes_nothing(folder, update, tmp_path):
    update(folder, Model())
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "index").iterdir() if path.name != store.LOCK}
    update(folder, Model())
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "index").iterdir() if path.name != store.LOCK} == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_id": "other"}, r"model: runs/m \(m\), not runs/m \(other\)"),
        ({"seconds": 0.5}, "seconds: 1.0, not 0.5"),
        ({"padding": "zero"}, "padding: repeat, not zero"),
        ({"hop_seconds": 0.5}, "hop_seconds: None, not 0.5"),
        ({"dtype": "float16"}, "dtype: float32, not float16"),
    ],
)
def test_another_model_or_setting_does_not_mix(folder, update, change, words):
    update(folder, Model())
    model = Model()
    with pytest.raises(UsageError, match=f"another {words}\n.*new folder"):
        update(folder, model, **change)
    assert model.shapes == []
    assert update(folder, model).computed == 0


def test_a_moved_root_is_followed_and_another_one_refused(folder, update, tmp_path):
    update(folder, Model())
    other = tmp_path / "other"
    write(other / "x.wav", 0.5)
    with pytest.raises(UsageError, match="is the index of .*sounds, not of .*other; name a new folder"):
        update(other, Model())
    moved = folder.rename(tmp_path / "moved")
    index = update(moved, Model())
    assert (index.computed, index.root, len(index)) == (0, moved, 6)
    assert index.search(np.ones((1, 3)), 1)[0][0].path.is_file()


@pytest.mark.parametrize("flush", [0, 1000])
def test_a_call_that_is_cut_short_goes_on_where_it_stopped(folder, update, monkeypatch, flush):
    monkeypatch.setattr(updating, "FLUSH_SECONDS", flush)
    with pytest.raises(RuntimeError, match="killed"):
        update(folder, Model(break_at=3))  # two batches of two files were done
    model = Model()
    index = update(folder, model)
    assert (len(model.shapes), index.computed) == (1, 2)
    assert levels(index) == pytest.approx(levels(update(folder, Model(), out=folder.parent / "fresh")))


SCRIPT = """
import os, signal
from pathlib import Path
from audiojax.index import update
from audiojax.index.store import Settings
from tests.index.sounds import RATE, Model
update.FLUSH_SECONDS, update.FLUSH_SHARE = {flush}, float("inf")
class Killed(Model):
    def __call__(self, clips):
        if len(self.shapes) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(clips)
settings = Settings("runs/m", "m", RATE, 1.0)
update.update_index({folder!r}, {out!r}, Killed(), settings, batch_size=2, workers=1)
"""


@pytest.mark.parametrize(("flush", "left"), [(0, 2), (1000, 6)])
def test_a_killed_process_leaves_an_index_that_goes_on(folder, update, tmp_path, flush, left):
    write(folder / "before.wav", 0.05)
    keep = tmp_path / "index"
    for number in range(6):
        (folder / ("b" if number % 2 else ".") / f"{number}.wav").rename(tmp_path / f"{number}.wav")
    update(folder, Model())
    for number in range(6):
        (tmp_path / f"{number}.wav").rename(folder / ("b" if number % 2 else ".") / f"{number}.wav")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    script = SCRIPT.format(flush=flush, folder=str(folder), out=str(keep))
    assert subprocess.run([sys.executable, "-c", script], env=environment, check=False).returncode == -signal.SIGKILL
    assert len(Index.open(keep)) == 7 - left
    index = update(folder, Model())
    assert (index.computed, len(index)) == (left, 7)
    assert {path.name for path in keep.iterdir()} == {store.LOCK, store.MANIFEST, *(part.name for part in index._stored.parts)}


def test_long_sounds_have_a_row_per_window_and_short_ones_are_padded(tmp_path, update):
    folder = tmp_path / "sounds"
    folder.mkdir()
    soundfile.write(folder / "long.wav", np.arange(2500) / 2500, RATE, subtype="FLOAT")
    soundfile.write(folder / "short.wav", np.full(300, 0.5), RATE, subtype="FLOAT")
    index = update(folder, Model())
    np.testing.assert_array_equal(index.file_of, [0, 0, 0, 1])
    np.testing.assert_allclose(index.vectors([0, 1, 2])[:, 1], [0.0, 0.4, 0.6], atol=1e-6)
    np.testing.assert_allclose(index.vectors([3])[0], [0.45, 0.5, 0.0], atol=1e-6)  # three whole repetitions, then zeros
    windows = index._stored.window_table()
    assert windows["start"].to_pylist() == [0.0, 1.0, 1.5, 0.0]
    assert windows["seconds"].to_pylist() == pytest.approx([1.0, 1.0, 1.0, 0.3])
    assert index._stored.files["duration"].to_pylist() == pytest.approx([2.5, 0.3])
    for padding, mean in (("zero", 0.15), ("repeat_cut", 0.5)):
        again = update(folder, Model(), out=tmp_path / padding, padding=padding)
        np.testing.assert_allclose(again.vectors([3])[0, 0], mean, atol=1e-6)


def test_overlapping_windows(tmp_path, update):
    soundfile.write(tmp_path / "a.wav", np.arange(2500) / 2500, RATE, subtype="FLOAT")
    index = update(tmp_path, Model(), hop_seconds=0.5)
    assert index._stored.window_table()["start"].to_pylist() == [0.0, 0.5, 1.0, 1.5]


def test_an_embedding_does_not_depend_on_the_neighbours(folder, update):
    alone = folder.parent / "alone"
    alone.mkdir()
    shutil.copy(folder / "b" / "3.wav", alone)
    one = update(alone, Model(), out=folder.parent / "other", batch_size=4)
    many = update(folder, Model(), batch_size=4)
    np.testing.assert_array_equal(vector_of(one, 0), vector_of(many, 4))


def test_bad_files_are_named_remembered_and_stop_nothing(folder, update):
    (folder / "1cut.wav").write_bytes((folder / "0.wav").read_bytes()[:3000])
    (folder / "empty.flac").touch()
    (folder / "gone.wav").symlink_to(folder / "nowhere.wav")
    soundfile.write(folder / "silent.wav", np.zeros(RATE), RATE)
    long = np.zeros(3 * RATE)
    long[-1] = np.nan  # after two good windows
    soundfile.write(folder / "nan.wav", long, RATE, subtype="FLOAT")
    found = update(folder, Model())
    reasons = {path.name: text.split(" ")[0] for path, text in found.skipped.items()}
    assert reasons == {"1cut.wav": "truncated", "empty.flac": "empty", "gone.wav": "missing", "nan.wav": "not_finite"}
    assert len(found) == found.windows == 7
    assert found.silent == (folder / "silent.wav",)
    assert found.tally.counts() == {"empty": 1, "missing": 1, "not_finite": 1, "truncated": 1}
    again = Model()
    second = update(folder, again)
    assert (again.shapes, second.skipped, second.silent) == ([], found.skipped, found.silent)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_pipes_and_devices_are_named_and_never_read(folder, update, make):
    make(folder / "endless.wav")
    found = update(folder, Model())
    assert found.skipped == {folder / "endless.wav": "not_a_file (neither file nor folder)"}
    assert len(found) == 6


def test_a_subfolder_that_cannot_be_read_is_counted_and_named(folder, update, closed):
    closed(folder / "b")
    found = update(folder, Model())
    assert [path.name for path in found.paths] == ["0.wav", "2.wav", "4.wav"]
    assert found.skipped == {folder / "b": "unreadable (a folder: Permission denied)"}
    assert found.tally.summary() == "3 files used, 1 left out: unreadable 1"
    assert list(found.tally.lines()) == ["     1  unreadable", f"        {folder / 'b'}: a folder: Permission denied"]


def test_names_that_are_not_utf_8_are_indexed_and_remembered(tmp_path, update):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/Ger\xe4usche"))
    folder.mkdir()
    bell, broken, bird = (folder / os.fsdecode(name) for name in (b"T\xfcrklingel.wav", b"T\xfcr.wav", "鳥 🐦.wav".encode()))
    write(tmp_path / "elsewhere" / "a.wav", 0.5)
    shutil.copy(tmp_path / "elsewhere" / "a.wav", bird)
    (tmp_path / "elsewhere" / "a.wav").rename(bell)
    broken.write_bytes(b"RIFF not a sound")
    found = update(folder, Model())
    assert (set(found.paths), list(found.skipped), found.computed) == ({bell, bird}, [broken], 1)
    assert "T\\xfcr.wav" in "".join(found.tally.lines())
    again = update(folder, Model())
    assert (again.root, again.paths, again.skipped, again.computed) == (folder, found.paths, found.skipped, 0)


def test_a_judgement_of_another_decoder_is_not_believed(folder, update, monkeypatch):
    (folder / "odd.m4a").write_bytes(b"not yet readable")
    assert len(update(folder, Model()).skipped) == 1
    monkeypatch.setattr(updating.io, "second_decoder", lambda: "newer")
    decoded = []
    genuine = embeddings.window_files

    def noting(paths, *args, **options):
        decoded.extend(paths)
        return genuine(decoded, *args, **options)

    monkeypatch.setattr(embeddings, "window_files", noting)
    update(folder, Model())
    assert [path.name for path in decoded] == ["odd.m4a"]


def test_a_file_that_changes_while_it_is_read_is_left_out(folder, update):
    class Meddler(Model):
        def __call__(self, clips):
            if not self.shapes:
                write(folder / "0.wav", 0.7)
                os.utime(folder / "0.wav", (5, 5))
            return super().__call__(clips)

    found = update(folder, Meddler())
    assert {path.name: text.split(" ")[0] for path, text in found.skipped.items()} == {"0.wav": str(Reason.CHANGED)}
    again = update(folder, Model())
    assert (again.computed, again.skipped) == (1, {})
    assert levels(again)["0.wav"] == pytest.approx(0.7)


def test_captions_stay_with_their_files(folder, update):
    index = update(folder, Model(), captions={"b/1.wav": ["a hum", "ein Brummen"]})
    said = {hit.path.name: index.captions(hit) for hit in index.search(np.ones((1, 3)), 6)[0]}
    assert said == {"1.wav": ["a hum", "ein Brummen"]} | dict.fromkeys(("0.wav", "2.wav", "3.wav", "4.wav", "5.wav"))
    (folder / "b" / "1.wav").rename(folder / "hum.wav")
    index = update(folder, Model(), captions={"0.wav": ["quiet"]})
    said = {hit.path.name: index.captions(hit) for hit in index.search(np.ones((1, 3)), 6)[0]}
    assert (said["hum.wav"], said["0.wav"], said["2.wav"]) == (["a hum", "ein Brummen"], ["quiet"], None)
    with pytest.raises(UsageError, match=r"no\.wav: has captions, and there is no such file"):
        update(folder, Model(), captions={"no.wav": ["?"]})


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_many_files_of_windows_become_one_without_the_removed(folder, update, monkeypatch, dtype):
    monkeypatch.setattr(updating, "FLUSH_SECONDS", 0)
    monkeypatch.setattr(updating, "FLUSH_SHARE", np.inf)
    monkeypatch.setattr(updating, "MAX_PARTS", 2)
    monkeypatch.setattr(store, "BATCH_ROWS", 4)
    write(folder / "long.wav", 0.7, 5 * RATE)
    index = update(folder, Model(), dtype=dtype)
    assert [part.rows for part in index._stored.parts] == [7, 11]
    assert [len(batch) for batch in index._stored.windows] == [4, 4, 3]
    (folder / "long.wav").unlink()
    (folder / "0.wav").unlink()
    index = update(folder, Model(), dtype=dtype)
    assert [part.rows for part in index._stored.parts] == [5, 5]  # more than half was of files that are gone
    assert levels(index) == pytest.approx({"2.wav": 0.3, "4.wav": 0.5, "b/1.wav": 0.2, "b/3.wav": 0.4, "b/5.wav": 0.6}, rel=1e-3)
    assert all(batch.schema.field("vector").type == pa.list_(pa.from_numpy_dtype(np.dtype(dtype)), 3) for batch in index._stored.windows)


def test_damage_is_found_before_it_is_merged(folder, update, tmp_path):
    index = update(folder, Model())
    (path,) = (tmp_path / "index").glob("windows*")
    vector = next(index._stored.vectors())[0].tobytes()
    path.write_bytes(path.read_bytes().replace(vector, bytes(len(vector))))
    for name in ("0.wav", "2.wav", "b/1.wav", "b/3.wav"):
        (folder / name).unlink()
    with pytest.raises(AudiojaxError, match=rf"{path.name}: damaged: its CRC-32 is"):
        update(folder, Model())


def test_two_updates_at_once_take_turns(folder, update, tmp_path):
    done = []
    with store.locked(tmp_path / "index"):
        thread = threading.Thread(target=lambda: done.append(update(folder, Model())))
        thread.start()
        thread.join(0.3)
        assert not done
    thread.join()
    assert len(done[0]) == 6


def test_nothing_half_written_is_left(folder, update, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(AudiojaxError, match="index: cannot write the index: No space left.*choose another place"):
        update(folder, Model())
    assert [path.name for path in (tmp_path / "index").iterdir()] == [store.LOCK]


def test_embeddings_that_are_not_finite_are_an_error(folder, update):
    with pytest.raises(AudiojaxError, match="not finite"):
        update(folder, lambda clips: np.full((len(clips), 3), np.nan))


def test_folders_that_cannot_be_indexed(tmp_path, folder, update):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.wav").touch()
    with pytest.raises(AudiojaxError, match="none of its 1 sound files can be used: empty 1"):
        update(tmp_path / "bad", Model())
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(UsageError, match="full: is no index and not empty; choose a new folder"):
        update(folder, Model(), out=tmp_path / "full")
    with pytest.raises(UsageError, match="cannot be written"):
        update(folder, Model(), out=tmp_path / "full" / "thesis.tex")


def captions_in(folder):
    """File name -> captions, as the index stores them."""
    return {os.path.basename(row["path"]).decode(): row["captions"] for row in store.read_index(folder).files.to_pylist()}


def test_captions_outlast_changes_of_their_sounds(folder, update, tmp_path, closed):
    said = {"0.wav": ["a hum"], "2.wav": ["a drone"], "b/1.wav": ["a buzz"]}
    update(folder, Model(), captions=said)
    write(folder / "0.wav", 0.95)  # retagged, say
    closed(folder / "b")  # out of reach for now
    update(folder, Model())
    found = captions_in(tmp_path / "index")
    assert (found["0.wav"], found["2.wav"]) == (["a hum"], ["a drone"])
    shutil.copy(folder / "2.wav", folder / "0.wav")  # now of the same bytes as another sound
    shutil.copy(folder / "2.wav", folder / "new.wav")
    update(folder, Model())
    found = captions_in(tmp_path / "index")
    assert (found["0.wav"], found["new.wav"]) == (["a hum"], ["a drone"])


def test_a_passing_fault_passes_though_another_file_has_the_same_bytes(folder, update):
    shutil.copy(folder / "0.wav", folder / "twin.wav")

    class Toucher(Model):
        def __call__(self, clips):
            os.utime(folder / "twin.wav", (5, 5))
            return super().__call__(clips)

    assert {path.name for path in update(folder, Toucher()).skipped} == {"twin.wav"}
    again = update(folder, Model())
    assert (again.skipped, again.computed) == ({}, 0)
    assert levels(again)["twin.wav"] == levels(again)["0.wav"]
