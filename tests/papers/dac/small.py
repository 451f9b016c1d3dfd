"""DAC with very small towers: presets that compile fast, a config, a batch, and runs of towers to start from."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.config import load_config, to_dict
from audiojax.encoders import beats, bert
from audiojax.encoders.beats import BeatsConfig
from audiojax.encoders.bert import BertConfig
from audiojax.models import caption_decoder, text_denoiser
from audiojax.models.caption_decoder import CaptionDecoderConfig
from audiojax.models.text_denoiser import TextDenoiserConfig
from audiojax.papers import towers
from audiojax.text.tokenizer import Tokenizer
from audiojax.trainer.export import export_model
from tests.encoders.filling import fill

CLIPS, TOKENS, SAMPLES, VOCAB = 8, 12, 6_400, 60  # 38 frames: 2 x 2 patches
AUDIO = BeatsConfig(mels=32, embed=16, width=16, layers=1, heads=2, hidden=16, kernel=4, groups=2, buckets=8, max_distance=8)
TEXT = BertConfig(width=16, layers=2, heads=2, hidden=32, max_positions=32)
SMALL = {"width": 32, "layers": 1, "heads": 2, "hidden": 32, "context": 16, "max_positions": 16}
SIZES = (f"data.max_tokens={TOKENS}", f"data.seconds={SAMPLES / 16_000}", "model.dropout=0.0")
STEPS = ("noise.steps=40", "inference.diffusion.steps=4", "inference.validation_steps=3")


def shrink(patch: pytest.MonkeyPatch) -> None:
    """The presets of SoundWorld with a few features."""
    patch.setitem(beats.PRESETS, "tiny", AUDIO)
    patch.setitem(bert.PRESETS, "tiny", TEXT)
    patch.setitem(text_denoiser.PRESETS, "soundworld", TextDenoiserConfig(latent=16, **SMALL))
    patch.setitem(caption_decoder.PRESETS, "soundworld", CaptionDecoderConfig(**SMALL))


def config_of(*overrides: str, words: str = "debug"):
    """The debug config of DAC for clips of 0.4 s and captions of 12 tokens."""
    return load_config(f"dac/soundworld:{words}", [*SIZES, *STEPS, *overrides])


def plain(*overrides: str, words: str = "debug"):
    """The same as plain dicts."""
    return to_dict(config_of(*overrides, words=words))


def clip_batch(clips: int = CLIPS, seed: int = 0) -> dict[str, np.ndarray]:
    """Clips, each with a caption of 3 to 12 tokens: [CLS], words, [SEP]."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, TOKENS + 1, size=clips)
    ids = rng.integers(5, VOCAB, size=(clips, TOKENS)).astype(np.int32)
    ids[:, 0] = 2
    ids[np.arange(clips), lengths - 1] = 3
    mask = np.arange(TOKENS)[None] < lengths[:, None]
    return {
        "waveform": rng.normal(size=(clips, 1, SAMPLES)).astype(np.float32) * 0.1,
        "windows": np.ones((clips, 1), bool),
        "text_ids": np.where(mask, ids, 0),
        "text_mask": mask,
        "clip_index": np.arange(clips, dtype=np.int32),
    }


def save_runs(root: Path, captions: list[str]) -> tuple[Path, Path]:
    """Folders of a BEATs and of a BERT with random weights, with one tokenizer learned from the captions."""
    tokenizer = Tokenizer.train(captions, 200)
    tokenizer.save(root / "tokenizer")
    for name in ("beats", "bert"):
        config = load_config(f"towers/soundworld:{name},debug", ["data.max_tokens=8"])
        task = towers.make_task(to_dict(config), config.phases[0], vocab_size=tokenizer.vocab_size)
        batch = {"waveform": jnp.zeros((1, 61_440)), "text_ids": jnp.zeros((1, 8), jnp.int32), "text_mask": jnp.ones((1, 8), bool)}
        made = fill(jax.eval_shape(task.init, jax.random.key(0), batch | {"clip_index": jnp.zeros(1, jnp.int32)}))
        export_model(root / name, **made, config=config, tokenizer=root / "tokenizer", card={"task": task.name, "step": 0, "choice": "raw"})
    return root / "beats", root / "bert"
