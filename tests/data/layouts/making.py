"""Small data sets in every layout that `read_dataset` knows, each with faults planted in it, and the list of what must be found."""

import io
import json
import os
import tarfile
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.data.layouts.planting import NUMBERED, SILENCE, TRUNCATED, Planted, five, put, table, tone


def clotho(root: Path) -> Planted:
    """Clotho's three lists of five captions, and its three folders."""
    umlaut = unicodedata.normalize("NFC", "Türglocke.wav")
    rows = [
        ["rain: roof.wav", *five("rain")],
        [umlaut, *five("a bell")],
        ["gone.wav", *five("nothing")],
        ["half.wav", "one", " \t", "three", "four", "\u200b"],
        ["mute.wav", "", "", "", "", "..."],
        ["short row.wav", "one"],
        [umlaut, *five("again")],
        ["../../secret.wav", *five("secret")],
        ["cut.wav", *five("cut")],
        ["twice.wav", *five("twice")],
    ]
    header = ["file_name", *NUMBERED]
    put(root / "clotho_captions_development.csv", table(header, rows))
    put(root.parent / "secret.wav", tone(999))
    old = table(header, [["café.wav", *five("a café")]]).encode("cp1252")
    put(root / "clotho_captions_validation.csv", old)
    put(root / "clotho_captions_evaluation.csv", table(header, [["twice.wav", *five("twice more")]]))
    put(root / "clotho_metadata_development.csv", table(["file_name", "keywords", "sound_id"], [["rain: roof.wav", "rain", "1"]]))
    names = ["rain_ roof.wav", unicodedata.normalize("NFD", umlaut), "half.wav", "mute.wav", "cut.wav", "twice.wav"]
    for number, name in enumerate(names):
        put(root / "development" / name, TRUNCATED if name == "cut.wav" else tone(200 + number))
    put(root / "validation" / "café.wav", tone(300))
    put(root / "evaluation" / "twice.wav", tone(301))
    lists = "clotho_captions_development.csv"
    return Planted(
        "clotho v2.1",
        "CSV, 5 captions a row",
        {
            "train": {
                "rain: roof": five("rain"),
                umlaut[:-4]: five("a bell"),
                "half": ["one", "three", "four"],
                "twice": five("twice"),
            },
            "val": {"café": five("a café")},
            "test": {"twice": five("twice more")},
        },
        [
            ("missing", f"{lists}:4"),
            ("empty_caption", f"{lists}:5"),
            ("empty_caption", f"{lists}:5"),
            *[("empty_caption", f"{lists}:6")] * 5,
            ("bad_row", f"{lists}:7"),
            ("duplicate_id", f"{lists}:8"),
            ("unsafe_path", f"{lists}:9"),
            ("truncated", "development/cut.wav"),
        ],
        [("overlap_id", "twice"), ("encoding", "clotho_captions_validation.csv")],
    )


def audiocaps(root: Path) -> Planted:
    """AudioCaps' own lists, one caption a row, and files by YouTube id in some of the usual ways."""
    header = ["audiocap_id", "youtube_id", "start_time", "caption"]
    train = [
        ["1", "aaaaaaaaaaa", "30", "A dog barks, twice"],
        ["2", "bbbbbbbbbb-", "0", "Rain\nfalls"],
        ["3", "bbbbbbbbbb_", "0", "Not here, but one letter away"],
        ["1", "ccccccccccc", "0", "The number of another row"],
        ["5", "ddddddddddd", "10", "Named by number"],
    ]
    val = [[str(10 + i), "eeeeeeeeeee", "7", text] for i, text in enumerate(["A bell", "A bell", "", "A gong", "Metal"])]
    test = [["20", "fffffffffff", "0", "Silence"], ["21", "ggggggggggg", "0", "Noise"]]
    for split, rows in {"train": train, "val": val, "test": test}.items():
        put(root / "dataset" / f"{split}.csv", table(header, rows))
    put(root / "train" / "aaaaaaaaaaa.wav", tone(200))
    put(root / "train" / "Ybbbbbbbbbb-.flac", tone(201, format="FLAC"))
    put(root / "train" / "5.wav", tone(202))
    put(root / "train" / "zzzzzzzzzzz.wav", tone(203))
    put(root / "val" / "eeeeeeeeeee_7.wav", tone(204))
    put(root / "test" / "fffffffffff_0_10.wav", SILENCE)
    put(root / "test" / "Yggggggggggg.wav", b"not a sound")
    return Planted(
        "audiocaps v1",
        "CSV, one caption a row",
        {
            "train": {"aaaaaaaaaaa": ["A dog barks, twice"], "bbbbbbbbbb-": ["Rain falls"], "ddddddddddd": ["Named by number"]},
            "val": {"eeeeeeeeeee": ["A bell", "A bell", "A gong", "Metal"]},
            "test": {"fffffffffff": ["Silence"]},
        },
        [
            ("missing", "dataset/train.csv:5"),
            ("duplicate_id", "dataset/train.csv:6"),
            ("empty_caption", "dataset/val.csv:4"),
            ("undecodable", "test/Yggggggggggg.wav"),
        ],
        [("silent", "test/fffffffffff_0_10.wav"), ("duplicate_caption", "val"), ("unlisted_sounds", "train/zzzzzzzzzzz.wav")],
    )


