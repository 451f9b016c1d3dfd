"""A run that makes sounds leaves as AudioLDM's public folder, which audiojax opens like any other."""

import json

import numpy as np
import pytest

import audiojax
from audiojax.cli import main
from audiojax.errors import UsageError
from audiojax.towers.latent import GriffinLimTower, HifiganTower
from tests.api.plain_run import plain_run

pytestmark = pytest.mark.slow
HOW = {"seconds": 0.64, "steps": 3, "guidance": 2.0, "seed": 1}
PROMPTS = ["A bell rings!", "a dog barks, then rain"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        yield plain_run(tmp_path_factory.mktemp("runs"), patch)


def test_a_run_is_audioldm(made, tmp_path):
    run, vocoder = made
    folder = audiojax.export(run, tmp_path / "audioldm", "safetensors", vocoder)
    names = {"model_index.json", "unet", "vae", "vocoder", "text_encoder", "tokenizer", "scheduler"}
    assert {path.name for path in folder.iterdir()} == names
    facts = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    assert (facts["beta_start"], facts["beta_end"]) == (0.0015, 0.0195)
    ours, theirs = audiojax.load_maker(run, vocoder=vocoder, progress=False), audiojax.load_maker(folder, progress=False)
    assert isinstance(ours.networks.vocoder, HifiganTower)
    assert ours.networks.unet.config == theirs.networks.unet.config
    for one, other in zip(ours.generate(PROMPTS, **HOW), theirs.generate(PROMPTS, **HOW), strict=True):
        assert np.std(one.waveform) > 0
        np.testing.assert_allclose(other.waveform, one.waveform, atol=1e-5)
    assert main(["export", "--workdir", str(run), "--out", str(folder), "--format", "safetensors", "--vocoder", str(vocoder)]) == 2


def test_what_is_no_audioldm_is_said(made, tmp_path):
    run, vocoder = made
    assert isinstance(audiojax.load_maker(run, progress=False).networks.vocoder, GriffinLimTower)
    with pytest.raises(UsageError, match="has Griffin-Lim, which no pipeline takes: name a vocoder"):
        audiojax.export(run, tmp_path / "a", "safetensors")
    with pytest.raises(UsageError, match="--vocoder goes with --format safetensors"):
        audiojax.export(run, tmp_path / "a", vocoder=vocoder)
    with pytest.raises(UsageError, match="--vocoder is for a run that makes sounds"):
        audiojax.export(vocoder, tmp_path / "a", "safetensors", vocoder)
    with pytest.raises(UsageError, match="without retrieval, and has no use for retrieval.count"):
        audiojax.load_maker(run, retrieval={"count": 2}, progress=False)
    assert not (tmp_path / "a").exists()
