"""Opening AudioLDM: a pipeline's folder in the layout of diffusers, or the authors' `.ckpt`, as the networks of a `Maker`."""

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from audiojax.api.making.maker import Maker, Networks
from audiojax.api.opening import open_tower
from audiojax.api.outside import lasting_name
from audiojax.api.weights import load_pretrained
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.papers.re_audioldm.settings import NOISE_LEVELS
from audiojax.pretrained import hub
from audiojax.pretrained.kinds import expect, number
from audiojax.pretrained.parts import AVERAGED, AVERAGES, PIPELINE, PREFIXES, parts_in
from audiojax.pretrained.reading import open_weights
from audiojax.schedule import Schedule, make_schedule
from audiojax.text.tokenizer import Tokenizer
from audiojax.towers.clap import ClapTower
from audiojax.trainer.layout import make_layout

FOLDERS = (*PREFIXES, "tokenizer", "scheduler")
SCHEDULER = "scheduler_config.json"
ROBERTA = ("roberta-base", "FacebookAI/roberta-base")  # whose tokenizer the authors take


def is_maker(path: str | os.PathLike) -> bool:
    """Whether a path, or a hub name in the local cache, is a pipeline's folder or a file of several models."""
    try:
        place = hub.find_checkpoint(path)
    except UsageError:
        return False
    return (place / PIPELINE).is_file() or (place.suffix == ".ckpt" and bool(_parts_of(place)))


def open_maker(
    name: str | os.PathLike,
    *,
    heads: str = "trained",
    dtype: str = "float32",
    tokenizer: str | os.PathLike | None = None,
    ranker: str | os.PathLike | None = None,
    progress: bool = True,
) -> Maker:
    """AudioLDM, ready to make sounds on all devices.

    Args:
      name: a folder such as that of cvssp/audioldm-s-full-v2, its name in the hub's local cache, or the authors' `.ckpt`, of which the
        running averages are taken where it has them.
      heads: of the U-Net's attention: "trained", or "diffusers" as that library counts them.
      dtype: of the computation.
      tokenizer: folder or hub name of RoBERTa's, for a `.ckpt`, which has none; looked for in the hub's local cache otherwise.
      ranker: a CLAP that picks among candidates; a `.ckpt` has its own.
      progress: say on stderr what was loaded, and under which licence.

    Raises:
      UsageError: nothing there, a part is missing, or parts that do not go together.
      AudiojaxError: weights that cannot be read.
    """
    place = hub.find_checkpoint(name)
    if (place / PIPELINE).is_file():
        _require_folders(place)
        unet, schedule, words = "unet", _schedule_of(place / "scheduler" / SCHEDULER), place / "tokenizer"
    else:
        parts = _parts_of(place)
        if missing := sorted(PREFIXES.keys() - parts):
            raise UsageError(
                f"{shown(place)}: lacks {', '.join(missing)}; sounds are made with a folder such as that of cvssp/audioldm-s-full-v2, or"
                " AudioLDM's .ckpt"
            )
        unet, schedule = AVERAGED if AVERAGED in parts else "unet", make_schedule("scaled_linear", NOISE_LEVELS)
        words = tokenizer or _roberta(place)
    words = hub.find_checkpoint(tokenizer or words)  # the user's word comes first
    layout = make_layout("pmap")
    shared = {"dtype": dtype, "param_dtype": "float32", "progress": progress}
    text = replace(load_pretrained(place, part="text_encoder", **shared), tokenizer=Tokenizer.load(words))
    if text.tokenizer.vocab_size > text.config.text.vocab_size:
        raise UsageError(
            f"{shown(words)}: the tokenizer has {text.tokenizer.vocab_size} entries and the text encoder {text.config.text.vocab_size}:"
            " they do not belong together"
        )
    if own := text if isinstance(text, ClapTower) else None:
        text = own = replace(own, max_tokens=own.config.text.max_length)  # 512 in AudioLDM, and 77 in LAION's package
    found = {part: load_pretrained(place, part=part, sharding=layout.replicated, **shared) for part in ("vae", "vocoder")}
    found["unet"] = load_pretrained(place, part=unet, sharding=layout.replicated, heads=heads, **shared)
    return Maker(Networks(text=text, schedule=schedule, layout=layout, ranker=open_ranker(ranker) or own, **found), lasting_name(name))


def _parts_of(file: Path) -> set[str]:
    """The models in a file, "unet_ema" among them where it has averages; none of a folder."""
    if not file.is_file():
        return set()
    with open_weights(file) as weights:
        names = weights.shapes()
    return set(parts_in(names)) | ({AVERAGED} if any(name.startswith(AVERAGES + "diffusion") for name in names) else set())


def _require_folders(place: Path) -> None:
    if missing := [name for name in FOLDERS if not (place / name).is_dir()]:
        raise UsageError(f"{shown(place)}: lacks {', '.join(missing)}; sounds are made with {', '.join(FOLDERS)}")


def _roberta(place: Path) -> Path:
    for name in ROBERTA:
        try:
            return hub.find_checkpoint(name)
        except UsageError:
            continue
    raise UsageError(f"{shown(place)}: has no tokenizer; name a folder with that of roberta-base in tokenizer")


def _schedule_of(file: Path) -> Schedule:
    """The noise levels that scheduler_config.json describes; sampling along them is ours."""
    try:
        facts: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        name = facts["beta_schedule"]
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise UsageError(f"{shown(file)}: no schedule can be read") from error
    path = {"set_alpha_to_one": False, "steps_offset": 1, "timestep_spacing": "leading", "num_train_timesteps": NOISE_LEVELS}
    other = {"prediction_type": "epsilon", "clip_sample": False, "thresholding": False, "trained_betas": None}
    expect(facts, SCHEDULER, **path, **other, rescale_betas_zero_snr=False)
    if name not in ("linear", "scaled_linear"):
        raise UsageError(f"{SCHEDULER}: beta_schedule is {name!a:.80}; there are linear and scaled_linear")
    return make_schedule(name, NOISE_LEVELS, **{key: number(facts, key, where=SCHEDULER) for key in ("beta_start", "beta_end")})


def open_ranker(name: str | os.PathLike | None) -> ClapTower | None:
    """The CLAP that picks among candidates; None without a name. UsageError where it does not hear, or does not read words."""
    if name is None:
        return None
    tower = open_tower(name, progress=False)
    if not isinstance(tower, ClapTower) or tower.tokenizer is None:
        raise UsageError(f"{shown(name)}: is no CLAP with both halves and a tokenizer, which ranking needs")
    return tower
