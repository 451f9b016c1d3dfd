"""A maker over a narrow pipeline of random weights: seeds, lengths, references, candidates, and folders that are not whole."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

import audiojax
from audiojax.api.making.maker import Maker
from audiojax.api.making.maker_parts import open_maker
from audiojax.api.making.wishes import make_plan
from audiojax.audio.spectral import log_mel
from audiojax.errors import UsageError
from audiojax.papers.re_audioldm.clips import reference_of
from tests.api.maker_folder import SCHEDULER, write_pipeline
from tests.index.sounds import write

RATE = 16_000
HOW = {"seconds": 0.06, "steps": 2}
TONE = (0.3 * np.sin(2 * np.pi * 300 * np.arange(1_920) / RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_pipeline(tmp_path_factory.mktemp("audioldm") / "pipeline")


@pytest.fixture(scope="module")
def maker(folder):
    return audiojax.load(folder)


def changed(maker, **parts):
    """The maker with other networks."""
    return Maker(replace(maker.networks, **parts), "m")


def test_a_folder_of_diffusers_makes_sounds(maker, tmp_path):
    (made,) = maker.generate("a dog barks", **HOW)
    assert (made.sample_rate, made.waveform.shape, made.score) == (RATE, (960,), None)
    assert np.isfinite(made.waveform).all()
    assert np.std(made.waveform) > 1e-4
    path = made.save(tmp_path / "new" / "dog.flac")
    heard = maker.hear(path)
    np.testing.assert_allclose(heard.samples, made.waveform, atol=1 / 32_000)
    assert heard.file_rate == RATE
    with pytest.raises(UsageError, match=r"dog.mp3: the name of a sound must end in .wav or .flac"):
        made.save(tmp_path / "dog.mp3")


def test_a_prompt_and_a_seed_decide_a_sound_whatever_stands_beside_it(maker):
    alone = maker.generate("rain", seed=3, **HOW)[0].waveform
    texts = [f"sound {i}" for i in range(8)]
    beside = maker.generate([*texts, "rain"], seed=3, **HOW)[-1].waveform  # in a second batch
    np.testing.assert_allclose(beside, alone, atol=1e-5)
    for other in (maker.generate("rain", seed=4, **HOW), maker.generate("rain", seed=3, negative="wind", **HOW)):
        assert np.abs(other[0].waveform - alone).max() > 1e-4


def test_a_text_is_embedded_by_itself(maker):
    text = maker.networks.text
    vectors = text.embed_text(["rain", "a dog barks " * 20, ""])
    np.testing.assert_array_equal(vectors[0], text.embed_text(["rain"])[0])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    with pytest.raises(UsageError, match="came without a tokenizer"):
        replace(text, tokenizer=None).embed_text(["rain"])


@pytest.mark.slow
def test_the_end_of_strength_is_what_the_autoencoder_and_the_vocoder_give_back(maker):
    (made,) = maker.generate("rain", steps=2, audio=(TONE, RATE), strength=0.0)
    latents = maker.networks.vae.encode(log_mel(reference_of(TONE, maker.geometry).sound[None], maker.geometry.mel))
    want = np.asarray(maker.networks.vocoder(maker.networks.vae.decode(latents)))[0, :1_920]
    np.testing.assert_allclose(made.waveform, want, atol=1e-4)


@pytest.mark.slow
def test_inpainting_and_extension_keep_the_samples_around(maker):
    filled = maker.generate("rain", steps=2, audio=(TONE, RATE), inpaint=(0.04, 0.06))[0].waveform
    np.testing.assert_allclose(filled[:300], TONE[:300], atol=1e-6)
    np.testing.assert_allclose(filled[-600:], TONE[-600:], atol=1e-6)
    assert np.abs(filled[700:900] - TONE[700:900]).max() > 0.01
    longer = maker.generate("rain", steps=2, audio=(TONE, RATE), extend=0.03)[0].waveform
    assert longer.shape == (2_400,)
    np.testing.assert_allclose(longer[:1_500], TONE[:1_500], atol=1e-6)


@pytest.mark.parametrize("shape", [(1_920, 2), (2, 1_920), ()])
def test_a_reference_of_several_channels_is_refused(maker, shape):
    with pytest.raises(UsageError, match="audio has the shape .*: one axis of samples is needed, mono"):
        maker.generate("rain", audio=(np.full(shape, 0.1, np.float32), RATE), **HOW)


class Ranker:
    """Hears the third sound best."""

    def embed_audio(self, waveforms, sample_rate):
        assert sample_rate == RATE
        return np.eye(3, dtype=np.float32)[: len(waveforms)]

    def embed_text(self, texts):
        assert texts == ["rain"]
        return np.array([[0.1, 0.2, 0.9]], np.float32)


def test_the_best_of_several_candidates_is_kept(maker):
    ranked = changed(maker, ranker=Ranker())
    (best,) = ranked.generate("rain", candidates=3, **HOW)
    assert (best.candidate, best.score) == (2, pytest.approx(0.9))
    first = maker.generate("rain", **HOW)[0].waveform
    assert np.abs(best.waveform - first).max() > 1e-4


@pytest.mark.parametrize(
    ("prompt", "options", "words"),
    [
        (" ", {}, "a prompt is empty"),
        (["rain", ""], {}, "a prompt is empty"),
        ("rain \udcff", {}, "is not UTF-8 text"),
        ("rain", {"seconds": -1}, "seconds is -1; a number above 0"),
        ("rain", {"steps": 0}, "steps is 0; a whole number from 1"),
        ("rain", {"guidance": -1}, "guidance is -1; a number from 0"),
        ("rain", {"guidance": 1, "negative": "wind"}, "a negative prompt has no effect at guidance 1"),
        ("rain", {"candidates": 2}, "has the text half of a CLAP alone; name one that hears"),
        ("rain", {"candidates": 0}, "candidates is 0"),
        ("rain", {"extend": 1}, "say what becomes of a reference: name one in audio"),
        ("rain", {"audio": (0 * TONE, RATE)}, "the reference is silent"),
    ],
)
def test_what_makes_no_sense_is_named_before_any_work(maker, prompt, options, words, monkeypatch):
    monkeypatch.setattr(Maker, "sounds", None)
    with pytest.raises(UsageError, match=words):
        maker.generate(prompt, **options)


def test_a_reference_of_another_rate_is_resampled_and_a_silent_file_named(maker, tmp_path):
    write(tmp_path / "a.wav", 0.2)
    heard = maker.hear(tmp_path / "a.wav")
    assert (heard.file_rate, len(heard.samples)) == (1_000, RATE)
    write(tmp_path / "b.wav", 0.0)
    with pytest.raises(UsageError, match="b.wav: is silent"):
        maker.hear(tmp_path / "b.wav")


def test_a_plan_starts_half_way_from_a_reference_and_from_noise_otherwise(maker):
    whole, hole = (reference_of(TONE, maker.geometry, inpaint=place) for place in (None, (0.0, 0.1)))
    assert [make_plan(reference).sampling.strength for reference in (None, whole, hole)] == [1.0, 0.5, 1.0]
    assert make_plan(hole, strength=0.3).sampling.strength == 0.3


@pytest.mark.parametrize("name", ["vae", "tokenizer", "text_encoder", "scheduler"])
def test_a_folder_that_lacks_a_part_is_named(folder, tmp_path, name):
    shutil.copytree(folder, tmp_path / "m", ignore=shutil.ignore_patterns(name))
    with pytest.raises(UsageError, match=f"lacks {name}; sounds are made with unet, vae"):
        open_maker(tmp_path / "m", progress=False)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (SCHEDULER | {"prediction_type": "v_prediction"}, "prediction_type is 'v_prediction'"),
        (SCHEDULER | {"beta_schedule": "squaredcos_cap_v2"}, "beta_schedule is 'squaredcos_cap_v2'"),
        (SCHEDULER | {"steps_offset": 0}, "steps_offset is 0, and this tower has 1 alone"),
        ([], "no schedule can be read"),
    ],
)
def test_another_schedule_is_named(folder, tmp_path, facts, words):
    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m" / "scheduler" / "scheduler_config.json").write_text(json.dumps(facts))
    with pytest.raises(UsageError, match=words):
        open_maker(tmp_path / "m", progress=False)


def test_what_makes_no_sounds_is_named(folder, maker):
    with pytest.raises(UsageError, match="holds a VaeTower, which does not make sounds"):
        audiojax.load_maker(folder / "vae")
    unet = replace(maker.networks.unet, config=replace(maker.networks.unet.config, class_width=6))
    with pytest.raises(UsageError, match="m: its U-Net takes embeddings of width 6"):
        changed(maker, unet=unet)
