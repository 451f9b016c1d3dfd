"""The sounds that a table of captions speaks of, found in a folder and decoded one after the other."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float

from audiojax.api.describing.caption_models.base import Sounds
from audiojax.api.describing.caption_pairs import Pairs
from audiojax.audio.pool import decode_files
from audiojax.audio.reasons import AudioFileError, BadAudio
from audiojax.data.layouts.clips import Fault, Sound
from audiojax.data.layouts.files import SoundIndex
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.index.listing import list_sounds

NAMED = 3  # of the missing ones in a message


def folder_sounds(folder: str | os.PathLike, pairs: Pairs) -> Sounds:
    """The sounds of all clips, by the names of files in the tables; extensions need not agree.

    Raises:
      UsageError: no such folder, or clips without a sound in it, or with several. When they are read, AudioFileError: one cannot be used.
    """
    root = Path(folder).expanduser()
    paths, _ = list_sounds(root)
    index = SoundIndex((path.relative_to(root).as_posix(), Sound(path)) for path in paths)
    found = [index.find(names, "") for names in pairs.names]
    faults = [(name, fault) for name, fault in zip(pairs.ids, found, strict=True) if isinstance(fault, Fault)]
    if faults:
        first = ", ".join(f"{shown(name)}: {shown(fault.detail)}" for name, fault in faults[:NAMED])
        more = ", ..." if len(faults) > NAMED else ""
        raise UsageError(f"{shown(root)}: {len(faults)} of {len(found)} clips have no sound that is theirs ({first}{more})")

    def sounds() -> Iterator[tuple[Float[np.ndarray, " n"], int]]:
        for path, clip in decode_files(sound.path for sound in found):
            if isinstance(clip, BadAudio):
                raise AudioFileError(path, clip.reason, clip.detail)
            yield clip.samples, clip.sample_rate

    return sounds
