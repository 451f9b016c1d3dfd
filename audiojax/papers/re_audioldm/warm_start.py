"""Towers of other shapes laid into this paper's trees: the halves of CLAP that a config has, and an AudioLDM as the start of a U-Net."""

import re
from collections.abc import Mapping
from typing import Any

from audiojax.partition import flat_paths, from_paths
from audiojax.typing import Params

ATTENTION = re.compile(r"^(down_\d+|up_\d+|middle)/attentions_(\d+)/")


def fit_clap(tower: Params, wanted: Params) -> Params:
    """The halves of a CLAP that are wanted, "text" and "audio"; a text half by itself, as AudioLDM's folders hold it, is "text"."""
    if "text" not in tower and "text" in wanted and "encoder" in tower:
        tower = {"text": tower}
    return {name: tower[name] for name in wanted if name in tower}


def fit_unet(tower: Params, wanted: Params) -> Params:
    """The parameters of a U-Net with fewer transformers at each place, such as AudioLDM's, at the paths of one with more.

    Of the transformers at a place the first attends to the image itself in all of these networks, and is the one that is taken; the others
    of the wanted network start fresh. A U-Net with as many, such as AudioLDM 2's, stays as it is.
    """
    theirs, ours = _transformers(tower), _transformers(wanted)
    shared = {level for level in theirs if level in ours and ours[level] % theirs[level] == 0}
    found = {}
    for path, leaf in flat_paths(tower).items():
        if (match := ATTENTION.match(path)) and match[1] in shared:
            number = int(match[2]) * (ours[match[1]] // theirs[match[1]])
            path = f"{match[1]}/attentions_{number}/{path[match.end() :]}"
        found[path] = leaf
    return from_paths(found)


def _transformers(tree: Mapping[str, Any]) -> dict[str, int]:
    """How many transformers each level has."""
    return {level: count for level, below in tree.items() if (count := sum(name.startswith("attentions_") for name in below))}
