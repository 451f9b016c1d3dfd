"""More captions for the clips of a data set, written by hand or by a language model: a JSON object {clip id: [captions]}."""

import json
import os
import unicodedata
from pathlib import Path

from audiojax.data.layouts.clips import Fault
from audiojax.data.layouts.files import without_extension
from audiojax.data.layouts.text import clean_text, decode_text
from audiojax.errors import UsageError
from audiojax.files import shown


def read_extra_captions(path: str | os.PathLike) -> tuple[dict[str, tuple[str, ...]], tuple[Fault, ...]]:
    """(clip id -> its further captions, faults). Captions are cleaned as a data set's own; ids are those of `read_dataset`.

    An id may carry the extension of its sound file, and one caption may stand without its list. Empty captions, values that are no text and
    ids that come twice are faults.

    Raises:
      UsageError: the file cannot be read, or is no JSON object.
    """
    path = Path(path).expanduser()
    try:
        pairs = json.loads(decode_text(path.read_bytes())[0], object_pairs_hook=_Pairs)
    except OSError as error:
        raise UsageError(f"{shown(path)}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{shown(path)}: is not JSON ({error or 'nested too deeply'})") from error
    if not isinstance(pairs, _Pairs):
        raise UsageError(f'{shown(path)}: must be an object like {{"clip id": ["a caption", "another"]}}')
    captions: dict[str, tuple[str, ...]] = {}
    faults: list[Fault] = []
    for key, value in pairs:
        where, clip_id = f"{shown(path)}: {key!r}", without_extension(unicodedata.normalize("NFC", key))
        texts = value if type(value) is list else [value]
        if clip_id in captions:
            faults.append(Fault("duplicate_id", where, "the id came before"))
        elif not all(isinstance(text, str) for text in texts):
            faults.append(Fault("bad_row", where, "not a list of texts"))
        else:
            cleaned = [clean_text(text) for text in texts]
            faults += [Fault("empty_caption", where, f"caption {number}") for number, text in enumerate(cleaned, 1) if not text]
            captions[clip_id] = tuple(text for text in cleaned if text)
    return captions, tuple(faults)


class _Pairs(list):
    """The members of a JSON object, those that come twice included."""