def caption_rows(root: Path) -> Planted:
    """One list for all splits, a row per caption, as a spreadsheet saves it: semicolons, UTF-16."""
    rows = [
        ["audio/a.wav", "A dog barks", "training"],
        ["audio/a.wav", "A dog is barking", "training"],
        ["audio/a.wav", "A dog barks", "training"],
        ["C:\\sounds\\b.wav", "A door", "valid"],
        ["/etc/passwd.wav", "Not ours", "valid"],
        ["twin.wav", "One of two", "test"],
        ["audio/none.wav", "Nothing", "test"],
        ["c.mp3", "Another extension", "Testing"],
    ]
    put(root / "captions.csv", table(["Audio Path", "Caption", "Split"], rows, delimiter=";").encode("utf-16"))
    put(root / "audio" / "a.wav", tone(200))
    put(root / "audio" / "b.wav", tone(201))
    put(root / "audio" / "c.wav", tone(201))
    put(root / "one" / "twin.wav", tone(203))
    put(root / "two" / "twin.wav", tone(204))
    return Planted(
        "folder",
        "CSV, one caption a row",
        {
            "train": {"audio/a": ["A dog barks", "A dog is barking"]},
            "val": {"sounds/b": ["A door"]},
            "test": {"c": ["Another extension"]},
        },
        [
            ("duplicate_row", "captions.csv:4"),
            ("unsafe_path", "captions.csv:6"),
            ("ambiguous_sound", "captions.csv:7"),
            ("missing", "captions.csv:8"),
        ],
        [("overlap_sound", "audio/c.wav"), ("unlisted_sounds", "one/twin.wav")],
    )


def wavcaps(root: Path) -> Planted:
    """Two of WavCaps' JSON files; its parts number their sounds alike."""
    free = [
        {"id": "100", "file_name": "Door Slam.wav", "caption": "A door slams.", "description": "my door", "duration": 0.6},
        {"id": "101", "file_name": "Gone.wav", "caption": "Only the other part has this number.", "duration": 1.0},
        {"id": "100", "file_name": "Door Slam.wav", "caption": "A door slams.", "duration": 0.6},
        {"id": "102", "caption": None, "duration": 1.0},
        {"id": "103", "caption": "A click.", "duration": 0.1},
        "not an object",
        {"caption": "Whose?"},
    ]
    put(root / "json_files" / "FreeSound" / "fsd_final.json", json.dumps({"num_captions": 7, "data": free}))
    put(root / "json_files" / "FreeSound" / "fsd_final_2s.json", json.dumps({"data": free[:1]}))
    put(
        root / "json_files" / "SoundBible" / "sb_final.json",
        json.dumps([{"id": 100, "caption": "Bells."}, {"id": 101, "caption": "A gong."}]),
    )
    put(root / "json_files" / "blacklist" / "blacklist.json", json.dumps({"FreeSound": ["100"]}))
    put(root / "FreeSound_flac" / "100.flac", tone(200, format="FLAC"))
    put(root / "FreeSound_flac" / "102.flac", tone(201, format="FLAC"))
    put(root / "FreeSound_flac" / "103.flac", tone(202, seconds=0.1, format="FLAC"))
    put(root / "SoundBible_flac" / "100.flac", tone(203, format="FLAC"))
    put(root / "SoundBible_flac" / "101.flac", tone(204, format="FLAC")[:200])
    return Planted(
        "wavcaps",
        "JSON list",
        {
            "freesound": {"freesound/100": ["A door slams."], "freesound/103": ["A click."]},
            "soundbible": {"soundbible/100": ["Bells."]},
        },
        [
            ("missing", "json_files/FreeSound/fsd_final.json [1]"),
            ("duplicate_row", "json_files/FreeSound/fsd_final.json [2]"),
            ("empty_caption", "json_files/FreeSound/fsd_final.json [3]"),
            ("bad_row", "json_files/FreeSound/fsd_final.json [5]"),
            ("bad_row", "json_files/FreeSound/fsd_final.json [6]"),
            ("truncated", "SoundBible_flac/101.flac"),
        ],
        [("too_short", "FreeSound_flac/103.flac"), ("copied_list", "json_files/FreeSound/fsd_final_2s.json")],
    )


