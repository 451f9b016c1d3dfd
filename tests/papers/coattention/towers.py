"""Finished runs of very small towers with random weights, and a config that starts from them."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from audiojax.config import load_config, to_dict
from audiojax.encoders import bert, clap, htsat
from audiojax.encoders.bert import BertConfig
from audiojax.encoders.htsat import HtsatConfig
from audiojax.papers import towers
from audiojax.text.tokenizer import Tokenizer
from audiojax.trainer.export import export_model
from tests.encoders.filling import fill

AUDIO = HtsatConfig(image=128, mels=64, patch=32, channels=8, depths=(1,), heads=(1,), window=4, sample_rate=16_000)  # 8 segments
TEXT = BertConfig(width=8, layers=1, heads=2, hidden=8, max_positions=64)
CASCADE = ("model.cascade.width=8", "model.cascade.heads=2", "model.cascade.hidden=16", "data.max_tokens=8")


def shrink(patch: pytest.MonkeyPatch) -> None:
    """The tiny presets with a few features: they compile fast."""
    patch.setitem(htsat.PRESETS, "tiny", AUDIO)
    patch.setitem(bert.PRESETS, "tiny", TEXT)
    patch.setitem(clap.PRESETS, "tiny", replace(clap.PRESETS["tiny"], audio=AUDIO, text=replace(TEXT, pooler=True), projection=8))


def save_runs(root: Path, captions: list[str]) -> tuple[Path, Path]:
    """Folders of a CLAP and of a BERT, with one tokenizer learned from the captions."""
    tokenizer = Tokenizer.train(captions, 200)
    tokenizer.save(root / "tokenizer")
    for name in ("clap", "bert"):
        config = load_config(f"towers/soundworld:{name},debug")
        task = towers.make_task(to_dict(config), config.phases[0], vocab_size=tokenizer.vocab_size)
        batch = {"waveform": jnp.zeros((1, 61_440)), "text_ids": jnp.zeros((1, 8), jnp.int32), "text_mask": jnp.ones((1, 8), bool)}
        made = fill(jax.eval_shape(task.init, jax.random.key(0), batch | {"clip_index": jnp.zeros(1, jnp.int32)}))
        export_model(root / name, **made, config=config, tokenizer=root / "tokenizer", card={"task": task.name, "step": 0, "choice": "raw"})
    return root / "clap", root / "bert"


def config_of(*overrides: str, words: str = "debug"):
    """The debug config of co-attention with a narrow cascade."""
    return load_config(f"coattention/soundworld:{words}", [*CASCADE, *overrides])
