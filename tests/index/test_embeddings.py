"""The embedding cache: what is computed once, what survives an interruption, and what is refused."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audiojax.audio.reasons import Reason
from audiojax.errors import AudiojaxError, UsageError
from audiojax.index import embeddings
from audiojax.index.cache import Digests, read_entries
from audiojax.index.embeddings import embed_folder, list_sounds

RATE = 1000


class Model:
    """Embeds a clip as its mean, first and last sample; counts its calls and may break at one of them."""

    def __init__(self, break_at: int | None = None):
        self.shapes: list[tuple[int, ...]] = []
        self.break_at = break_at

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        self.shapes.append(clips.shape)
        if len(self.shapes) == self.break_at:
            raise RuntimeError("killed")
        return np.stack([clips.mean(axis=1), clips[:, 0], clips[:, -1]], axis=1)


@pytest.fixture
def folder(tmp_path):
    """Six one-second sounds of constant level, in two folders."""
    root = tmp_path / "sounds"
    (root / "b").mkdir(parents=True)
    for number in range(6):
        path = root / ("b" if number % 2 else ".") / f"{number}.wav"
        soundfile.write(path, np.full(RATE, (number + 1) / 10), RATE, subtype="FLOAT")
    return root


@pytest.fixture
def embed(tmp_path):
    """embed_folder with this test's cache and one child."""

    def call(folder, model, **changes):
        arguments = {"model_id": "m", "sample_rate": RATE, "seconds": 1.0, "cache_dir": tmp_path / "cache", "batch_size": 2, "workers": 1}
        return embed_folder(folder, model, **arguments | changes)

    return call


def test_embeds_every_file_in_batches_of_one_shape(folder, embed):
    model = Model()
    found = embed(folder, model, batch_size=4, progress=True)
    assert model.shapes == [(4, RATE)] * 2
    assert [str(path.relative_to(folder)) for path in found.paths] == ["0.wav", "2.wav", "4.wav", "b/1.wav", "b/3.wav", "b/5.wav"]
    np.testing.assert_allclose(found.embeddings[:, 0], [0.1, 0.3, 0.5, 0.2, 0.4, 0.6], atol=1e-6)
    np.testing.assert_array_equal(found.file_of, np.arange(6))
    np.testing.assert_array_equal(found.starts, np.zeros(6))
    assert (found.skipped, found.silent, found.computed) == ({}, (), 6)


def test_nothing_is_computed_twice_for_the_same_bytes(folder, embed):
    first = embed(folder, Model())
    shutil.copy(folder / "0.wav", folder / "b" / "copy.wav")
    (folder / "4.wav").rename(folder / "renamed.wav")
    os.utime(folder / "2.wav", (1, 1))
    model = Model()
    second = embed(folder, model)
    assert (model.shapes, second.computed) == ([], 0)
    of = dict(zip(second.paths, second.embeddings.tolist(), strict=True))
    assert of[folder / "b" / "copy.wav"] == of[folder / "0.wav"] == first.embeddings[0].tolist()
    assert of[folder / "renamed.wav"] == first.embeddings[2].tolist()


def test_only_new_and_changed_files_are_embedded(folder, embed):
    embed(folder, Model())
    soundfile.write(folder / "0.wav", np.full(RATE, 0.9), RATE, subtype="FLOAT")
    soundfile.write(folder / "new.wav", np.full(RATE, 0.8), RATE, subtype="FLOAT")
    model = Model()
    found = embed(folder, model)
    assert (len(model.shapes), found.computed) == (1, 2)
    level = dict(zip(found.paths, found.embeddings[:, 0], strict=True))
    assert level[folder / "0.wav"] == pytest.approx(0.9)
    assert level[folder / "new.wav"] == pytest.approx(0.8)


@pytest.mark.parametrize("change", [{"model_id": "other"}, {"seconds": 0.5}, {"padding": "zero"}, {"hop_seconds": 0.5}])
def test_another_model_or_setting_has_its_own_embeddings_and_drops_none(folder, embed, change):
    embed(folder, Model())
    other = Model()
    assert embed(folder, other, **change).computed == 6
    again = Model()
    embed(folder, again)
    embed(folder, again, **change)
    assert again.shapes == []


@pytest.mark.parametrize("flush_files", [1, 1000])
def test_a_call_that_is_cut_short_goes_on_where_it_stopped(folder, embed, monkeypatch, flush_files):
    monkeypatch.setattr(embeddings, "FLUSH_FILES", flush_files)
    with pytest.raises(RuntimeError, match="killed"):
        embed(folder, Model(break_at=3))  # two batches of two files were done
    model = Model()
    found = embed(folder, model)
    assert (len(model.shapes), found.computed) == (1, 2)
    np.testing.assert_array_equal(found.embeddings, embed(folder, Model(), model_id="fresh").embeddings)


