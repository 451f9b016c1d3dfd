"""A pipeline's folder in the layout of cvssp/audioldm-*, narrow and with random weights, which audiojax and diffusers open."""

import json
from dataclasses import replace

import numpy as np
from safetensors.numpy import save_file

from audiojax.encoders.bert import BertConfig
from audiojax.encoders.clap import ClapText, ClapTextConfig
from audiojax.models.hifigan import HifiGanConfig
from audiojax.models.unet import UNet, UNetConfig
from audiojax.models.vae import AutoencoderKl, VaeConfig
from audiojax.pretrained import clap, hifigan, unet, vae
from audiojax.pretrained.rules import export
from tests.api.caption_folders import byte_pairs
from tests.encoders.filling import filled_variables, token_batch
from tests.models.latent_facts import hifigan_example, hifigan_facts, unet_facts, vae_facts, with_gain

TEXT = ClapTextConfig(
    BertConfig(None, 24, 1, 3, 40, max_positions=66, segments=1, padding_id=1, norm_eps=1e-12, pooler=True), projection=12
)
UNET = UNetConfig((16, 32), 1, (False, True), class_width=12, head_width=32, head_count=2, latent_channels=3, groups=4)
VAE = VaeConfig(channels=(4, 8), blocks=1, latent_channels=3, groups=2, scaling_factor=0.5)
VOCODER = HifiGanConfig(8, 16, (8, 4), (16, 8), (3, 5), ((1, 3), (1, 2)))  # 32 samples a frame, 64 a latent frame, 128 a unit
SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "_diffusers_version": "0.15.0",
    "beta_end": 0.0195,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.0015,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "trained_betas": None,
}
INDEX = {
    "_class_name": "AudioLDMPipeline",
    "_diffusers_version": "0.15.0",
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "ClapTextModelWithProjection"],
    "tokenizer": ["transformers", "RobertaTokenizerFast"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "vocoder": ["transformers", "SpeechT5HifiGan"],
}


def write_pipeline(folder, text=TEXT, unet_config=UNET, vae_config=VAE, vocoder=VOCODER, scheduler=SCHEDULER):
    """Writes the folder and returns its path."""
    folder.mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps(INDEX))
    engine = byte_pairs()
    text = replace(text, text=replace(text.text, vocab_size=text.text.vocab_size or engine.get_vocab_size()))
    write_tokenizer(folder / "tokenizer", engine, text.text.max_length)
    _write(folder / "scheduler", scheduler, "scheduler_config.json")
    words = token_batch(1, 4, 50)
    _part(folder / "text_encoder", text_facts(text), ClapText(text), clap.text_family(text), words, "model", 1.0)
    _part(folder / "unet", unet_facts(unet_config), UNet(unet_config), unet.family(unet_config), unet.inputs(unet_config))
    _part(folder / "vae", vae_facts(vae_config), AutoencoderKl(vae_config), vae.family(vae_config), vae.spectrogram(vae_config))
    state = export(hifigan_example(vocoder)[1], hifigan.family(vocoder))
    state |= {"mean": np.zeros(vocoder.mels, np.float32), "scale": np.ones(vocoder.mels, np.float32)}
    _write(folder / "vocoder", hifigan_facts(vocoder) | {"architectures": ["SpeechT5HifiGan"]})
    save_file(state, folder / "vocoder" / "model.safetensors", {"format": "pt"})
    return folder


def write_tokenizer(folder, engine, length):
    """RoBERTa's tokenizer as transformers writes it."""
    folder.mkdir()
    engine.save(str(folder / "tokenizer.json"))
    words = {"cls_token": "<s>", "bos_token": "<s>", "sep_token": "</s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    facts = {"tokenizer_class": "RobertaTokenizerFast", "model_max_length": length, "mask_token": "<mask>", **words}
    (folder / "tokenizer_config.json").write_text(json.dumps(facts))


def text_facts(config):
    """config.json of a ClapTextModelWithProjection."""
    return {
        "model_type": "clap_text_model",
        "architectures": ["ClapTextModelWithProjection"],
        "vocab_size": config.text.vocab_size,
        "hidden_size": config.text.width,
        "num_hidden_layers": config.text.layers,
        "num_attention_heads": config.text.heads,
        "intermediate_size": config.text.hidden,
        "max_position_embeddings": config.text.max_positions,
        "layer_norm_eps": config.text.norm_eps,
        "projection_dim": config.projection,
    }


def _part(folder, facts, module, family, inputs, name="diffusion_pytorch_model", gain=0.5):
    """A random network whose kernels are halved: one that magnifies what it is given would run away along the path."""
    _write(folder, facts)
    save_file(export(with_gain(filled_variables(module, *inputs), gain), family), folder / f"{name}.safetensors", {"format": "pt"})


def _write(folder, facts, name="config.json"):
    folder.mkdir()
    (folder / name).write_text(json.dumps(facts))
