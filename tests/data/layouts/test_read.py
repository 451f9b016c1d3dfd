"""What `read_dataset` takes a folder for: names, splits, versions, copies, and where it looks for sounds."""

import io
import json
import os
import tarfile

import pytest

from audiojax.data.layouts.clips import Fault, Sound
from audiojax.data.layouts.files import SoundIndex
from audiojax.data.layouts.published import EXPECTED, as_split, set_word, settle_splits, split_word
from audiojax.data.layouts.read import read_dataset
from audiojax.data.layouts.records import youtube_names
from audiojax.errors import UsageError
from tests.data.layouts.planting import put, table


def captions(root, name, rows):
    put(root / name, table(["file_name", "caption"], rows))


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("clotho_captions_development.csv", "dev"),
        ("development-testing.csv", "test"),
        ("data/validation-00000-of-00004.parquet", "val"),
        ("data_splits/eval/list.csv", "eval"),
        ("train/valid.csv", "val"),
        ("latest_training_set.json", "train"),
        ("contest.csv", ""),
    ],
)
def test_split_words(path, word):
    assert split_word(path) == word


def test_doubtful_splits_are_settled_by_their_neighbours():
    clotho = settle_splits(["dev", "val", "eval"])
    assert (clotho["dev"], clotho["val"], clotho["eval"]) == ("train", "val", "test")
    other = settle_splits(["train", "dev", "eval", "test"])
    assert (other["dev"], other["eval"]) == ("val", "val")
    assert settle_splits([])[""] == "train"
    assert (as_split("Validation"), as_split("Fold 3 (held out)")) == ("val", "fold_3_held_out")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("AudioCaps/dataset2.0/x.csv", "audiocaps"),
        ("Clotho_v2.1/a.csv", "clotho"),
        ("wav_caps/x", "wavcaps"),
        ("bbc_final.json", "wavcaps"),
    ],
)
def test_set_words(path, name):
    assert set_word(path) == name
    assert set_word("sounds/list.csv") == ""


def test_names_of_youtube_files():
    names = youtube_names("abcdefghijk", "30", "77")
    assert {"abcdefghijk", "Yabcdefghijk", "abcdefghijk_30", "Yabcdefghijk_30_40", "abcdefghijk_30000", "77"} < set(names)
    assert youtube_names("abcdefghijk", "") == ("abcdefghijk", "Yabcdefghijk")


def test_a_folder_of_several_sets_needs_a_name(tmp_path):
    captions(tmp_path, "clotho/development.csv", [["a.wav", "a dog"]])
    captions(tmp_path, "audiocaps/train.csv", [["b.wav", "a cat"]])
    put(tmp_path / "a.wav", b"x")
    with pytest.raises(UsageError, match=r"several data sets: audiocaps \(audiocaps/train.csv\), clotho"):
        read_dataset(tmp_path)
    named = read_dataset(tmp_path, name="clotho")
    assert (named.name, [clip.id for clip in named.clips]) == ("clotho", ["a"])
    assert named.expected == EXPECTED["clotho", "v2.1"]
    with pytest.raises(UsageError, match="no data set 'esc'"):
        read_dataset(tmp_path, name="esc")


