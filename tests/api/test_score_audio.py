"""Generated sounds against real ones: what is heard of each, pairs, silence and faults, classes of SoundWorld, and CLAP."""

from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from audiojax.api import load_pretrained, score_audio
from audiojax.api.finding.search import Searcher
from audiojax.api.making.score_buckets import bucket_metrics
from audiojax.api.making.sound_backbone import Backbone
from audiojax.api.making.sound_sets import clip_set, folder_set, open_set, paired, with_captions
from audiojax.audio.reasons import BadAudio, Reason
from audiojax.data.soundworld.classes import BY_NAME, CLASSES
from audiojax.data.soundworld.source import SceneSource
from audiojax.errors import AudiojaxError, UsageError
from audiojax.metrics.generation.frechet import moments
from tests.api.sound_folders import RATE, SECONDS, sound_folder, tagger_folder

COUNT = 12


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folders "real" and "noisy" of COUNT sounds each, and a tagger."""
    place = tmp_path_factory.mktemp("sounds")
    sound_folder(place / "real", COUNT)
    sound_folder(place / "noisy", COUNT, noise=0.05)
    tagger_folder(place / "tagger")
    return place


@pytest.fixture(scope="module")
def backbone(place):
    return Backbone(place / "tagger", seconds=SECONDS, progress=False)


def sounds_of(seed, *seconds):
    rng = np.random.default_rng(seed)
    return [(0.1 * rng.normal(size=int(s * RATE)).astype(np.float32), RATE) for s in seconds]


def score(made, real, backbone, **options):
    return score_audio(made, real, backbone, progress=False, **options)


def test_features_are_those_of_the_tower(place, backbone):
    sounds = sounds_of(0, *[SECONDS] * 5)
    tower = load_pretrained(place / "tagger", progress=False)
    out = tower(np.stack([clip for clip, _ in sounds]))
    found = backbone.hear("abcde", sounds)
    np.testing.assert_allclose(found.embeddings, out.embedding, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.logits, out.logits, rtol=1e-4, atol=1e-4)
    frames = moments(np.asarray(out.frames).reshape(-1, out.frames.shape[-1]))
    assert found.frames.count == frames.count
    np.testing.assert_allclose(found.frames.mean, frames.mean, rtol=1e-4)
    np.testing.assert_allclose(1 / (1 + np.exp(-found.logits)), out.clipwise, atol=1e-5)


def test_a_sound_is_heard_alone_whatever_its_neighbours_length_and_rate(backbone):
    sounds = sounds_of(1, SECONDS, 2.3 * SECONDS, 0.3 * SECONDS, SECONDS)
    whole = backbone.hear("abcd", sounds)
    back = backbone.hear("dcba", sounds[::-1])
    np.testing.assert_allclose(back.embeddings[::-1], whole.embeddings, atol=1e-5)
    np.testing.assert_allclose(back.logits[::-1], whole.logits, atol=1e-4)
    samples, long = backbone.samples, sounds[1][0]
    parts = [(long[start : start + samples], RATE) for start in (0, samples, len(long) - samples)]
    np.testing.assert_allclose(whole.embeddings[1], backbone.hear("abc", parts).embeddings.mean(axis=0), atol=1e-5)
    short = np.resize(sounds[2][0], samples)
    np.testing.assert_allclose(whole.embeddings[2], backbone.hear("a", [(short, RATE)]).embeddings[0], atol=1e-5)


def test_frames_that_are_padding_or_heard_twice_do_not_count(backbone):
    each = backbone.hear("a", sounds_of(2, SECONDS)).frames.count
    assert backbone.hear("a", sounds_of(2, 3 * SECONDS)).frames.count == 3 * each
    assert backbone.hear("a", sounds_of(2, 1.5 * SECONDS)).frames.count == pytest.approx(1.5 * each, abs=1)
    assert backbone.hear("a", sounds_of(2, 0.5 * SECONDS)).frames.count == pytest.approx(0.5 * each, abs=1)


def test_silent_and_broken_sounds_are_named(backbone):
    calls = []
    bad = BadAudio("b.wav", Reason.TRUNCATED, "1 of 2")
    quiet = (np.zeros(8_000, np.float32), RATE)
    found = backbone.hear("abc", [quiet, bad, *sounds_of(3, SECONDS)], lambda: calls.append(1))
    assert (found.ids, found.silent, found.bad, len(calls)) == (["a", "c"], ["a"], [bad], 3)
    assert found.embeddings.shape == (2, backbone.width)


def test_a_backbone_must_tag(place, tmp_path):
    with pytest.raises(UsageError, match="no such file or folder"):
        Backbone(tmp_path / "none", progress=False)
    with pytest.raises(UsageError, match="a window of 0.01 s: .*too short"):
        Backbone(place / "tagger", seconds=0.01, progress=False)


def test_a_set_and_itself_are_no_distance_apart(place, backbone):
    found = score(place / "real", place / "real", backbone)
    values = found.scores
    assert values["Frechet distance"] == pytest.approx(0, abs=1e-6)
    assert values["FAD of this backbone's frames"] == pytest.approx(0, abs=1e-6)
    assert values["KID"] == pytest.approx(0, abs=1e-6)
    assert values["KL (softmax)"] == pytest.approx(0, abs=1e-4)
    assert values["silent sounds"] == 0
    halves = next(metric for metric in found.metrics if metric.name == "Frechet distance, halves")
    assert halves.value == pytest.approx(halves.ceiling)
    assert halves.low < halves.value < halves.high
    assert [row["id"] for row in found.rows()] == sorted(f"clip{i}" for i in range(COUNT))


def test_worse_sounds_are_further_away(place, backbone):
    found = score(place / "noisy", place / "real", backbone)
    metrics = {metric.name: metric for metric in found.metrics}
    assert metrics["Frechet distance"].value > 1e-3
    assert metrics["Frechet distance, halves"].value > metrics["Frechet distance, halves"].ceiling
    assert metrics["KL (softmax)"].chance > metrics["KL (softmax)"].ceiling
    assert found.per_clip["kl_softmax"] == pytest.approx([row["kl_softmax"] for row in found.rows()])
    assert np.mean(found.per_clip["kl_softmax"]) == pytest.approx(found.scores["KL (softmax)"])
    assert found.card["pairs"] == f"{COUNT}, by path without extension"
    unpaired = score(place / "noisy", place / "real", backbone, unpaired=True)
    assert unpaired.scores["Frechet distance"] == pytest.approx(found.scores["Frechet distance"])
    assert not any(name.startswith("KL") for name in unpaired.scores)


def test_what_was_left_out_is_counted_and_named(backbone, tmp_path):
    made, real = sound_folder(tmp_path / "made", 5), sound_folder(tmp_path / "real", 5, rate=22_050)
    (made / "clip2.wav").write_bytes(b"RIFF")
    soundfile.write(made / "clip3.wav", np.zeros(8_000), RATE)
    found = score(made, real, backbone)
    assert found.scores["silent sounds"] == 1 / 4
    assert found.ids == ["clip0", "clip1", "clip3", "clip4"]
    assert [row["silent"] for row in found.rows()] == [0, 0, 1, 0]
    left, silent, few = found.remarks
    assert "4 files used, 1 left out" in left
    assert "clip2.wav" in left
    assert silent.endswith("made: silent are 1 (clip3)")
    assert "the covariances of 4 and 5 have rank" in few
    assert "full rank takes 9 or more" in few


def test_too_few_sounds_for_a_covariance(backbone, tmp_path):
    made, real = sound_folder(tmp_path / "made", 1), sound_folder(tmp_path / "real", 1)
    with pytest.raises(UsageError, match="made: 1 sounds can be used; a covariance takes 2, and one of full rank 9"):
        score(made, real, backbone)


def test_pairs(tmp_path):
    made, real = sound_folder(tmp_path / "made", 4), sound_folder(tmp_path / "real", 3)
    sets = folder_set(made), folder_set(real)
    with pytest.raises(UsageError, match=r"1 \(clip3\) are not in .*real\n--allow-missing measures the 3 that both have; --unpaired"):
        paired(*sets, allow_missing=False)
    assert list(paired(*sets, allow_missing=True)) == ["clip0", "clip1", "clip2"]
    (real / "sub").mkdir()
    for path in real.glob("*.wav"):
        path.rename(real / "sub" / path.name)
    with pytest.raises(UsageError, match="3 .sub/clip0, sub/clip1, sub/clip2. are not in .*made"):
        paired(sets[0], folder_set(real), allow_missing=True)
    soundfile.write(made / "clip0.flac", np.zeros(80), RATE)
    with pytest.raises(UsageError, match="two files with the id 'clip0'"):
        folder_set(made)


def test_captions_by_names_of_files(tmp_path):
    sounds = folder_set(sound_folder(tmp_path / "made", 2))
    table = tmp_path / "captions.csv"
    table.write_text("file,caption\nclip0.flac,a low tone\nclip0.flac,a hum\nclip1,a tone\nother,rain\n")
    assert with_captions(sounds, table).captions == {"clip0": "a low tone", "clip1": "a tone"}
    table.write_text("file,caption\nclip0,a low tone\nclip1,\n")
    with pytest.raises(UsageError, match=r"has no caption of 1 \(clip1\) of the 2 sounds"):
        with_captions(sounds, table)


class Levels(Searcher):
    """Hears how loud a sound is, and reads the same of the captions "quiet" and "loud"."""

    model_id = "levels"
    tower = SimpleNamespace(
        embed_text=lambda texts: np.array([[1.0, 0.0] if text == "quiet" else [0.0, 1.0] for text in texts]), digest="0" * 32
    )

    def __init__(self):
        super().__init__(RATE, RATE, "zero", devices=1, source="levels")

    def embed_text(self, texts):
        pytest.fail("the score asks the tower for texts")

    def embed_audio(self, waveforms):
        loud = np.abs(waveforms).max(axis=1) > 0.2
        return np.stack([~loud, loud], axis=1).astype(np.float32)


def test_clap_score(backbone, tmp_path, monkeypatch):
    monkeypatch.setattr("audiojax.api.making.score_audio.open_clap", lambda name, progress: Levels())
    made, real = (sound_folder(tmp_path / name, 4) for name in ("made", "real"))
    for name in ("clip0", "clip1"):
        soundfile.write(real / f"{name}.wav", 0.1 * np.sin(np.arange(8_000)), RATE)
    soundfile.write(made / "clip0.wav", 0.1 * np.sin(np.arange(8_000)), RATE)
    (tmp_path / "captions.csv").write_text("id,caption\nclip0,quiet\nclip1,quiet\nclip2,loud\nclip3,loud\n")
    found = score(made, real, backbone, clap="levels", captions=tmp_path / "captions.csv")
    metric = next(metric for metric in found.metrics if metric.name == "CLAP score")
    assert found.per_clip["clap"] == [1, 0, 1, 1]
    assert (metric.value, metric.ceiling) == (0.75, 1)
    assert metric.chance == pytest.approx((1 + 2 + 1 + 1) / 3 / 4)  # captions of the three others that fit
    with pytest.raises(UsageError, match="name a table of them with --captions"):
        score(made, real, backbone, clap="levels")
    with pytest.raises(UsageError, match="--captions belongs to --clap"):
        score(made, real, backbone, captions=tmp_path / "captions.csv")


def test_a_split_of_soundworld_knows_its_classes_and_captions():
    source = SceneSource("test", "0.004")
    sounds = clip_set("soundworld:test", source, range(len(source)))
    record = source[1]
    assert sounds.ids[1] == record["id"]
    assert sounds.captions[record["id"]] == record["captions"][0]
    assert {row.name for row, on in zip(CLASSES, sounds.labels[record["id"]], strict=True) if on} == {
        event.name for event in source.scene(1).events
    }
    ((samples, rate),) = sounds.read([record["id"]])
    assert rate == RATE
    np.testing.assert_array_equal(np.rint(samples * 32768), record["audio"])
    with pytest.raises(UsageError, match="splits are"):
        open_set("soundworld:nothing")


def test_scores_of_soundworld(backbone):
    source = SceneSource("test", "0.006")
    sounds = clip_set("soundworld:test", source, range(len(source)))
    found = score(sounds, sounds, backbone)
    metrics = {metric.name: metric for metric in found.metrics}
    accuracies = [metric for name, metric in metrics.items() if name.startswith("tagger accuracy")]
    assert accuracies
    assert all(metric.value == metric.ceiling for metric in accuracies)
    assert found.scores["Frechet distance"] == pytest.approx(0, abs=1e-6)


def test_buckets_by_hand():
    """Four clips of one class each: a head class recognised, one not, two unseen ones recognised by the generated sounds alone."""
    names = [row.name for row in CLASSES]
    wanted = [names.index(name) for name in ("rain", "wind", "cuckoo", "laugh")]
    assert [BY_NAME[names[i]].tier for i in wanted] == ["head", "head", "unseen", "unseen"]
    labels = np.zeros((4, 52))
    labels[np.arange(4), wanted] = 1
    made, real = labels.copy(), labels.copy()
    made[1, [wanted[1], 5]] = 0, 1
    real[2:] = np.roll(real[2:], 1, axis=1)
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(4, 3))
    rows, values = bucket_metrics((embeddings, made), (embeddings, real), labels)
    found = {metric.name: metric for metric in rows}
    single = "tagger accuracy, single head events"
    assert list(found) == ["tagger accuracy, head", "tagger accuracy, unseen", single, "KID, head (2 clips)", "KID, unseen (2 clips)"]
    head, unseen = found["tagger accuracy, head"], found["tagger accuracy, unseen"]
    assert (head.value, head.ceiling, unseen.value, unseen.ceiling) == (0.5, 1, 1, 0)
    assert head.chance == pytest.approx(1 / 52)
    assert found["KID, head (2 clips)"].value == pytest.approx(0, abs=1e-12)
    assert values == {"tagger accuracy, head": [1, 0], "tagger accuracy, unseen": [1, 1], single: [1, 0]}
    labels[0, wanted[2]] = 1  # two events
    rows, values = bucket_metrics((embeddings, made), (embeddings, real), labels)
    assert values[single] == [0]
    assert values["tagger accuracy, head"] == [1, 0]
    others, _ = bucket_metrics((embeddings, made[:, :9]), (embeddings, real[:, :9]), labels)
    assert all(metric.name.startswith("KID") for metric in others)


def test_weights_that_are_not_whole(backbone, monkeypatch):
    monkeypatch.setattr(backbone, "_call", lambda windows: np.full((len(windows), 500), np.nan))
    with pytest.raises(AudiojaxError, match="sound0: the backbone gives numbers that are not finite"):
        backbone.hear(["sound0"], sounds_of(4, SECONDS))
