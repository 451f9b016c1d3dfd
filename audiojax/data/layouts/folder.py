"""A plain folder: every sound file is a clip, with the captions of the .txt or .json that has its name, if there are any."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from audiojax.data.layouts.clips import Fault
from audiojax.data.layouts.files import Files, without_extension
from audiojax.data.layouts.published import set_word, split_of
from audiojax.data.layouts.records import Listing, Row, clip_id_of
from audiojax.data.layouts.text import decode_text
from audiojax.data.layouts.webdataset import captions_in

NOT_CAPTIONS = ("readme", "license", "licence", "copying", "citation", "attribution", "metadata", "info", "requirements")


def read_folder(files: Files, set_name: str) -> Iterator[Listing]:
    """The listing of the folder itself, by its sound files; none where there are no sounds.

    Args:
      set_name: of the folder, where its own folders do not say whose they are.
    """
    if not files.of("sound"):
        return
    captions: dict[str, tuple[str, ...]] = {}
    faults: list[Fault] = []
    notes: list[Fault] = []
    stems = {without_extension(path) for path in files.of("sound")}
    for path in (*files.of("text"), *files.of("json")):
        stem = _sound_of(path, stems)
        if stem is None:
            continue
        try:
            text, remark = decode_text(files.read(path))
            is_text = path.lower().endswith(".txt")
            found = captions_in(text if is_text else None, None if is_text else text)
        except (OSError, ValueError) as error:
            faults.append(Fault("bad_list", path, str(error)))
            continue
        if found is not None:
            captions.setdefault(stem, found)
        if remark:
            notes.append(Fault("encoding", path, remark))
    if captions:
        faults += _orphans(files, stems)
    layout = "sound files with text files" if captions else "sound files without captions"
    named = {set_word(PurePosixPath(path).parent) for path in files.of("sound")}
    set_name = set_name or (named.pop() if len(named) == 1 else "")
    rows = []
    for path in files.of("sound"):
        stem = without_extension(path)
        split = split_of(PurePosixPath(path).parent, set_name)
        clip_id = clip_id_of(path, set_name, split)
        rows.append(Row(path, split, clip_id, captions.get(stem), sound=files.sound(path), alone=True))
    yield Listing("", layout, set_name, tuple(rows), tuple(faults), tuple(notes))


def _sound_of(path: str, stems: set[str]) -> str | None:
    """The sound that a text file belongs to, without extension: "a.txt" and "a.wav.txt" are a.wav's. None where there is none."""
    stem = str(PurePosixPath(path).with_suffix(""))
    return next((name for name in (stem, without_extension(stem)) if name in stems), None)


def _orphans(files: Files, stems: set[str]) -> list[Fault]:
    """Text files beside which no sound lies."""
    alone = [path for path in files.of("text") if _sound_of(path, stems) is None]
    alone = [path for path in alone if not PurePosixPath(path).name.lower().startswith(NOT_CAPTIONS)]
    return [Fault("missing", path, "captions without a sound of that name") for path in alone]
