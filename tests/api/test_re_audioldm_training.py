"""Re-AudioLDM's autoencoder and vocoder from a config to a finished run, a tower, and a public folder; resume is exact."""

import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest

import audiojax
from audiojax.api.publishing import export
from audiojax.config import load_config
from audiojax.errors import UsageError
from audiojax.models import hifigan, patch_discriminator, vae, waveform_discriminators
from audiojax.towers.latent import HifiganTower, VaeTower
from audiojax.trainer.export import load_export
from tests.papers.re_audioldm.small import HIFIGAN, PATCHES, VAE, WAVEFORMS

WORLD = ("data.source=memory", "data.size=0.006", "train.eval_batch_size=8", "train.eval_every=2", "train.save_every=2")
SMALL = ("stretch.autoencoder=5_120", "stretch.vocoder=2_560", "loss.autoencoder.start=1")
SIZES = ("autoencoder.batch_size=8", "vocoder.batch_size=8", "autoencoder.steps=4", "vocoder.steps=4")
TOWERS = {"autoencoder": VaeTower, "vocoder": HifiganTower}


@pytest.fixture(scope="module", autouse=True)
def small_networks(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(vae.PRESETS, "soundworld", replace(VAE, channels=(4, 4, 6)))
        patch.setitem(hifigan.PRESETS, "soundworld", replace(HIFIGAN, mels=64))
        patch.setitem(patch_discriminator.PRESETS, "tiny", PATCHES)
        patch.setitem(waveform_discriminators.PRESETS, "tiny", WAVEFORMS)
        patch.setenv("AUDIOJAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def config_of(phase, *overrides):
    return load_config(f"re_audioldm/soundworld:debug,{phase}", [*WORLD, *SMALL, *SIZES, *overrides])


@pytest.fixture(scope="module", params=TOWERS)
def run(request, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run") / "work"
    audiojax.train(config_of(request.param), workdir, progress=False)
    return request.param, workdir


@pytest.mark.slow
def test_a_run_opens_as_a_tower_and_its_public_folder_as_the_same(run, tmp_path):
    phase, workdir = run
    tower = audiojax.load(workdir)
    assert type(tower) is TOWERS[phase]
    export(workdir, tmp_path / "public", "safetensors")
    name = "diffusion_pytorch_model.safetensors" if phase == "autoencoder" else "model.safetensors"
    assert (tmp_path / "public" / name).is_file()
    back = audiojax.load_pretrained(tmp_path / "public")
    assert back.config == tower.config
    jax.tree.map(np.testing.assert_array_equal, dict(back.params), dict(tower.params))
    mel = np.random.default_rng(0).normal(size=(2, 8, 64)).astype(np.float32)
    heard = [t(mel) if phase == "vocoder" else t.decode(t.encode(mel)) for t in (tower, back)]
    np.testing.assert_array_equal(*heard)
    assert np.all(np.isfinite(heard[0]))


@pytest.mark.slow
def test_a_run_that_stopped_goes_on_to_the_same_numbers(run, tmp_path):
    """What is left of a run at step 2 is that of the whole one: the same schedule, then the same steps 3 and 4."""
    phase, workdir = run
    again = tmp_path / "again"
    shutil.copytree(workdir, again)
    shutil.rmtree(again / "final")
    checkpoints = again / "checkpoints" / phase
    assert {"2", "4"} <= {folder.name for folder in checkpoints.iterdir()}
    shutil.rmtree(checkpoints / "4")
    audiojax.train(config_of(phase), again, progress=False)
    ours, theirs = (load_export(folder / "final") for folder in (again, workdir))
    jax.tree.map(np.testing.assert_array_equal, (ours.params, ours.model_state), (theirs.params, theirs.model_state))


@pytest.mark.slow
def test_an_autoencoder_goes_on_from_another_and_a_vocoder_is_none(run, tmp_path):
    phase, workdir = run
    config = config_of("autoencoder", f"init.vae={workdir}", "autoencoder.steps=0")
    if phase == "vocoder":
        with pytest.raises(UsageError, match="has trained 're_audioldm/vocoder', and holds no 'vae'; name another"):
            audiojax.train(config, tmp_path / "next", progress=False)
        return
    audiojax.train(config, tmp_path / "next", progress=False)
    ours, theirs = (load_export(folder / "final").params["vae"] for folder in (tmp_path / "next", workdir))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
