"""A finished run of latent diffusion as a `Maker`: it retrieves for each prompt from the run's datastore and makes the sound.

The datastore is that of the config: its features and its clips' ids are read from the cache, or computed with the run's own towers.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from audiojax.api.data import make_second_tokenizer, make_transform
from audiojax.api.datastore import Datastore, open_datastore, pairs_transform
from audiojax.api.making import Maker, Networks
from audiojax.api.opening import final_folder, model_digest
from audiojax.api.start import Start, is_run
from audiojax.api.weights import load_pretrained
from audiojax.config import config_to_json, to_dict
from audiojax.data.transforms import StatesTransform
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.models.unet import Context
from audiojax.models.vae import AutoencoderKl
from audiojax.papers import PAPERS
from audiojax.papers.re_audioldm.conditioning import condition_of, null_condition
from audiojax.papers.re_audioldm.diffusion_settings import DiffusionSettings, make_diffusion_settings
from audiojax.papers.re_audioldm.networks import vocoder_of
from audiojax.papers.re_audioldm.retrieval import BY_TRUTH, PairsTransform, Queries, find_neighbours
from audiojax.papers.re_audioldm.vocoder import generator_params
from audiojax.text.tokenizer import Tokenizer
from audiojax.towers.clap import ClapTextTower
from audiojax.towers.latent import GriffinLimTower, HifiganTower, UnetTower, VaeTower
from audiojax.trainer.export import Exported, load_export
from audiojax.trainer.layout import Layout, make_layout


@dataclass(frozen=True, eq=False)
class Retriever:
    """Contexts of prompts: the features of their neighbours in a datastore; see `audiojax.api.making.Retrieval`.

    Attributes:
      settings, model_state: of the run.
      transform: makes the features of pairs.
      datastore: None where the run retrieves nothing.
    """

    settings: DiffusionSettings
    model_state: Any
    transform: PairsTransform
    datastore: Datastore | None

    @property
    def facts(self) -> str:
        """The options and the features that are retrieved from."""
        return repr((self.transform.options, self.datastore and self.datastore.name))

    def with_count(self, count: int) -> "Retriever":
        """The same with another number of pairs for each prompt. UsageError for less than one, or more than the datastore's clips."""
        most = 0 if self.datastore is None else len(self.datastore.states)
        if self.datastore is None or not 1 <= count <= most:
            raise UsageError(f"{count} pairs for a prompt: the run's datastore has {most} clips; from 1 to as many can be retrieved")
        options = replace(self.transform.options, count=count, depth=max(count, self.transform.options.depth))
        return replace(self, transform=replace(self.transform, options=options))

    def contexts(self, prompts: Sequence[str], vectors: Float[np.ndarray, "b d"]) -> tuple[Context, ...]:
        """(tokens, mask) for each context of the U-Net."""
        pairs = np.zeros((len(prompts), 0, 2), np.int32)
        if self.datastore is not None:
            options = replace(self.transform.options, depth=self.transform.options.count)
            if options.mode in BY_TRUTH:  # a prompt has no truth
                options = replace(options, mode="clap")
            asked = Queries(vectors, np.array(prompts), np.zeros(len(prompts), int))
            pairs = find_neighbours(options, self.datastore.keys, asked)
        rows = [self.transform.features(row) for row in pairs]
        batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]} | {"text_embedding": vectors}
        return jax.device_get(condition_of(self.settings, self.model_state, batch, "text").contexts)

    def null(self, rows: int) -> tuple[Context, ...]:
        """The contexts of no condition."""
        vectors = np.zeros((rows, self.settings.clap_text.config.projection), np.float32)
        batch = {"retrieved_valid": np.zeros((rows, self.transform.options.pairs), bool), "text_embedding": vectors}
        condition = condition_of(self.settings, self.model_state, batch, "text")
        return jax.device_get(null_condition(self.settings, self.model_state, condition).contexts)


def open_run_maker(model: Exported, source: str = "", *, progress: bool = True) -> Maker:
    """The maker of a finished run of the phase "diffusion".

    Args:
      source: where it comes from.

    Raises:
      UsageError: its datastore is not there, or its vocoder does not go with it.
    """
    config, tokenizer = to_dict(model.config), Tokenizer.load(model.tokenizer)
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
        retrieval=Retriever(settings, model.model_state, pairs_transform(settings, StatesTransform(), datastore), datastore),
    )
    return Maker(networks, source)


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
