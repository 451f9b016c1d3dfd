"""A bridge from a CLAP to a finished run, and everything that is done with it: embeddings, sounds, an index, arrays, a report."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

import audiojax
from audiojax.api.bridging.bridge import row_seeds
from audiojax.api.bridging.bridge_files import bridge_files, read_embeddings
from audiojax.api.bridging.evaluate import load_gaps, pictures
from audiojax.api.data import open_split
from audiojax.audio.reasons import AudioFileError
from audiojax.cli import main
from audiojax.config import to_dict
from audiojax.data.examples import captions_of
from audiojax.errors import UsageError
from audiojax.trainer.export import load_export
from tests.papers.diffusion_link.small import WIDTH, config_of, pairs, save_clap, shrink

WORLD = ("data.source=memory", "data.size=0.006", "data.seconds=3.84", "data.statistics_examples=16", "bridge.memory=10")


@pytest.fixture(scope="module", autouse=True)
def small_clap(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        patch.setenv("AUDIOJAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def overrides(tmp_path_factory, small_clap):
    source = open_split(to_dict(config_of(*WORLD))["data"], "train")
    captions = [text for i in range(len(source)) for text in captions_of(source, i)]
    return (*WORLD, "link.batch_size=8", f"init.clap={save_clap(tmp_path_factory.mktemp('towers'), captions)}")


@pytest.fixture(scope="module")
def run(tmp_path_factory, overrides):
    workdir = tmp_path_factory.mktemp("run") / "link"
    audiojax.train(config_of(*overrides), workdir, progress=False)
    return workdir


@pytest.fixture(scope="module")
def bridge(run):
    return audiojax.load(run)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    for name, seconds in (("a", 2.0), ("b", 5.0)):
        soundfile.write(folder / f"{name}.wav", 0.1 * rng.normal(size=int(16_000 * seconds)), 16_000)
    soundfile.write(folder / "silent.wav", np.zeros(16_000), 16_000)
    return folder


@pytest.mark.slow
def test_a_run_holds_the_bridge_and_what_was_measured(run):
    model = load_export(run / "final")
    assert model.params.keys() == {"towers", "bridge"}
    assert model.model_state["bridge"].keys() == {"audio_mean", "audio_spread", "text_mean", "text_spread"}
    assert "bridged/paired_cosine" in model.card["validation"]
    assert model.card["started from"].keys() == {"clap"}


@pytest.mark.slow
def test_a_row_depends_on_itself_and_the_seed(bridge):
    rows = pairs(11)["audio_embedding"]
    out = bridge.bridge(rows)
    assert out.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(bridge.bridge(rows), out)
    np.testing.assert_allclose(bridge.bridge(rows[::-1])[::-1], out, atol=1e-5)
    np.testing.assert_allclose(bridge.bridge(rows[4:5])[0], out[4], atol=1e-5)
    assert not np.allclose(bridge.bridge(rows, seed=1), out, atol=1e-3)
    assert bridge.bridge(rows[:0]).shape == (0, WIDTH)


def test_seeds_follow_the_row():
    rows = pairs(4)["audio_embedding"]
    np.testing.assert_array_equal(row_seeds(rows[::-1], 0)[::-1], row_seeds(rows, 0))
    assert len({*row_seeds(rows, 0), *row_seeds(rows, 1)}) == 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones((3, WIDTH + 1)), rf"shape \(3, {WIDTH + 1}\); the CLAP of .* has width {WIDTH}"),
        (np.ones(WIDTH), r"the CLAP of .* has width"),
        (np.array([[1.0] * WIDTH, [np.nan] * WIDTH]), "1 of 2 embeddings are not finite or zero, the first in row 1"),
        (np.zeros((2, WIDTH)), "2 of 2 embeddings are not finite or zero, the first in row 0"),
    ],
)
def test_what_cannot_be_bridged_is_named(bridge, rows, message):
    with pytest.raises(UsageError, match=message):
        bridge.bridge(rows)


@pytest.mark.slow
def test_sound_files_are_embedded_and_bridged(bridge, sounds):
    found = bridge.bridge_audio([sounds / "a.wav", sounds / "b.wav"])
    assert [path.name for path in found.files] == ["a.wav", "b.wav"]
    np.testing.assert_array_equal(found.embeddings, bridge.bridge(found.raw))
    clap = audiojax.load(bridge.card["started from"]["clap"]["source"])
    waveform, rate = soundfile.read(sounds / "a.wav")
    np.testing.assert_allclose(found.raw[0], clap.embed_audio(waveform.astype(np.float32), rate)[0], atol=1e-4)
    with pytest.raises(AudioFileError, match="silent"):
        bridge.bridge_audio([sounds / "silent.wav"])


@pytest.mark.slow
def test_the_command_bridges_folders_indices_and_arrays(run, bridge, sounds, tmp_path, capsys):
    out = tmp_path / "bridged.npz"
    words = ["--model", str(run), "--out", str(out), "--quiet"]
    assert main(["bridge", str(sounds), *words]) == 1  # one file is silent
    said = capsys.readouterr()
    assert "silent.wav" in said.err
    assert "2 embeddings of 2 files of width 8" in said.out
    with np.load(out) as stored:
        folder = dict(stored)
    assert [name.rsplit("/", 1)[1] for name in folder["files"]] == ["a.wav", "b.wav"]

    clap = audiojax.load_finder(bridge.card["started from"]["clap"]["source"])
    clap.index(sounds, tmp_path / "clap.index")
    assert main(["bridge", str(tmp_path / "clap.index"), *words]) == 0
    with np.load(out) as stored:
        index = dict(stored)
    names = [name.rsplit("/", 1)[1] for name in index["files"]]
    assert names == ["a.wav", "b.wav", "b.wav", "silent.wav"]
    assert index["starts"].tolist() == pytest.approx([0.0, 0.0, 1.16, 0.0])  # the last window ends with the file
    np.testing.assert_allclose(index["raw"][0], folder["raw"][0], atol=1e-4)

    np.save(tmp_path / "rows.npy", folder["raw"])
    assert main(["bridge", str(tmp_path / "rows.npy"), "--model", str(run), "--out", str(tmp_path / "rows-out.npy"), "--quiet"]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "rows-out.npy"), folder["embeddings"])

    assert main(["bridge", str(out), str(sounds), *words]) == 2
    assert "is bridged alone; 2 sources are named" in capsys.readouterr().err


@pytest.mark.slow
def test_an_index_of_another_clap_is_refused(bridge, run, sounds, tmp_path, capsys):
    clap = audiojax.load_finder(bridge.card["started from"]["clap"]["source"])
    clap.index(sounds, tmp_path / "clap.index")
    manifest = tmp_path / "clap.index" / "index.json"
    manifest.write_text(manifest.read_text().replace(bridge.clap_id, "0" * 32))
    assert main(["bridge", str(tmp_path / "clap.index"), "--model", str(run), "--out", str(tmp_path / "x.npz")]) == 2
    assert "its vectors are those of" in capsys.readouterr().err


def test_nothing_to_bridge_and_another_ending_are_named(tmp_path):
    with pytest.raises(UsageError, match="x.csv: the name must end in .npz or .npy"):
        bridge_files(None, ["sounds"], tmp_path / "x.csv")
    with pytest.raises(UsageError, match="nothing to bridge"):
        bridge_files(None, [], tmp_path / "x.npy")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="x.npz: cannot be written"):
        bridge_files(None, ["sounds"], tmp_path / "file" / "x.npz")


def test_files_without_embeddings_are_named(tmp_path):
    np.savez(tmp_path / "two.npz", a=np.ones((2, 2)), b=np.ones((2, 2)))
    np.savez(tmp_path / "named.npz", a=np.ones((2, 2)), embeddings=np.zeros((3, 4)))
    np.save(tmp_path / "flat.npy", np.ones(4))
    np.save(tmp_path / "words.npy", np.array([["a"]]))
    np.save(tmp_path / "objects.npy", np.array([None, 1]), allow_pickle=True)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "two.npz").read_bytes()[:60])
    np.savez(tmp_path / "bridged.npz", embeddings=np.ones((2, 3)), raw=np.zeros((2, 3)))
    assert read_embeddings(tmp_path / "named.npz").shape == (3, 4)
    assert not read_embeddings(tmp_path / "bridged.npz").any()  # what is bridged already is not bridged again
    for name, message in (
        ("two.npz", "two.npz: holds a, b; the embeddings are to be called 'embeddings'"),
        ("flat.npy", r"flat.npy: holds float64 of shape \(4,\)"),
        ("words.npy", "words.npy: holds <U1"),
        ("objects.npy", "objects.npy: cannot be read as an array"),
        ("cut.npz", "cut.npz: cannot be read as an array"),
        ("none.npy", "none.npy: no such file"),
    ):
        with pytest.raises(UsageError, match=message):
            read_embeddings(tmp_path / name)


@pytest.mark.slow
def test_the_report_shows_the_gap_before_and_after(run, tmp_path):
    found = audiojax.evaluate(run, "val", out=tmp_path, progress=False)
    page, stored = (tmp_path / "report.html").read_text(), json.loads((tmp_path / "scores.json").read_text())
    assert stored["scores"] == found.scores
    assert {"raw/paired_cosine", "bridged/R@10"} <= found.scores.keys()
    assert "Sounds and texts, along the gap" in page
    assert "Sounds and texts, PCA" in page
    assert page.count("<circle") > 3
    gaps = load_gaps(tmp_path)
    assert gaps["paired_cosine"].mean() == pytest.approx(found.scores["bridged/paired_cosine"])
    assert load_gaps(tmp_path / "none") is None


def test_the_clouds_are_drawn_by_umap_where_it_is_installed(monkeypatch):
    class Umap:
        def __init__(self, random_state):
            self.random_state = random_state

        def fit_transform(self, rows):
            return rows[:, : self.random_state + 2]

    rows = pairs(12)
    sides = {"raw": rows["audio_embedding"], "bridged": rows["text_embedding"]}
    monkeypatch.setitem(sys.modules, "umap", None)
    without = [one.title for one in pictures(sides, rows["text_embedding"][:, None])]
    assert without == ["Sounds and texts, along the gap", "Sounds and texts, PCA"]
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Umap))
    *others, drawn = pictures(sides, rows["text_embedding"][:, None])
    assert [one.title for one in others] == without
    assert drawn.title == "Sounds and texts, UMAP"
    np.testing.assert_array_equal(drawn.panels["before"]["sounds"], rows["audio_embedding"][:, :2])


@pytest.mark.slow
def test_rivals_are_swept_beside_it(overrides, tmp_path):
    """A form that is fitted is a phase without steps."""
    found = audiojax.sweep(
        "diffusion_link/soundworld:debug",
        [("argument", ["diffusion", "ridge", "memory"])],
        [1],
        tmp_path,
        overrides=[*overrides, "model.network.width=16", "data.max_tokens=8", "train.eval_batch_size=8"],
        split="val",
        progress=False,
    )
    settings = {row["setting"] for row in found.rows}
    assert settings == {"argument=diffusion", "argument=ridge", "argument=memory"}
    assert {"paired_cosine", "R@10", "centroid_distance"} <= {row["measure"] for row in found.rows}
    ridge = load_export(tmp_path / "argument=ridge" / "seed1" / "final")
    assert ridge.params.keys() == {"towers"}
    assert ridge.card["step"] == 0
    assert "bridged/paired_cosine" in ridge.card["validation"]


@pytest.mark.slow
def test_a_clap_of_another_width_is_refused(overrides, tmp_path, monkeypatch):
    from dataclasses import replace

    from audiojax.encoders import clap

    monkeypatch.setitem(clap.PRESETS, "tiny", replace(clap.PRESETS["tiny"], projection=WIDTH * 2))
    with pytest.raises(UsageError, match="init.clap: .* does not fit the model: .* parameters differ"):
        audiojax.train(config_of(*overrides), tmp_path / "run", progress=False)
