"""A finished run of latent diffusion as a `Maker`: it retrieves for each prompt from the run's datastore and makes the sound.

The datastore is that of the config: its features and its clips' ids are read from the cache, or computed with the run's own towers.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from audiojax.api.data import make_second_tokenizer, make_transform
from audiojax.api.making.datastore import open_datastore, pairs_transform
from audiojax.api.making.maker import Maker, Networks
from audiojax.api.making.maker_parts import open_ranker
from audiojax.api.making.retriever import Retriever
from audiojax.api.opening import final_folder, model_digest
from audiojax.api.start import Start, is_run
from audiojax.api.weights import load_pretrained
from audiojax.config import config_to_json, to_dict
from audiojax.data.transforms import StatesTransform
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.index.store import MANIFEST
from audiojax.models.vae import AutoencoderKl
from audiojax.papers import PAPERS
from audiojax.papers.re_audioldm.diffusion_settings import DiffusionSettings, make_diffusion_settings
from audiojax.papers.re_audioldm.networks import vocoder_of
from audiojax.papers.re_audioldm.retrieval import RetrievalOptions
from audiojax.papers.re_audioldm.vocoder import generator_params
from audiojax.text.tokenizer import Tokenizer
from audiojax.towers.clap import ClapTextTower
from audiojax.towers.latent import GriffinLimTower, HifiganTower, UnetTower, VaeTower
from audiojax.trainer.export import Exported, load_export
from audiojax.trainer.layout import Layout, make_layout


def open_run_maker(
    model: Exported,
    source: str = "",
    *,
    retrieval: Mapping[str, Any] | None = None,
    vocoder: str | os.PathLike | None = None,
    ranker: str | os.PathLike | None = None,
    data_dir: str | os.PathLike | None = None,
    progress: bool = True,
) -> Maker:
    """The maker of a finished run of the phase "diffusion".

    Args:
      source: where it comes from.
      retrieval: keys of the config's section `retrieval` that differ from training: datastore, mode, count.
      vocoder: in place of the one that the config names.
      ranker: a CLAP that picks among candidates.
      data_dir: where its data lie, if they are no longer where the config says.
      progress: show bars on stderr.

    Raises:
      UsageError: its datastore is not there, its vocoder does not go with it, or the run retrieves nothing and is told what to retrieve.
    """
    config, tokenizer = to_dict(model.config), Tokenizer.load(model.tokenizer)
    config["retrieval"] = _retrieval(config, retrieval or {}, source)
    config["generate"]["vocoder"] = os.fspath(vocoder or config["generate"]["vocoder"])
    config["data"]["dir"] = _data_folder(config, data_dir, source)
    settings = make_diffusion_settings(config, tokenizer.vocab_size)
    layout, digest = make_layout("pmap"), model_digest(config_to_json(model.config), model.params, model.model_state)
    origin = {"report": None, "source": model.tokenizer.parent, "digest": digest}
    placed = jax.device_put({name: model.params[name] for name in ("unet", "vae")}, layout.replicated)
    sizes = replace(settings.vae.config, scaling_factor=float(model.model_state["latent"]["scale"]))
    transform = make_transform(config["data"], tokenizer, make_second_tokenizer(config, model.tokenizer))
    start = Start(model.params, model.model_state, model.card.get("started from", {}))
    encoders = PAPERS["re_audioldm"].encoders(config, vocab_size=tokenizer.vocab_size)
    datastore = open_datastore(config, settings, encoders, start, transform, {}, progress=progress)
    text = ClapTextTower(settings.clap_text, settings.clap_text.config, {"params": model.params["clap"]["text"]}, **origin)
    networks = Networks(
        text=replace(text, tokenizer=tokenizer, clean=transform.clean, max_tokens=transform.max_tokens),
        unet=UnetTower(settings.unet, settings.unet.config, {"params": placed["unet"]}, **origin),
        vae=VaeTower(AutoencoderKl(sizes, dtype=settings.vae.dtype), sizes, {"params": placed["vae"]}, **origin),
        vocoder=_vocoder(config, settings, layout, origin),
        schedule=settings.schedule,
        layout=layout,
        ranker=open_ranker(ranker),
        retrieval=Retriever(settings, model.model_state, pairs_transform(settings, StatesTransform(), datastore), datastore),
    )
    return Maker(networks, source, config["data"]["seconds"])


def run_unet(model: Exported) -> UnetTower:
    """The U-Net alone of a finished run of the phase "diffusion"."""
    unet = make_diffusion_settings(to_dict(model.config), Tokenizer.load(model.tokenizer).vocab_size).unet
    digest = model_digest(config_to_json(model.config), model.params["unet"])
    return UnetTower(unet, unet.config, {"params": model.params["unet"]}, None, model.tokenizer.parent, digest)


def _retrieval(config: Mapping[str, Any], changes: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The section of the config with the changes."""
    own = dict(config["retrieval"])
    if changes and not RetrievalOptions(**own).on:
        raise UsageError(f"{shown(source)}: was trained without retrieval, and has no use for retrieval.{next(iter(changes))}")
    changed = own | changes
    changed["depth"] = max(changed["depth"], changed["count"])
    RetrievalOptions(**changed).check()
    return changed


def _data_folder(config: Mapping[str, Any], moved: str | os.PathLike | None, source: str) -> str:
    """The `data.dir` of the config, or where the data lie now. UsageError for SoundWorld, and where it is gone and retrieved from."""
    data, datastore = config["data"], Path(config["retrieval"]["datastore"]).expanduser()
    if moved is not None:
        if data["source"] != "tfds":
            raise UsageError(f"--data-dir: {source or 'the run'} was trained on SoundWorld, which is found in $AUDIOJAX_DATA or built")
        return os.fspath(moved)
    retrieves = config["retrieval"]["mode"] != "none" and not (datastore / MANIFEST).is_file()
    if retrieves and data["source"] == "tfds" and not Path(data["dir"]).expanduser().is_dir():
        raise UsageError(
            f"{shown(data['dir'])}: is gone, and {source or 'the run'} retrieves from its clips; name their folder with --data-dir"
            " (data_dir of load_maker), or set retrieval.mode to 'none' or retrieval.datastore to an index"
        )
    return data["dir"]


def _vocoder(config: dict[str, Any], settings: DiffusionSettings, layout: Layout, origin: dict[str, Any]) -> HifiganTower | GriffinLimTower:
    """The vocoder that `generate.vocoder` names, a run or a public checkpoint; Griffin-Lim where it names none."""
    name, module = config["generate"]["vocoder"], vocoder_of(config)
    if not name:
        digest = hashlib.blake2b(repr(settings.mel).encode(), digest_size=16).hexdigest()
        return GriffinLimTower(module, module.config, {}, **origin | {"digest": digest}, mel=settings.mel)
    if not is_run(name):
        return load_pretrained(name, sharding=layout.replicated, progress=False)
    folder = final_folder(name)
    model = load_export(folder)
    if model.config.paper != "re_audioldm" or model.config.phases[-1] != "vocoder":
        raise UsageError(f"config key 'generate.vocoder': {shown(name)} is no run of the phase 'vocoder'")
    own = vocoder_of(to_dict(model.config))
    if own.config.mels != settings.mel.n_mels:
        raise UsageError(
            f"config key 'generate.vocoder': {shown(name)} takes {own.config.mels} mel bins, and there are {settings.mel.n_mels}"
        )
    params = jax.device_put({"params": generator_params(model.params)}, layout.replicated)
    digest = model_digest(config_to_json(model.config), model.params)
    return HifiganTower(own, own.config, params, None, folder, digest)
