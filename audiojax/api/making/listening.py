"""Some clips of several sets to listen to, each beside the others, with what the backbone hears in them."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from audiojax.api.making.sound_measures import Measured
from audiojax.data.soundworld.classes import names
from audiojax.metrics.tagging import likeliest
from audiojax.report.sections import Sound, Sounds

HEARD = 6  # clips, spread over the set


def side_by_side(
    sets: Mapping[str, Measured], ids: Sequence[str], prompts: Mapping[str, str], labels: Mapping[str, Float[np.ndarray, " classes"]]
) -> Sounds:
    """Players of the same clips in every set.

    Args:
      sets: title -> the set.
      ids: that all of them have.
      prompts: id -> what a clip should be, where that is known.
      labels: id -> 1 for every class of SoundWorld that should sound; {} where that is not known.

    Raises:
      AudioFileError: a sound can no longer be read.
    """
    chosen = [ids[i] for i in np.unique(np.linspace(0, len(ids) - 1, min(HEARD, len(ids))).round().astype(int))]
    heard = {title: zip(one.read(chosen), _verdicts(one, chosen, labels), strict=True) for title, one in sets.items()}
    players = [
        Sound(*sound, f"{own}: {title}", " · ".join(filter(None, (prompts.get(own), verdict))))
        for own, *rows in zip(chosen, *heard.values(), strict=True)
        for title, (sound, verdict) in zip(heard, rows, strict=True)
    ]
    return Sounds("Some of the sounds", players)


def _verdicts(measured: Measured, ids: Sequence[str], labels: Mapping[str, np.ndarray]) -> list[str]:
    """The likeliest tags of each clip, as many as classes should sound in it; "" where the tags or the truth are not SoundWorld's."""
    logits, classes = measured.rows(ids)[1], names()
    if not ids or not set(ids) <= labels.keys() or logits.shape[1] != len(classes):
        return [""] * len(ids)
    asked = np.stack([labels[own] for own in ids])
    rows = []
    for own, found in zip(asked > 0, likeliest(logits, asked), strict=True):
        tags = ", ".join(classes[i].replace("_", " ") for i in np.flatnonzero(found))
        rows.append(f"the tagger hears: {tags} ({(found & own).sum()} of {own.sum()} right)")
    return rows