def test_what_is_no_data_set(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        read_dataset(tmp_path / "no")
    put(tmp_path / "a" / "notes.csv", "day,weather\n1,rain\n")
    with pytest.raises(UsageError, match="a: no data set that is understood; looked for a CSV"):
        read_dataset(tmp_path / "a")
    with pytest.raises(UsageError, match="is a file"):
        read_dataset(tmp_path / "a" / "notes.csv")
    put(tmp_path / "b" / "audio.zip", "PK")
    with pytest.raises(UsageError, match="unpack"):
        read_dataset(tmp_path / "b")
    put(tmp_path / "c" / "list.json", "{")
    with pytest.raises(UsageError, match="list.json cannot be read"):
        read_dataset(tmp_path / "c")


@pytest.mark.parametrize("depth", [10, 100_000])
def test_json_nested_too_deeply_is_passed_over_or_named(tmp_path, depth):
    put(tmp_path / "deep.json", "[" * depth + "]" * depth)
    put(tmp_path / "a.wav", b"x")
    assert [clip.id for clip in read_dataset(tmp_path).clips] == ["a"]


def test_the_same_list_in_another_format_and_a_selection_are_left_aside(tmp_path):
    rows = [[f"{number}.wav", f"caption {number}"] for number in range(4)]
    captions(tmp_path, "train.csv", rows)
    captions(tmp_path, "train_small.csv", rows[:2])
    put(tmp_path / "train.json", json.dumps([{"file_name": name, "caption": text} for name, text in rows[1:]]))
    captions(tmp_path, "train_more.csv", [["5.wav", "caption 5"], ["0.wav", "caption 0"]])
    for number in range(6):
        put(tmp_path / "audio" / f"{number}.wav", b"x")
    dataset = read_dataset(tmp_path)
    assert sorted(clip.id for clip in dataset.clips) == ["0", "1", "2", "3", "5"]
    assert {(note.kind, note.where) for note in dataset.notes} == {
        ("copied_list", "train_small.csv"),
        ("copied_list", "train.json"),
        ("unlisted_sounds", "audio/4.wav"),
    }
    assert [(fault.kind, fault.where) for fault in dataset.faults] == [("duplicate_row", "train_more.csv:3")]


def test_a_second_annotator_is_no_copy_of_the_first(tmp_path):
    for who in ("first", "second"):
        captions(tmp_path, f"{who}.csv", [[f"{number}.wav", f"{who} says {number}"] for number in range(3)])
    for number in range(3):
        put(tmp_path / "audio" / f"{number}.wav", b"x")
    dataset = read_dataset(tmp_path)
    assert {clip.id: set(clip.captions) for clip in dataset.clips} == {f"{i}": {f"first says {i}", f"second says {i}"} for i in range(3)}
    assert not dataset.notes


def test_audiocaps_v2_by_name_or_by_size(tmp_path):
    header = ["audiocap_id", "youtube_id", "start_time", "caption"]
    put(tmp_path / "audiocaps" / "dataset2.0" / "val.csv", table(header, [["1", "abcdefghijk", "0", "a dog"]]))
    put(tmp_path / "audiocaps" / "abcdefghijk.wav", b"x")
    dataset = read_dataset(tmp_path / "audiocaps")
    assert (dataset.version, dataset.expected["train"]) == ("v2", 91_256)


def test_youtube_ids_alone_do_not_make_audiocaps(tmp_path):
    put(tmp_path / "musiccaps.csv", table(["ytid", "start_s", "end_s", "caption"], [["abcdefghijk", "30", "40", "a guitar"]]))
    put(tmp_path / "abcdefghijk_30.wav", b"x")
    dataset = read_dataset(tmp_path)
    assert (dataset.name, dataset.expected, [clip.id for clip in dataset.clips]) == ("folder", {}, ["abcdefghijk"])


def test_a_header_too_long_for_a_table_is_none(tmp_path):
    put(tmp_path / "blob.csv", "x" * 200_000)
    put(tmp_path / "a.wav", b"x")
    assert read_dataset(tmp_path).layout == "sound files without captions"


def test_sounds_in_a_tar_serve_a_list_beside_it(tmp_path):
    captions(tmp_path, "train.csv", [["a.wav", "a dog"]])
    with tarfile.open(tmp_path / "audio.tar", "w") as tar:
        info = tarfile.TarInfo("clips/a.wav")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    [clip] = read_dataset(tmp_path).clips
    assert (clip.sound.path.name, clip.sound.member, clip.captions) == ("audio.tar", "clips/a.wav", ("a dog",))


def test_names_that_are_not_utf_8_give_ids_that_are(tmp_path):
    name = os.fsdecode(b"T\xfcr.wav")
    put(tmp_path / name, b"x")
    put(
        tmp_path / "train.json",
        json.dumps([{"file_name": "\ud800.wav", "caption": "half a letter"}, {"file_name": name, "caption": "a door"}]),
    )
    dataset = read_dataset(tmp_path)
    assert [(clip.id, clip.sound.path.name) for clip in dataset.clips] == [("T\\udcfcr", name)]
    assert [fault.kind for fault in dataset.faults] == ["missing"]


def test_lists_of_classes_are_no_lists_of_sounds(tmp_path):
    put(tmp_path / "ontology.json", json.dumps([{"id": "/m/0dgw9r", "name": "Human sounds", "description": "Sounds of people."}]))
    put(tmp_path / "a.wav", b"x")
    assert read_dataset(tmp_path).layout == "sound files without captions"


def test_ids_are_the_same_in_every_layout_of_a_published_set(tmp_path):
    header = ["file_name", *(f"caption_{number}" for number in range(1, 6))]
    put(tmp_path / "1" / "audiocaps" / "test.csv", table(header, [["Yabcdefghi-k.wav", *"abcde"]]))
    put(tmp_path / "2" / "audiocaps" / "test.csv", table(["youtube_id", "caption"], [["abcdefghi-k", "a"]]))
    put(tmp_path / "3" / "audiocaps" / "test" / "Yabcdefghi-k.txt", "a")
    item = {
        "wav": "AudioCaps/waveforms/test/Yabcdefghi-k.wav",
        "audio": "/home/x/Yabcdefghi-k.wav",
        "id": "Yabcdefghi-k.wav",
        "caption_1": "a",
    }
    put(tmp_path / "4" / "audiocaps" / "test.json", json.dumps({"data": [item]}))
    for number in "1234":
        put(tmp_path / number / "audiocaps" / "test" / "Yabcdefghi-k.wav", b"x")
        assert [(clip.id, clip.split) for clip in read_dataset(tmp_path / number).clips] == [("abcdefghi-k", "test")]


def test_loops_of_links_end_and_links_to_other_disks_are_followed(tmp_path):
    put(tmp_path / "disk" / "a.wav", b"x")
    captions(tmp_path / "set", "train.csv", [["a.wav", "a dog"]])
    os.symlink(tmp_path / "disk", tmp_path / "set" / "audio")
    os.symlink(tmp_path / "set", tmp_path / "set" / "loop")
    os.symlink("itself.csv", tmp_path / "set" / "itself.csv")
    os.symlink(tmp_path / "moved" / "b.wav", tmp_path / "set" / "b.wav")
    os.mkfifo(tmp_path / "set" / "pipe.json")
    dataset = read_dataset(tmp_path / "set")
    assert [clip.id for clip in dataset.clips] == ["a"]
    assert [(fault.kind, fault.where) for fault in dataset.faults] == [
        ("not_a_file", name) for name in ("b.wav", "itself.csv", "pipe.json")
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path):
    put(tmp_path / "a.wav", b"x")
    (tmp_path / "closed").mkdir(mode=0)
    assert [(fault.kind, fault.where) for fault in read_dataset(tmp_path).faults] == [("unreadable_folder", "closed")]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("train/a.wav", "train/a.wav"),
        ("/data/set/test/a.flac", "test/a.wav"),
        ("a.wav", "train/a.wav"),
        ("a.mp3", "train/a.wav"),
        ("../lists/../train/a.wav", "train/a.wav"),
        ("b:c.wav", "test/b_c.wav"),
        ("..\\..\\b.wav", "unsafe_path"),
        ("x/../../../b.wav", "unsafe_path"),
        ("/etc/b.wav", "unsafe_path"),
        ("b.wav", "missing"),
        ("..", "missing"),
        ("", "missing"),
        ("d.wav", "ambiguous_sound"),
    ],
)
def test_where_a_name_leads(tmp_path, name, found):
    paths = ["train/a.wav", "test/a.wav", "test/b_c.wav", "one/d.wav", "two/d.wav"]
    index = SoundIndex([(path, Sound(tmp_path / path)) for path in paths], loose=True)
    answer = index.find([name], "train", "lists")
    assert (answer.kind if isinstance(answer, Fault) else answer.path.relative_to(tmp_path).as_posix()) == found


def test_letters_alone_do_not_match_ids(tmp_path):
    index = SoundIndex([("a-b.wav", Sound(tmp_path))])
    assert index.find(["a_b"], "train").kind == "missing"
