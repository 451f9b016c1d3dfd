"""Towers in their public layouts, as safetensors: what `audiojax export --format safetensors` writes. Loading one again is the identity."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from audiojax.errors import UsageError
from audiojax.pretrained import rules, store
from audiojax.pretrained.kinds import Public
from audiojax.pretrained.load import KINDS
from audiojax.pretrained.parts import PIPELINE
from audiojax.schedule import Schedule
from audiojax.text.tokenizer import Tokenizer
from audiojax.towers.base import Tower

ORIGINAL = "original "  # begins the kinds of AudioLDM's .ckpt
PIPELINE_PARTS = {  # of AudioLDM: folder -> its kind here, and the library and the class that open it
    "text_encoder": ("clap text", "transformers", "ClapTextModelWithProjection"),
    "unet": ("unet", "diffusers", "UNet2DConditionModel"),
    "vae": ("vae", "diffusers", "AutoencoderKL"),
    "vocoder": ("hifigan", "transformers", "SpeechT5HifiGan"),
}


def publish_converted(folder: str | os.PathLike, out: str | os.PathLike) -> Path:
    """Writes a folder of `store.convert` in its public layout: the names, shapes and further files of its source; parts of AudioLDM's .ckpt
    as diffusers and transformers have them, for a file of one part alone would not be known by the authors' names.

    Raises:
      UsageError: `folder` is not one that `store.convert` wrote, or `out` holds something already.
      AudiojaxError: damaged, or too little disk.
    """
    target, folder = store.new_folder(out), Path(folder).expanduser().absolute()
    card = store.read_card(folder)
    tower = store.open_converted(folder, param_dtype=jnp.dtype(card.dtype))
    said = {"licence": card.licence or "", "source": card.source}
    if (kind := card.tower.removeprefix(ORIGINAL)) != card.tower:
        public = KINDS[kind].publish(tower)
        return _write(target, public.tower, kind, _file_of(public.facts), public.extra, lambda made: _fill(public, {}, made), said)
    return _write(
        target, tower, card.tower, _file_of(card.facts), card.extra, lambda partial: shutil.copytree(folder / "files", partial), said
    )


def publish_tower(
    tower: Tower,
    kind: str,
    out: str | os.PathLike,
    tokenizer: Tokenizer | None = None,
    max_tokens: int = 0,
    said: Mapping[str, Any] = MappingProxyType({}),
) -> Path:
    """Writes a tower that audiojax trained in the public layout of its kind, with a config for transformers or diffusers where it has one.

    Args:
      kind: key of `KINDS`, one that can be published.
      tokenizer: written beside the weights, with the cleaning of captions inside it.
      max_tokens: of a text in training, said in the tokenizer's config.
      said: keys of config.json that the weights do not tell.

    Raises:
      UsageError: `out` holds something already.
      AudiojaxError: too little disk.
    """
    target, public = store.new_folder(out), KINDS[kind].publish(tower)

    def fill(folder: Path) -> None:
        _fill(public, said, folder)
        if tokenizer is not None:
            tokenizer.save_cleaning(folder, max_tokens)

    return _write(target, public.tower, kind, _file_of(public.facts), public.extra, fill, {})


def publish_pipeline(
    towers: Mapping[str, Tower], noise: tuple[str, Schedule], out: str | os.PathLike, max_tokens: int, frames: int
) -> Path:
    """Writes AudioLDM as diffusers' AudioLDMPipeline opens it: a folder of its models, a tokenizer, and model_index.json.

    Args:
      towers: "text_encoder", with its tokenizer, "unet", "vae" and "vocoder".
      noise: the schedule and its name, "linear" or "scaled_linear".
      max_tokens: of a text in training.
      frames: of the latents of a sound where no length is asked for.

    Raises:
      UsageError: `out` holds something already or cannot be written, or a model that AudioLDM's layout has no place for.
      AudiojaxError: too little disk.
    """
    target = store.new_folder(out)
    with store.whole_folder(target) as partial:
        for part, (kind, _, _) in PIPELINE_PARTS.items():
            publish_tower(towers[part], kind, partial / part, said={"sample_size": frames} if part == "unet" else {})
        towers["text_encoder"].tokenizer.save_cleaning(partial / "tokenizer", max_tokens)
        classes = {part: names for part, (_, *names) in PIPELINE_PARTS.items()}
        classes |= {"tokenizer": ["transformers", "PreTrainedTokenizerFast"], "scheduler": ["diffusers", "DDIMScheduler"]}
        files = {PIPELINE: {"_class_name": "AudioLDMPipeline", **classes}, "scheduler/scheduler_config.json": scheduler_facts(*noise)}
        for name, facts in files.items():
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return target


def scheduler_facts(name: str, schedule: Schedule) -> dict[str, Any]:
    """scheduler_config.json of noise levels. UsageError where diffusers has no such schedule."""
    if name not in ("linear", "scaled_linear"):
        raise UsageError(f"config key 'noise.schedule' is '{name}', and AudioLDM's layout has linear and scaled_linear")
    kept = np.asarray(schedule.alpha_bar, np.float64)
    first, last = round(1 - kept[0], 7), round(1 - kept[-1] / kept[-2], 7)
    levels = {"beta_schedule": name, "beta_start": first, "beta_end": last, "num_train_timesteps": len(kept)}
    path = {"clip_sample": False, "prediction_type": "epsilon", "set_alpha_to_one": False, "steps_offset": 1}
    return {"_class_name": "DDIMScheduler", **levels, **path}


def _fill(public: Public, said: Mapping[str, Any], folder: Path) -> None:
    """Makes a folder with all but the weights."""
    folder.mkdir()
    for name, facts in {**({"config.json": {**public.facts, **said}} if public.facts else {}), **public.files}.items():
        (folder / name).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _file_of(facts: Mapping[str, Any]) -> str:
    """The file in which the library whose config.json this is looks for weights: diffusers or transformers."""
    return "diffusion_pytorch_model.safetensors" if "_class_name" in facts else "model.safetensors"


def _write(
    target: Path, tower: Tower, kind: str, name: str, extra: Mapping[str, Any], fill: Callable[[Path], Any], said: Mapping[str, str]
) -> Path:
    """Makes the folder with `fill` and puts the weights into it, whole or not at all; `said` are metadata that are no JSON."""
    state = rules.export(jax.tree.map(np.asarray, tower.params), KINDS[kind].family(tower.config))
    store.check_disk(target, sum(array.nbytes for array in state.values()))
    metadata = {key: json.dumps(value) for key, value in extra.items()} | {"format": "pt", **said}
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        fill(partial)
        save_file(state, partial / name, metadata)
        os.replace(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return target
