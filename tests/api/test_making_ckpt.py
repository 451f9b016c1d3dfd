"""The authors' `.ckpt` makes sounds with the averages of its U-Net, and ranks them by its own CLAP."""

from dataclasses import replace

import numpy as np
import pytest

import audiojax
from audiojax.errors import UsageError
from audiojax.models.hifigan import HifiGanConfig
from audiojax.models.unet import UNetConfig
from audiojax.pretrained import laion_clap
from tests.api.caption_folders import byte_pairs
from tests.api.maker_folder import write_tokenizer
from tests.encoders.test_clap import PLAIN
from tests.pretrained.test_audioldm import GROUPED, authors_unet, authors_vae, part, write_ckpt
from tests.pretrained.test_clap import filled, laion_state

UNET = UNetConfig((32, 64), 1, (False, True), class_width=12, latent_channels=3)
VOCODER = HifiGanConfig(mels=8, channels=32)


def state_of():
    """The tensors of a narrow file, the averages of the U-Net a half of its weights."""
    engine = byte_pairs()
    clap = replace(PLAIN, text=replace(PLAIN.text, vocab_size=engine.get_vocab_size()))
    weights = authors_unet(part("unet", UNET)[2], UNET)
    state = {f"model.diffusion_model.{name}": array for name, array in weights.items()}
    state |= {f"model_ema.{name[6:].replace('.', '')}": array / 2 for name, array in state.items()}
    state |= {f"first_stage_model.{name}": array for name, array in authors_vae(part("vae", GROUPED)[2]).items()}
    vocoder = part("vocoder", VOCODER)[2]
    state |= {f"first_stage_model.vocoder.{name.replace('upsampler.', 'ups.')}": array for name, array in vocoder.items()}
    text = laion_state(clap, filled(clap))
    state |= {name.replace("module.", "cond_stage_model.model."): array for name, array in text.items()}
    return state | {"scale_factor": np.float32(0.25)}


@pytest.mark.slow
def test_a_ckpt_makes_sounds_and_ranks_them(tmp_path, monkeypatch):
    monkeypatch.setattr(laion_clap, "HEAD_WIDTH", 8)
    file = write_ckpt(tmp_path / "audioldm.ckpt", state_of())
    write_tokenizer(tmp_path / "words", byte_pairs(), 20)
    maker = audiojax.load_maker(file, tokenizer=tmp_path / "words", progress=False)
    assert all(name.startswith("model_ema.") for name in maker.networks.unet.report.used.values())
    assert maker.networks.text.max_tokens == maker.networks.ranker.max_tokens == PLAIN.text.max_length  # not the 77 of LAION's own files
    assert maker.networks.vae.config.scaling_factor == 0.25
    (made,) = maker.generate("a dog barks", seconds=0.1, steps=2, candidates=2)
    assert made.waveform.shape == (1_600,)
    assert -1 <= made.score <= 1


def test_a_ckpt_that_lacks_a_part_or_a_tokenizer_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    state = {"model.diffusion_model.a": np.zeros(1, np.float32), "first_stage_model.a": np.zeros(1, np.float32)}
    file = write_ckpt(tmp_path / "a.ckpt", state)
    with pytest.raises(UsageError, match=r"a.ckpt: lacks text_encoder, vocoder; sounds are made with a folder"):
        audiojax.load_maker(file)
    state |= {f"{prefix}a": np.zeros(1, np.float32) for prefix in ("first_stage_model.vocoder.", "cond_stage_model.model.")}
    with pytest.raises(UsageError, match=r"b.ckpt: has no tokenizer; name a folder with that of roberta-base"):
        audiojax.load_maker(write_ckpt(tmp_path / "b.ckpt", state))
