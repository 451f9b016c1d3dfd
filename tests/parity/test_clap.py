"""CLAP beside transformers with random weights: the models in float32 and bfloat16, log-mels, and unit vectors of waveforms."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.audio.spectral import log_mel
from audiojax.encoders.clap import PRESETS, Clap, ClapText
from audiojax.pretrained import clap
from audiojax.pretrained.rules import export
from audiojax.towers.clap import ClapTextTower, ClapTower
from audiojax.towers.clap_features import PRESETS as FRONT_ENDS
from audiojax.towers.clap_features import repeat_pad
from tests.encoders.filling import filled_variables, relative_error
from tests.encoders.test_clap import NARROW, inputs_of
from tests.towers import clap_cases

torch = pytest.importorskip("torch")
from tests.parity.clap_reference import reference_clap, reference_clap_text, reference_extractor, reference_features  # noqa: E402

pytestmark = pytest.mark.parity
BOUNDS = {jnp.float32: 1e-4, jnp.bfloat16: 2e-2}


def compare(config, frames, dtypes=tuple(BOUNDS)):
    module, inputs = Clap(config), inputs_of(config, frames=frames)
    variables = filled_variables(module, *inputs)
    model = reference_clap(config, export(variables, clap.family(config)))
    mel, ids, mask, longer = (torch.tensor(x) for x in inputs)
    with torch.no_grad():
        theirs = model(ids.long(), mel, longer[:, None], mask.long())
        features = [
            model.get_audio_features(mel, longer[:, None]).pooler_output,
            model.get_text_features(ids.long(), mask.long()).pooler_output,
        ]
    for dtype in dtypes:
        ours = jax.jit(lambda v, d=dtype: module.clone(dtype=d).apply(v, *inputs, train=False))(variables)
        bound = BOUNDS[dtype]
        assert relative_error(ours.audio.features, features[0].numpy()) < bound
        assert relative_error(ours.text.features, features[1].numpy()) < bound
        for name in ("audio", "text"):  # an error is measured against a cosine of 1: those of random vectors may all be near 0
            scale = np.exp(variables["params"][f"logit_scale_{name[0]}"])
            difference = np.asarray(ours._asdict()[f"logits_per_{name}"]) - theirs[f"logits_per_{name}"].numpy()
            assert np.abs(difference).max() < bound * scale


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("name", NARROW)
def test_narrow(name, activation):
    compare(replace(NARROW[name], activation=activation), 51)


def test_tiny_preset():
    compare(PRESETS["tiny"], 256)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["htsat-unfused", "htsat-fused", "larger"])
def test_published_size(name):
    compare(PRESETS[name], 1001, dtypes=(jnp.float32,))


def test_text_half():
    config = NARROW["plain"]
    _, ids, mask, _ = inputs_of(config)
    variables = filled_variables(ClapText(config), ids, mask)
    model = reference_clap_text(config, export(variables, clap.text_family(config)))
    with torch.no_grad():
        theirs = model(torch.tensor(ids).long(), torch.tensor(mask).long()).text_embeds.numpy()
    ours = ClapTextTower(ClapText(config), config, variables, None, Path("none"), "")(ids, mask)
    assert relative_error(ours, theirs) < 1e-4


@pytest.mark.parametrize("name", ["rand_trunc", "fusion"])
def test_published_log_mels_of_short_clips(name):
    """Decibels of ClapFeatureExtractor, which computes in float64."""
    front_end = FRONT_ENDS[name]
    extractor = reference_extractor(front_end)
    for clip in clap_cases.clips([70_001, 480_000]):
        theirs = extractor(clip, sampling_rate=48_000, return_tensors="np")["input_features"][0]
        ours = np.asarray(log_mel(repeat_pad(clip, front_end.samples)[None], front_end.mel))
        assert np.abs(ours - theirs).max() < 2e-3


@pytest.mark.parametrize("name", NARROW)
def test_features_of_the_extractor(name):
    """`audio_features` and `text_features` take what transformers' processors give, and `embed_audio` goes the same way."""
    tower = clap_cases.tower(name)
    clips = [clip for clip in clap_cases.clips() if tower.front_end.fusion or len(clip) <= clap_cases.RATE]
    rows = [reference_features(tower.front_end, [clip]) for clip in clips]
    features, longer = (torch.cat(column) for column in zip(*rows, strict=True))
    _, ids, mask, _ = inputs_of(tower.config)
    model = reference_clap(tower.config, export(tower.params, clap.family(tower.config)))
    with torch.no_grad():
        audio = model.get_audio_features(features, longer).pooler_output.numpy()
        text = model.get_text_features(torch.tensor(ids).long(), torch.tensor(mask).long()).pooler_output.numpy()
    assert relative_error(tower.audio_features(features.numpy(), longer.numpy()), audio) < 1e-4
    assert relative_error(tower.embed_audio(clips, clap_cases.RATE), audio) < 1e-4
    assert relative_error(tower.text_features(ids, mask), text) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["htsat-unfused", "htsat-fused"])
def test_published_unit_vectors(name):
    """Waveforms of 48 kHz, short ones and for the fused model one of 23 s, through everything."""
    config = PRESETS[name]
    variables = clap_cases.decibel_variables(config)
    front_end = FRONT_ENDS["fusion" if config.audio.fusion else "rand_trunc"]
    tower = ClapTower(Clap(config), config, variables, None, Path("none"), "", front_end=front_end, tokenizer=None, batch=2)
    clips = clap_cases.clips([100_000, 480_000] + [1_104_321] * config.audio.fusion)
    model = reference_clap(config, export(variables, clap.family(config)))
    with torch.no_grad():
        theirs = np.concatenate([model.get_audio_features(*reference_features(front_end, [c])).pooler_output.numpy() for c in clips])
    ours = tower.embed_audio(clips, 48_000)
    assert relative_error(ours, theirs) < 1e-4
    np.testing.assert_array_equal(tower.embed_audio(clips[::-1], 48_000), ours[::-1])