def manifest(root: Path) -> Planted:
    """A JSONL manifest per split, with stretches of longer files."""
    lines = [
        json.dumps({"audio_filepath": "../wavs/long.wav", "text": "the first half", "offset": 0.0, "duration": 0.6}),
        json.dumps({"audio_filepath": "../wavs/long.wav", "text": "the second half", "offset": 0.6, "duration": 0.6}),
        '{"audio_filepath": "../wavs/b.wav", "text": "cut',
        json.dumps({"audio_filepath": "../wavs/b.wav", "text": {"no": "text"}}),
        "[]",
        json.dumps({"audio_filepath": "../wavs/b.wav", "text": ["rain", "falling rain"]}),
        json.dumps({"audio_filepath": "../wavs/b.wav", "text": ["rain again"]}),
        json.dumps({"audio_filepath": "../../out.wav", "text": "not ours"}),
        json.dumps({"audio_filepath": "../wavs/long.wav", "text": "past the end", "offset": 2.0, "duration": 0.6}),
    ]
    put(root / "manifests" / "train_manifest.jsonl", "\n".join(lines) + "\n\n")
    put(root / "manifests" / "dev_manifest.jsonl", "\ufeff" + json.dumps({"audio_filepath": "../wavs/c.wav", "text": "caf\u0065\u0301"}))
    put(root.parent / "out.wav", tone(999))
    for number, name in enumerate(("long", "b", "c")):
        put(root / "wavs" / f"{name}.wav", tone(200 + number, seconds=1.2))
    listed = "manifests/train_manifest.jsonl"
    return Planted(
        "folder",
        "JSONL manifest",
        {
            "train": {
                "wavs/long@0": ["the first half"],
                "wavs/long@0.6": ["the second half"],
                "wavs/b": ["rain", "falling rain"],
                "wavs/long@2": ["past the end"],
            },
            "val": {"wavs/c": ["café"]},
        },
        [
            ("bad_row", f"{listed}:3"),
            ("bad_row", f"{listed}:4"),
            ("bad_row", f"{listed}:5"),
            ("duplicate_id", f"{listed}:7"),
            ("unsafe_path", f"{listed}:8"),
        ],
        [("too_short", "wavs/long.wav")],
    )


def webdataset(root: Path) -> Planted:
    """Tars of sounds with .json or .txt beside them, one of them cut short, one compressed."""
    train = {
        "0001.wav": tone(200),
        "0001.json": json.dumps({"text": ["a dog", "a dog barks"], "tag": ["dog"]}),
        "0002.flac": tone(201, format="FLAC"),
        "0002.txt": "la mer à Nîmes\n".encode("latin-1"),
        "0003.wav": tone(202),
        "0004.json": json.dumps({"text": "no sound"}),
        "0005.wav": tone(203),
        "0005.json": "{",
        "../evil.wav": tone(204),
        "/etc/evil.wav": tone(205),
        "0006.wav": "a link",
        "0007.wav": tone(206),
        "0007.txt": "",
        "0008.wav": TRUNCATED,
        "0008.txt": "cut",
        "0009.wav": tone(200),
        "0009.flac": tone(207, format="FLAC"),
        "0009.txt": "the same sound as the first",
    }
    root.mkdir(parents=True)
    _tar(root / "train-000000.tar", train)
    _tar(root / "test-000000.tar", {"0001.wav": tone(208), "0001.txt": "a bell", "0002.wav": tone(209), "0002.txt": "lost"}, cut=700)
    put(root / "train-000001.tar.gz", b"\x1f\x8b")
    shard = "train-000000.tar"
    return Planted(
        "folder",
        "webdataset tars",
        {
            "train": {"0001": ["a dog", "a dog barks"], "0002": ["la mer à Nîmes"], "0009": ["the same sound as the first"]},
            "test": {"0001": ["a bell"]},
        },
        [
            ("no_caption", f"{shard}:0003"),
            ("missing", f"{shard}:0004"),
            ("bad_row", f"{shard}:0005.json"),
            ("unsafe_path", f"{shard}:../evil.wav"),
            ("unsafe_path", f"{shard}:/etc/evil.wav"),
            ("not_a_file", f"{shard}:0006.wav"),
            ("empty_caption", f"{shard}:0007"),
            ("truncated", f"{shard}:0008.wav"),
            ("duplicate_id", f"{shard}:0009.flac"),
            ("bad_archive", "test-000000.tar"),
            ("no_caption", "test-000000.tar:0002"),
        ],
        [
            ("overlap_id", "0001"),
            ("duplicate_sound", f"{shard}:0009.wav"),
            ("encoding", f"{shard}:0002.txt"),
            ("packed", "train-000001.tar.gz"),
        ],
    )


