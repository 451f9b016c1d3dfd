"""What is known of the published sets: their names, the names of their splits, and how many clips each split has."""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath

NAMES = ("audiocaps", "clotho", "wavcaps", "folder")
WAVCAPS_LISTS = {"as_final": "audioset_sl", "bbc_final": "bbc_sound_effects", "fsd_final": "freesound", "sb_final": "soundbible"}

# Clips. AudioCaps: csv files of github cdjkim/audiocaps (val and test have five captions a clip, train one; v2's train as its README has
# it); Clotho: csv files of zenodo 4783391; WavCaps: its json files, as counted in github XinhaoMei/WavCaps issue 13.
EXPECTED = {
    ("audiocaps", "v1"): {"train": 49_838, "val": 495, "test": 975},
    ("audiocaps", "v2"): {"train": 91_256, "val": 495, "test": 975},
    ("clotho", "v2.1"): {"train": 3_839, "val": 1_045, "test": 1_045},
    ("wavcaps", ""): {"audioset_sl": 108_317, "bbc_sound_effects": 31_201, "freesound": 262_300, "soundbible": 1_232},
}

SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test", "testing": "test"}
SPLITS |= {"dev": "dev", "development": "dev", "eval": "eval", "evaluation": "eval"}  # which mean different things in different sets
WORDS = re.compile(r"[a-z]+")


def split_word(path: PurePath | str) -> str:
    """The split that a file's name or else its nearest folder speaks of: "train", "val", "test", "dev", "eval"; "" where none does.

    The last word wins, so "development-testing" is "test".
    """
    for part in reversed(PurePath(path).parts):
        words = [word for word in WORDS.findall(part.lower()) if word in SPLITS]
        if words:
            return SPLITS[words[-1]]
    return ""


def as_split(text: str) -> str:
    """A split as a table's column writes it; other words than the usual ones stay, as a name."""
    return split_word(text) or "_".join(re.findall(r"[a-z0-9]+", text.lower()))


def settle_splits(found: Iterable[str]) -> dict[str, str]:
    """Split word -> its meaning beside the others that were found.

    "dev" is the training part where there is no "train" (Clotho), else for validation; "eval" is the test part where there is no "test".
    Clips of a list that names no split are "train".
    """
    names = set(found)
    meaning = {name: name for name in names}
    meaning["dev"] = "val" if "train" in names else "train"
    meaning["eval"] = "val" if "test" in names else "test"
    meaning[""] = "train"
    return meaning


def set_word(path: PurePath | str) -> str:
    """The published set that a file's name or a folder speaks of, the nearest first; "" where none does."""
    for part in reversed(PurePath(path).parts):
        plain = re.sub(r"[^a-z]", "", part.lower())
        for name in ("audiocaps", "clotho", "wavcaps"):
            if name in plain:
                return name
        if part.startswith(tuple(WAVCAPS_LISTS)):
            return "wavcaps"
    return ""


def wavcaps_part(path: PurePath | str) -> str:
    """The part of WavCaps that a list's name or a folder of sounds speaks of; "" where none does."""
    for part in reversed(PurePath(path).parts):
        plain = re.sub(r"[^a-z]", "", part.lower())
        for stem, name in WAVCAPS_LISTS.items():
            if part.startswith(stem) or name.replace("_", "") in plain:
                return name
    return ""


def split_of(path: PurePath | str, set_name: str) -> str:
    """The split of a list or archive by its path: a part of WavCaps, else a word of `split_word`."""
    return (wavcaps_part(path) if set_name == "wavcaps" else "") or split_word(path)


def version_of(name: str, lists: Iterable[str], clips: Mapping[str, int]) -> str:
    """The version of a published set, from the names of its lists and from its size: AudioCaps v2 nearly doubles v1's training part."""
    if name == "clotho":
        return "v2.1"
    if name != "audiocaps":
        return ""
    named = any(re.search(r"v2|2[._]0", text.lower()) for text in lists)
    return "v2" if named or clips.get("train", 0) > EXPECTED["audiocaps", "v1"]["train"] else "v1"
