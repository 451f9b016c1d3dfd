"""A CLAP of ours in the layout of transformers: config.json, preprocessor_config.json, and positions that count as transformers counts."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
from flax import traverse_util

from audiojax.encoders.htsat import HtsatConfig
from audiojax.pretrained import bert
from audiojax.pretrained.kinds import OWN, Public, differences
from audiojax.towers.clap import ClapTextTower, ClapTower
from audiojax.towers.clap_features import PRESETS, ClapFrontEnd

PREPROCESSOR = "preprocessor_config.json"
POSITIONS = ("encoder", "position", "embedding")  # of the text half


def publish(tower: ClapTower) -> Public:
    """A ClapModel.

    ClapFeatureExtractor centres its frames and takes whole seconds. A front end that does so is written for it; any other into the table
    "audiojax" of config.json, which `load_pretrained` reads: transformers is then to be given log-mels.
    """
    tower = counted_from_padding(tower, ("params", "text", *POSITIONS))
    config, front_end = tower.config, tower.front_end
    joint = {"projection_dim": config.projection, "projection_hidden_act": config.activation}
    facts = {
        "model_type": "clap",
        "architectures": ["ClapModel"],
        **joint,
        "logit_scale_init_value": config.logit_scale,
        "text_config": {"model_type": "clap_text_model", **bert.facts_of(config.text), **joint},
        "audio_config": {"model_type": "clap_audio_model", **audio_facts_of(config.audio), **joint},
        OWN: {"max_tokens": tower.max_tokens},
    }
    if (settings := preprocessor_of(front_end)) is not None:
        return Public(tower, facts, files={PREPROCESSOR: settings})
    facts[OWN] |= {"mel": differences(front_end.mel, published(front_end).mel), "samples": front_end.samples}
    return Public(tower, facts)


def publish_text(tower: ClapTextTower) -> Public:
    """A ClapTextModelWithProjection, as it lies in AudioLDM's folders."""
    tower = counted_from_padding(tower, ("params", *POSITIONS))
    joint = {"projection_dim": tower.config.projection, "projection_hidden_act": tower.config.activation}
    names = {"model_type": "clap_text_model", "architectures": ["ClapTextModelWithProjection"]}
    return Public(tower, names | bert.facts_of(tower.config.text) | joint)


def counted_from_padding(tower: Any, place: tuple[str, ...]) -> Any:
    """The same tower, a CLAP or its text half, with the tokenizer's padding id as that from which positions count.

    `place` is the path of the position table.

    Ours tells padding by the mask, transformers by the id: with another id it would count unknown words as padding. The rows of the
    position table below the padding id are never read, so that moving all rows up or down changes nothing.
    """
    text, tokenizer = tower.config.text, tower.tokenizer
    if tokenizer is None or tokenizer.pad_id == text.padding_id:
        return tower
    shift = tokenizer.pad_id - (-1 if text.padding_id is None else text.padding_id)  # None: they count from 0
    flat = traverse_util.flatten_dict(dict(tower.params))
    table = flat[place]
    flat[place] = jnp.pad(table, ((shift, 0), (0, 0))) if shift > 0 else table[-shift:]
    config = replace(tower.config, text=replace(text, padding_id=tokenizer.pad_id, max_positions=text.max_positions + shift))
    return replace(tower, module=tower.module.clone(config=config), config=config, params=traverse_util.unflatten_dict(flat))


def audio_facts_of(config: HtsatConfig) -> dict[str, Any]:
    """The table "audio_config" of config.json."""
    return {
        "num_mel_bins": config.mels,
        "spec_size": config.image,
        "patch_size": config.patch,
        "patch_stride": [config.patch, config.patch],
        "patch_embeds_hidden_size": config.channels,
        "hidden_size": config.width,
        "depths": list(config.depths),
        "num_hidden_layers": len(config.depths),
        "num_attention_heads": list(config.heads),
        "window_size": config.window,
        "mlp_ratio": float(config.mlp_ratio),
        "layer_norm_eps": config.norm_eps,
        "hidden_act": "gelu",
        "enable_fusion": config.fusion,
        "fusion_type": "aff_2d" if config.fusion else None,
        "aff_block_r": config.fusion_reduction,
    }


def preprocessor_of(front_end: ClapFrontEnd) -> Mapping[str, Any] | None:
    """preprocessor_config.json, or None where ClapFeatureExtractor cannot hear as this front end does."""
    mel, seconds = front_end.mel, front_end.samples / front_end.mel.sample_rate
    settings = {
        "sampling_rate": mel.sample_rate,
        "fft_window_size": mel.n_fft,
        "hop_length": mel.hop,
        "feature_size": mel.n_mels,
        "frequency_min": mel.f_min,
        "frequency_max": mel.f_max,
    }
    own = {"sample_rate", "n_fft", "win_length", "hop", "n_mels", "f_min", "f_max"}
    if seconds != int(seconds) or differences(mel, published(front_end).mel).keys() - own:
        return None
    kind = {"feature_extractor_type": "ClapFeatureExtractor", "processor_class": "ClapProcessor", "padding": "repeatpad"}
    return {**kind, **settings, "max_length_s": int(seconds), "truncation": "fusion" if front_end.fusion else "rand_trunc"}


def published(front_end: ClapFrontEnd) -> ClapFrontEnd:
    """The published front end of the same kind."""
    return PRESETS["fusion" if front_end.fusion else "rand_trunc"]
