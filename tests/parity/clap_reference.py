"""transformers' ClapModel, ClapTextModelWithProjection and ClapFeatureExtractor at the sizes of ours."""

from unittest import mock

import numpy as np
import transformers

from tests.parity.htsat_reference import reference_config
from tests.parity.panns_twin import load


def text_reference_config(config):
    """transformers' ClapTextConfig of a `ClapTextConfig`."""
    return transformers.ClapTextConfig(
        vocab_size=config.text.vocab_size,
        hidden_size=config.text.width,
        num_hidden_layers=config.text.layers,
        num_attention_heads=config.text.heads,
        intermediate_size=config.text.hidden,
        max_position_embeddings=config.text.max_positions,
        type_vocab_size=config.text.segments,
        pad_token_id=config.text.padding_id,
        layer_norm_eps=config.text.norm_eps,
        projection_dim=config.projection,
        projection_hidden_act=config.activation,
    )


def filled(model, state):
    """The model with the weights of `state`; its buffers of indices stay its own."""
    buffers = {name: value.numpy() for name, value in model.state_dict().items() if name.endswith(("index", "position_ids", "type_ids"))}
    return load(model, state | buffers).eval()


def reference_clap(config, state):
    """ClapModel without dropout."""
    text, audio = text_reference_config(config).to_dict(), reference_config(config.audio).to_dict()
    whole = transformers.ClapConfig(
        text_config=text, audio_config=audio, projection_dim=config.projection, projection_hidden_act=config.activation
    )
    return filled(transformers.ClapModel(whole), state)


def reference_clap_text(config, state):
    """ClapTextModelWithProjection without dropout."""
    return filled(transformers.ClapTextModelWithProjection(text_reference_config(config)), state)


def reference_extractor(front_end):
    """ClapFeatureExtractor with the settings of a `ClapFrontEnd`."""
    mel = front_end.mel
    return transformers.ClapFeatureExtractor(
        feature_size=mel.n_mels,
        sampling_rate=mel.sample_rate,
        hop_length=mel.hop,
        max_length_s=front_end.samples // mel.sample_rate,
        fft_window_size=mel.n_fft,
        frequency_min=mel.f_min,
        frequency_max=mel.f_max,
        truncation="fusion" if front_end.fusion else "rand_trunc",
        padding="repeatpad",
    )


def reference_features(front_end, clips):
    """(input_features, is_longer) as torch tensors, with the crops of a fused front end in the middle of each third.

    Where no clip is longer the extractor marks one at random; that mark is taken off.
    """
    extractor = reference_extractor(front_end)
    with mock.patch.object(np.random, "choice", lambda places: places[(len(places) - 1) // 2]):
        out = extractor(clips, sampling_rate=front_end.mel.sample_rate, return_tensors="pt")
    if front_end.fusion and all(front_end.mel.frame_count(max(len(clip), front_end.samples)) == front_end.frames for clip in clips):
        out["is_longer"][:] = False
    return out["input_features"].float(), out["is_longer"]