def _tar(path: Path, members: Mapping[str, bytes | str], *, cut: int = 0) -> None:
    """Writes a tar, with a link where the text says so, and takes bytes off the end of its last member and what follows."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            if data == "a link":
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                tar.addfile(info)
                continue
            data = data if isinstance(data, bytes) else data.encode()
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        end = tar.offset
    if cut:
        os.truncate(path, end - cut)


def parquet(root: Path) -> Planted:
    """An export of the Hugging Face hub: one caption a row, sounds inside, several row groups, one file damaged."""
    sounds = [tone(200), tone(200), tone(201), b"no sound", None, tone(202)]
    captions = ["A dog", "A dog barks", "", "Broken", "Nothing inside", "Rain"]
    ids = ["aaaaaaaaaaa", "aaaaaaaaaaa", "bbbbbbbbbbb", "ccccccccccc", "ddddddddddd", "eeeeeeeeeee"]
    _parquet(root / "data" / "train-00000-of-00001.parquet", ids, captions, sounds)
    _parquet(root / "data" / "test-00000-of-00001.parquet", ["fffffffffff"], ["The rain of the other split"], [tone(202, format="FLAC")])
    put(root / "data" / "validation-00000-of-00001.parquet", b"PAR1 and nothing else")
    put(root / "README.md", "# An export")
    shard = "data/train-00000-of-00001.parquet"
    return Planted(
        "audiocaps v1",
        "parquet export",
        {
            "train": {"aaaaaaaaaaa": ["A dog", "A dog barks"], "eeeeeeeeeee": ["Rain"]},
            "test": {"fffffffffff": ["The rain of the other split"]},
        },
        [
            ("empty_caption", f"{shard} row 2"),
            ("undecodable", f"{shard}:3/audio.bytes"),
            ("empty", f"{shard}:4/audio.bytes"),
            ("bad_list", "data/validation-00000-of-00001.parquet"),
        ],
        [("overlap_sound", "data/test-00000-of-00001.parquet:0/audio.bytes")],
    )


def _parquet(path: Path, ids: Sequence[str], captions: Sequence[str], sounds: Sequence[bytes | None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    audio = [{"bytes": data, "path": f"{name}.wav"} for name, data in zip(ids, sounds, strict=True)]
    pq.write_table(pa.table({"youtube_id": list(ids), "caption": list(captions), "audio": audio}), path, row_group_size=2)


def text_files(root: Path) -> Planted:
    """Sounds with a text file of the same name beside them, in a folder per split."""
    put(root / "train" / "a.wav", tone(200))
    put(root / "train" / "a.txt", "a dog\na dog barks\n")
    put(root / "train" / "b.flac", tone(201, format="FLAC"))
    put(root / "train" / "b.json", json.dumps({"caption": "rain"}))
    put(root / "train" / "c.wav", tone(202))
    put(root / "train" / "d.wav", tone(203))
    put(root / "train" / "d.txt", "")
    put(root / "train" / "e.txt", "no sound")
    put(root / "train" / "a.ogg", tone(204, format="OGG"))
    put(root / "train" / "b.wav.json", "{")
    put(root / "eval" / "f.wav", b"")
    put(root / "eval" / "f.txt", "an empty file")
    put(root / "eval" / "g.wav", tone(201))
    put(root / "eval" / "g.wav.txt", "rain again")
    put(root / "README.txt", "about these sounds")
    put(root / ".hidden" / "h.wav", tone(205))
    return Planted(
        "folder",
        "sound files with text files",
        {"train": {"train/a": ["a dog", "a dog barks"], "train/b": ["rain"]}, "test": {"eval/g": ["rain again"]}},
        [
            ("bad_list", "train/b.wav.json"),
            ("missing", "train/e.txt"),
            ("duplicate_id", "train/a.wav"),
            ("no_caption", "train/c.wav"),
            ("empty_caption", "train/d.wav"),
            ("empty", "eval/f.wav"),
        ],
        [("overlap_sound", "eval/g.wav")],
    )


def sounds_alone(root: Path) -> Planted:
    """Sounds and nothing else."""
    put(root / "a.wav", tone(200))
    put(root / "deeper" / "b.flac", tone(200, format="FLAC"))
    put(root / "deeper" / "c.wav", SILENCE)
    put(root / "deeper" / "d.wav", tone(201, seconds=0.2))
    put(root / "e.wav", TRUNCATED)
    return Planted(
        "folder",
        "sound files without captions",
        {"train": {"a": [], "deeper/b": [], "deeper/c": [], "deeper/d": []}},
        [("truncated", "e.wav")],
        [("duplicate_sound", "deeper/b.flac"), ("silent", "deeper/c.wav"), ("too_short", "deeper/d.wav")],
    )


LAYOUTS: tuple[Callable[[Path], Planted], ...] = (
    clotho,
    audiocaps,
    caption_rows,
    wavcaps,
    manifest,
    webdataset,
    parquet,
    text_files,
    sounds_alone,
)
