"""Diffusion-Link with a very small CLAP: presets that compile fast, a config, pairs of embeddings, and a run of CLAP to start from."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.config import load_config, to_dict
from audiojax.encoders import bert, clap, htsat
from audiojax.encoders.bert import BertConfig
from audiojax.encoders.htsat import HtsatConfig
from audiojax.papers import towers
from audiojax.text.tokenizer import Tokenizer
from audiojax.trainer.export import export_model
from tests.encoders.filling import fill

WIDTH, TOKENS, VOCAB = 8, 8, 60
AUDIO = HtsatConfig(image=128, mels=64, patch=32, channels=8, depths=(1,), heads=(1,), window=4, sample_rate=16_000)
TEXT = BertConfig(width=8, layers=1, heads=2, hidden=8, max_positions=64)
SIZES = ("model.network.width=16", "model.network.frequencies=8", f"data.max_tokens={TOKENS}", "train.eval_batch_size=8")


def shrink(patch: pytest.MonkeyPatch) -> None:
    """The tiny presets with a few features, CLAP's of width 8."""
    patch.setitem(htsat.PRESETS, "tiny", AUDIO)
    patch.setitem(bert.PRESETS, "tiny", TEXT)
    patch.setitem(clap.PRESETS, "tiny", replace(clap.PRESETS["tiny"], audio=AUDIO, text=replace(TEXT, pooler=True), projection=WIDTH))


def config_of(*overrides: str, words: str = "debug"):
    """The debug config with a narrow network."""
    return load_config(f"diffusion_link/soundworld:{words}", [*SIZES, *overrides])


def plain(*overrides: str, words: str = "debug"):
    """The same as plain dicts."""
    return to_dict(config_of(*overrides, words=words))


def pairs(count: int, *, noise: float = 0.05, seed: int = 0, width: int = WIDTH) -> dict[str, np.ndarray]:
    """Stored embeddings of pairs: sounds are texts, turned a little, moved and disturbed."""
    rng = np.random.default_rng(seed)
    text = unit(rng.normal(size=(count, width)) + 0.5)
    turned = text + 0.2 * np.roll(text, 1, axis=1)
    offset = np.where(np.arange(width) % 2, 0.6, -0.6)
    audio = unit(turned + offset + noise * rng.normal(size=(count, width)))
    return {
        "audio_embedding": audio.astype(np.float32),
        "text_embedding": text.astype(np.float32),
        "clip_index": np.arange(count, dtype=np.int32),
    }


def unit(x: np.ndarray) -> np.ndarray:
    """Rows at length 1."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def save_clap(root: Path, captions: list[str]) -> Path:
    """Folder of a CLAP with random weights and a tokenizer learned from the captions."""
    tokenizer = Tokenizer.train(captions, 200)
    tokenizer.save(root / "tokenizer")
    config = load_config("towers/soundworld:clap,debug")
    task = towers.make_task(to_dict(config), config.phases[0], vocab_size=tokenizer.vocab_size)
    batch = {"waveform": jnp.zeros((1, 61_440)), "text_ids": jnp.zeros((1, TOKENS), jnp.int32), "text_mask": jnp.ones((1, TOKENS), bool)}
    made = fill(jax.eval_shape(task.init, jax.random.key(0), batch | {"clip_index": jnp.zeros(1, jnp.int32)}))
    export_model(root / "clap", **made, config=config, tokenizer=root / "tokenizer", card={"task": task.name, "step": 0, "choice": "raw"})
    return root / "clap"
