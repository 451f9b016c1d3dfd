"""A trained run as a callable tower: the classes that public checkpoints give, with the run's weights and front end."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audiojax.encoders.audiomae import AudioMae
from audiojax.papers.towers import causal_lm, contrastive, detection, masked_lm, reconstruction, span_corruption, tagging
from audiojax.text.normalise import clean_caption
from audiojax.text.tokenizer import CLS, SEP, Tokenizer
from audiojax.towers.base import Tower
from audiojax.towers.clap import ClapTower
from audiojax.towers.llama import LlamaTower
from audiojax.towers.panns import PannsTower
from audiojax.towers.spectrogram import AudioMaeTower, BeatsTower
from audiojax.towers.text import TextTower
from audiojax.typing import Params


def open_tower(
    config: Mapping[str, Any], params: Params, model_state: Mapping[str, Any], tokenizer: Tokenizer, *, source: Path, digest: str
) -> Tower:
    """The tower of a finished run; what only its training needed (a decoder, a head of words) is left out.

    Args:
      config: of the run.
      params, model_state: whole trees of the run.
      tokenizer: of the run.
      source: folder that they came from.
      digest: of the weights.
    """
    name, origin = config["model"]["tower"], (None, source, digest)
    whole = {"params": params, **model_state}
    if name == "clap":
        module, front_end = contrastive.network(config, tokenizer.vocab_size), contrastive.front_end_of(config)
        length = config["data"]["max_tokens"]
        return ClapTower(
            module, module.config, whole, *origin, front_end=front_end, tokenizer=tokenizer, max_tokens=length, clean=clean_caption
        )
    if name == "audiomae":
        autoencoder = reconstruction.network(config)
        module = AudioMae(autoencoder.config, dtype=autoencoder.dtype)
        part = {"params": params["encoder"], "constants": model_state["constants"]["encoder"]}
        return AudioMaeTower(module, module.config, part, *origin)
    if name == "beats":
        module = detection.beats_network(config)
        return BeatsTower(module, module.config, whole, *origin)
    if name == "tagger":
        tagger = tagging.network(config)
        return PannsTower(tagger.module, tagger.module.config, whole, *origin, mel=tagger.mel)
    if name == "llama":
        module = causal_lm.network(config, tokenizer.vocab_size)
        return LlamaTower(module, module.config, whole, *origin, tokenizer=tokenizer, bos_id=(CLS,), eos_ids=(SEP,))
    network = masked_lm.network if name == "bert" else span_corruption.network
    module = network(config, tokenizer.vocab_size)
    return TextTower(module, module.config, {"params": params["encoder"]}, *origin)
