"""Latent diffusion with very small networks: presets that compile fast, a config, a batch of stored states, and runs of towers."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.config import load_config, to_dict
from audiojax.encoders import audiomae, bert, clap, htsat, t5
from audiojax.encoders.audiomae import AudioMaeConfig
from audiojax.encoders.t5 import T5Config
from audiojax.models import hifigan, vae, waveform_discriminators
from audiojax.models.vae import VaeConfig
from audiojax.papers import PAPERS
from audiojax.text.tokenizer import Tokenizer
from audiojax.trainer.export import export_model
from tests.encoders.filling import fill
from tests.papers.diffusion_link.small import AUDIO as CLAP_AUDIO
from tests.papers.diffusion_link.small import TEXT as CLAP_TEXT
from tests.papers.re_audioldm.small import HIFIGAN, WAVEFORMS

CLIPS, TOKENS, VOCAB, PAIRS = 8, 6, 60, 2
LABELS, HEARD, READ = 8, (6, 8), (TOKENS, 10)  # width of CLAP; tokens of a clip and of a caption, and their widths
LATENTS = (4, 8, 2)  # frames, bins and channels of 0.32 s
AUDIOMAE = AudioMaeConfig(frames=384, mels=64, width=8, layers=1, heads=2, mlp_ratio=1)
T5 = T5Config(width=10, layers=1, heads=2, head_width=4, hidden=8, gated=True, dropout=0.0)
UNET = ("channels=8", "multipliers=(1,2)", "attended=(False,True)", "head_width=8", "groups=4")
SIZES = (f"data.max_tokens={TOKENS}", f"retrieval.count={PAIRS}", *(f"model.unet.{size}" for size in UNET), "model.joint_width=12")
SHORT = ("data.seconds=0.32",)  # of clips whose sound no test hears


def shrink(patch: pytest.MonkeyPatch) -> None:
    """The presets of SoundWorld with a few features."""
    patch.setitem(htsat.PRESETS, "tiny", CLAP_AUDIO)
    patch.setitem(
        clap.PRESETS, "tiny", replace(clap.PRESETS["tiny"], audio=CLAP_AUDIO, text=replace(CLAP_TEXT, pooler=True), projection=LABELS)
    )
    patch.setitem(bert.PRESETS, "tiny", CLAP_TEXT)
    patch.setitem(audiomae.PRESETS, "tiny", AUDIOMAE)
    patch.setitem(t5.PRESETS, "tiny", T5)
    patch.setitem(vae.PRESETS, "soundworld", VaeConfig(channels=(4, 4, 4, 4), blocks=1, latent_channels=LATENTS[2], groups=2))
    patch.setitem(hifigan.PRESETS, "soundworld", replace(HIFIGAN, mels=64))
    patch.setitem(waveform_discriminators.PRESETS, "tiny", WAVEFORMS)


def config_of(*overrides: str, words: str = "debug,diffusion"):
    """The debug config of latent diffusion with a small U-Net."""
    return load_config(f"re_audioldm/soundworld:{words}", [*SIZES, *overrides])


def plain(*overrides: str, words: str = "debug,diffusion"):
    """The same as plain dicts, of clips of 0.32 s."""
    return to_dict(config_of(*SHORT, *overrides, words=words))


def batch_of(clips: int = CLIPS, pairs: int = PAIRS, seed: int = 0) -> dict[str, np.ndarray]:
    """Stored states of clips with the features of retrieved pairs; the last row lacks its last pair."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, TOKENS + 1, size=(clips, pairs, 1))
    valid = np.ones((clips, pairs), bool)
    valid[-1, -1] = False
    mask = (np.arange(TOKENS) < lengths) & valid[..., None]
    heard, read = rng.normal(size=(clips, pairs, *HEARD)), rng.normal(size=(clips, pairs, *READ))
    return {
        "audio_moments": np.concatenate([rng.normal(size=(clips, *LATENTS)), np.full((clips, *LATENTS), -3.0)], -1).astype(np.float32),
        "text_embedding": rng.normal(size=(clips, LABELS)).astype(np.float32),
        "retrieved_valid": valid,
        "retrieved_audio": (heard * valid[..., None, None]).astype(np.float32),
        "retrieved_text": (read * mask[..., None]).astype(np.float32),
        "retrieved_text_mask": mask,
        "clip_index": np.arange(clips, dtype=np.int32),
    }


def variables_of(config, seed: int = 0) -> dict:
    """Filled parameters, and statistics as if they had been measured."""
    task = PAPERS["re_audioldm"].make_task(config, "diffusion", vocab_size=VOCAB)
    made = fill(jax.eval_shape(task.init, jax.random.key(0), {}), seed)
    made["model_state"]["latent"]["scale"] = np.float32(0.9)
    if "text_mask" in made["model_state"]["null"]:
        made["model_state"]["null"]["text_mask"] = (np.arange(TOKENS) < 2).astype(np.float32)
    return made


def save_towers(root: Path, captions: list[str], *more: str) -> tuple[str, ...]:
    """Overrides that name finished runs of all frozen towers, with random weights and one tokenizer learned from the captions; `more` are
    further phases of Re-AudioLDM whose runs are to lie beside them."""
    tokenizer = Tokenizer.train(captions, 200)
    tokenizer.save(root / "tokenizer")
    specs = {name: f"towers/soundworld:{name},debug" for name in ("clap", "audiomae", "t5")} | {"vae": "re_audioldm/soundworld:debug"}
    towers = tuple(f"init.{name}={root / name}" for name in specs)
    specs |= {name: f"re_audioldm/soundworld:debug,{name}" for name in more}
    for name, spec in specs.items():
        config = load_config(spec)
        task = PAPERS[config.paper].make_task(to_dict(config), config.phases[-1], vocab_size=tokenizer.vocab_size)
        batch = {"waveform": jnp.zeros((1, 61_440)), "text_ids": jnp.zeros((1, TOKENS), jnp.int32), "clip_index": jnp.zeros(1, jnp.int32)}
        made = fill(jax.eval_shape(task.init, jax.random.key(0), batch | {"text_mask": jnp.ones((1, TOKENS), bool)}))
        export_model(root / name, **made, config=config, tokenizer=root / "tokenizer", card={"task": task.name, "step": 0, "choice": "raw"})
    return towers