def test_a_killed_process_leaves_a_cache_that_goes_on(folder, embed, tmp_path):
    script = f"""
import os, signal
from audiojax.index import embeddings
from tests.index.test_embeddings import Model
embeddings.FLUSH_FILES = 1
class Killed(Model):
    def __call__(self, clips):
        if len(self.shapes) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(clips)
embeddings.embed_folder({str(folder)!r}, Killed(), model_id="m", sample_rate={RATE}, seconds=1.0, cache_dir={str(tmp_path / "cache")!r},
                        batch_size=2, workers=1)
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", script], env=environment, check=False).returncode == -signal.SIGKILL
    assert embed(folder, Model()).computed == 2


def test_long_sounds_have_a_row_per_window_and_short_ones_are_padded(tmp_path, embed):
    folder = tmp_path / "sounds"
    folder.mkdir()
    soundfile.write(folder / "long.wav", np.arange(2500) / 2500, RATE, subtype="FLOAT")
    soundfile.write(folder / "short.wav", np.full(300, 0.5), RATE, subtype="FLOAT")
    found = embed(folder, Model())
    np.testing.assert_array_equal(found.file_of, [0, 0, 0, 1])
    np.testing.assert_array_equal(found.starts, [0.0, 1.0, 1.5, 0.0])
    np.testing.assert_allclose(found.embeddings[:3, 1], [0.0, 0.4, 0.6], atol=1e-6)
    np.testing.assert_allclose(found.embeddings[3], [0.45, 0.5, 0.0], atol=1e-6)  # three whole repetitions, then zeros
    np.testing.assert_allclose(embed(folder, Model(), padding="zero").embeddings[3, 0], 0.15, atol=1e-6)
    np.testing.assert_allclose(embed(folder, Model(), padding="repeat_cut").embeddings[3, 0], 0.5, atol=1e-6)


def test_an_embedding_does_not_depend_on_the_neighbours(folder, embed):
    alone = folder.parent / "alone"
    alone.mkdir()
    shutil.copy(folder / "b" / "3.wav", alone)
    one = embed(alone, Model(), cache_dir=folder.parent / "other", batch_size=4)
    many = embed(folder, Model(), batch_size=4)
    np.testing.assert_array_equal(one.embeddings[0], many.embeddings[4])


def test_bad_files_are_named_remembered_and_stop_nothing(folder, embed):
    (folder / "1cut.wav").write_bytes((folder / "0.wav").read_bytes()[:3000])
    (folder / "empty.flac").touch()
    (folder / "gone.wav").symlink_to(folder / "nowhere.wav")
    soundfile.write(folder / "silent.wav", np.zeros(RATE), RATE)
    long = np.zeros(3 * RATE)
    long[-1] = np.nan  # after two good windows
    soundfile.write(folder / "nan.wav", long, RATE, subtype="FLOAT")
    found = embed(folder, Model())
    reasons = {path.name: text.split(" ")[0] for path, text in found.skipped.items()}
    assert reasons == {"1cut.wav": "truncated", "empty.flac": "empty", "gone.wav": "missing", "nan.wav": "not_finite"}
    assert len(found.paths) == len(found.embeddings) == 7
    assert found.silent == (folder / "silent.wav",)
    assert found.tally.counts() == {"empty": 1, "missing": 1, "not_finite": 1, "truncated": 1}
    again = Model()
    second = embed(folder, again)
    assert (again.shapes, second.skipped, second.silent) == ([], found.skipped, found.silent)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_pipes_and_devices_are_named_and_never_read(folder, embed, make):
    make(folder / "endless.wav")
    found = embed(folder, Model())
    assert found.skipped == {folder / "endless.wav": "not_a_file (neither file nor folder)"}
    assert len(found.paths) == 6


def test_only_the_wanted_entries_are_kept_in_memory(folder, embed, tmp_path):
    embed(folder, Model())
    shards = next((tmp_path / "cache" / "entries").iterdir())
    decoder = str(np.load(next(shards.glob("*.npz")))["decoder"])
    every = [digest for path in shards.glob("*.npz") for digest in np.load(path)["digests"].tolist()]
    found = read_entries(shards, decoder, set(every[:2]))
    assert set(found) == set(every[:2])
    assert all(entry.embeddings.base is None for entry in found.values())  # not views that keep the shard


def test_names_that_are_not_utf_8_are_embedded_and_remembered(tmp_path, embed):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/Ger\xe4usche"))
    folder.mkdir()
    bell, broken = (folder / os.fsdecode(name) for name in (b"T\xfcrklingel.wav", b"T\xfcr.wav"))
    soundfile.write(tmp_path / "a.wav", np.full(RATE, 0.5), RATE, subtype="FLOAT")
    (tmp_path / "a.wav").rename(bell)
    broken.write_bytes(b"RIFF not a sound")
    found = embed(folder, Model())
    assert (found.paths, list(found.skipped), found.computed) == ((bell,), [broken], 1)
    assert found.embeddings[0, 0] == pytest.approx(0.5)
    assert "T\\xfcr.wav" in "".join(found.tally.lines())
    digests = Digests.read(tmp_path / "cache", folder)
    assert sorted(digests.known) == sorted(map(str, (bell, broken)))
    again = embed(folder, Model())
    assert (again.paths, again.skipped, again.computed) == (found.paths, found.skipped, 0)


def test_a_judgement_of_another_decoder_is_not_believed(folder, embed, monkeypatch):
    (folder / "odd.m4a").write_bytes(b"not yet readable")
    assert len(embed(folder, Model()).skipped) == 1
    monkeypatch.setattr(embeddings.io, "second_decoder", lambda: "newer")
    decoded = []
    genuine = embeddings.window_files
    monkeypatch.setattr(embeddings, "window_files", lambda paths, *a, **k: genuine(decoded.extend(paths) or decoded, *a, **k))
    embed(folder, Model())
    assert [path.name for path in decoded] == ["odd.m4a"]


def test_a_file_that_changes_while_it_is_read_is_not_cached(folder, embed):
    class Meddler(Model):
        def __call__(self, clips):
            if not self.shapes:
                soundfile.write(folder / "0.wav", np.full(RATE, 0.7), RATE, subtype="FLOAT")
                os.utime(folder / "0.wav", (5, 5))
            return super().__call__(clips)

    found = embed(folder, Meddler())
    assert {path.name: text.split(" ")[0] for path, text in found.skipped.items()} == {"0.wav": str(Reason.CHANGED)}
    again = embed(folder, Model())
    assert (again.computed, again.skipped) == (1, {})
    assert again.embeddings[0, 0] == pytest.approx(0.7)


def test_a_damaged_cache_is_made_again(folder, embed, tmp_path):
    embed(folder, Model())
    for path in (tmp_path / "cache").rglob("*.npz"):
        path.write_bytes(path.read_bytes()[:100])
    assert embed(folder, Model()).computed == 6
    assert embed(folder, Model()).computed == 0


def test_nothing_half_written_is_left(folder, embed, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(AudiojaxError, match="No space left.*choose another folder"):
        embed(folder, Model())
    assert [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()] == ["settings.json"]


def test_embeddings_that_are_not_finite_are_an_error(folder, embed):
    with pytest.raises(AudiojaxError, match="not finite"):
        embed(folder, lambda clips: np.full((len(clips), 3), np.nan))


def test_folders_that_cannot_be_searched(tmp_path, embed):
    (tmp_path / "notes.txt").write_text("no sound")
    (tmp_path / ".hidden.wav").touch()
    with pytest.raises(UsageError, match=r"no sound file.*\.wav \.flac"):
        list_sounds(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        list_sounds(tmp_path / "no")
    with pytest.raises(UsageError, match="is a file"):
        list_sounds(tmp_path / "notes.txt")
    (tmp_path / "a.wav").touch()
    with pytest.raises(AudiojaxError, match="none of its 1 sound files can be used.*empty 1"):
        embed(tmp_path, Model())


@pytest.fixture
def closed(monkeypatch):
    """closed(folder) makes a folder that cannot be listed, also for the superuser."""
    genuine, names = os.scandir, []

    def scandir(path):
        if os.path.basename(path) in names:
            raise PermissionError(13, "Permission denied", path)
        return genuine(path)

    monkeypatch.setattr(os, "scandir", scandir)
    return lambda folder: names.append(folder.name)


def test_a_subfolder_that_cannot_be_read_is_counted_and_named(folder, embed, closed):
    closed(folder / "b")
    found = embed(folder, Model())
    assert [path.name for path in found.paths] == ["0.wav", "2.wav", "4.wav"]
    assert found.skipped == {folder / "b": "unreadable (a folder: Permission denied)"}
    assert found.tally.summary() == "3 files used, 1 left out: unreadable 1"
    assert list(found.tally.lines()) == ["     1  unreadable", f"        {folder / 'b'}: a folder: Permission denied"]


def test_a_subfolder_that_goes_away_while_it_is_listed_is_named(folder, monkeypatch):
    genuine = os.walk

    def walk(top, **options):
        for here, folders, files in genuine(top, **options):
            if here.endswith("b"):
                shutil.rmtree(here)
            yield here, folders, files

    monkeypatch.setattr(os, "walk", walk)
    sounds, unread = list_sounds(folder)
    assert [path.name for path in sounds] == ["0.wav", "2.wav", "4.wav"]
    assert [(bad.path, bad.reason) for bad in unread] == [(str(folder / "b"), Reason.MISSING)]


def test_a_folder_without_a_readable_part_says_so(folder, closed):
    closed(folder)
    with pytest.raises(UsageError, match=r"no sound file in it; looked for .*; cannot be read: .*sounds: unreadable .a folder: Permission"):
        list_sounds(folder)


def test_listing_is_sorted_follows_links_once_and_skips_the_hidden(tmp_path):
    for name in ("b/2.FLAC", "b/1.wav", "a.mp3", ".git/x.wav", "b/.y.wav", "c.txt"):
        (tmp_path / "s" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "s" / name).touch()
    (tmp_path / "s" / "b" / "loop").symlink_to(tmp_path / "s")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "z.ogg").touch()
    (tmp_path / "s" / "linked").symlink_to(tmp_path / "elsewhere")
    assert [str(path.relative_to(tmp_path / "s")) for path in list_sounds(tmp_path / "s")[0]] == [
        "a.mp3",
        "b/1.wav",
        "b/2.FLAC",
        "linked/z.ogg",
    ]
