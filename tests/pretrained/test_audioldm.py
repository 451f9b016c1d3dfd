"""AudioLDM's folders and `.ckpt` files, made here from random weights, become towers with those weights; what does not fit is refused."""

import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from audiojax.errors import UsageError
from audiojax.models.hifigan import HifiGanConfig
from audiojax.models.unet import UNet, UNetConfig
from audiojax.models.vae import AutoencoderKl, VaeConfig
from audiojax.partition import flat_paths
from audiojax.pretrained import hifigan, laion_clap, parts, store, unet, vae
from audiojax.pretrained.load import load_tower
from audiojax.pretrained.publish import publish_converted
from audiojax.pretrained.rules import ConversionError, export
from tests.encoders.filling import filled_variables, relative_error
from tests.encoders.test_clap import PLAIN
from tests.models.latent_facts import HIFIGANS, UNETS, VAE, hifigan_example, hifigan_facts, unet_facts, unet_inputs, vae_facts, vae_inputs
from tests.pretrained import torch_layout
from tests.pretrained.test_clap import filled, laion_state

GROUPED = VaeConfig(channels=(32, 64), blocks=1, latent_channels=3)  # the authors' names do not tell the number of groups: 32
WIDE = UNetConfig((32, 64), 1, (False, True), (None, 5, 7), 6, latent_channels=3)
VOCODER = HifiGanConfig(mels=3, channels=32)
HEADS = {"heads": "diffusers"}  # heads of 32 channels, as they were trained, are wider than the narrow networks
GOLDEN = Path(__file__).parents[1] / "golden" / "latent.npz"


@cache
def part(name, config):
    """(config.json, variables, state) of a part with random weights; nobody changes them."""
    if name == "vocoder":
        return hifigan_facts(config), (variables := hifigan_example(config)[1]), export(variables, hifigan.family(config))
    table, facts = {"unet": (unet, unet_facts), "vae": (vae, vae_facts)}[name]
    module, example = (UNet(config), unet.inputs(config)) if name == "unet" else (AutoencoderKl(config), vae.spectrogram(config))
    variables = filled_variables(module, *example)
    return facts(config), variables, export(variables, table.family(config))


def write_folder(folder, facts, state, file="diffusion_pytorch_model.safetensors"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(facts))
    save_file(state, folder / file)
    return folder


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """A pipeline's folder, and the parts' variables."""
    folder, kept = tmp_path_factory.mktemp("audioldm"), {}
    for name, config in (("unet", UNETS["re-audioldm"]), ("vae", VAE), ("vocoder", HIFIGANS["audioldm"])):
        facts, kept[name], state = part(name, config)
        if name == "vocoder":
            state = state | {"mean": np.zeros(6, np.float32), "scale": np.ones(6, np.float32)}
        write_folder(folder / name, facts, state)
    index = {"_class_name": "AudioLDMPipeline", "scheduler": ["diffusers", "DDIMScheduler"], "vae": ["diffusers", "AutoencoderKL"]}
    index |= {"unet": ["diffusers", "AudioLDM2UNet2DConditionModel"], "vocoder": ["transformers", "SpeechT5HifiGan"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder, kept


def test_parts_of_a_pipeline(pipeline):
    folder, kept = pipeline
    configs = {"unet": replace(UNETS["re-audioldm"], head_width=32), "vae": VAE, "vocoder": HIFIGANS["audioldm"]}
    for name, variables in kept.items():
        tower = load_tower(folder, part=name, **HEADS if name == "unet" else {})
        jax.tree.map(np.testing.assert_array_equal, dict(tower.params), variables)
        assert tower.config == configs[name]
        assert tower.source.parent == folder / name
        assert sorted(tower.report.ignored) == (["mean", "scale"] if name == "vocoder" else [])


def test_a_pipeline_wants_a_part(pipeline):
    folder, _ = pipeline
    with pytest.raises(UsageError, match="audioldm.* holds several models: choose part= from unet, vae, vocoder"):
        load_tower(folder)
    with pytest.raises(UsageError, match=r"has no part '\.\./unet': choose part= from unet, vae, vocoder"):
        load_tower(folder, part="../unet")
    with pytest.raises(UsageError, match="holds one model: leave out part='unet'"):
        load_tower(folder / "unet", part="unet")
    with pytest.raises(UsageError, match="heads are 'trained' or 'diffusers', and not 'all'"):
        load_tower(folder / "unet", heads="all")
    with pytest.raises(UsageError, match="no option 'heads'"):
        load_tower(folder / "vae", heads="trained")


def test_towers_give_the_outputs_of_the_references(pipeline):
    """Those of the golden file, whose weights these are; latents are scaled by the 0.5 of config.json."""
    folder, _ = pipeline
    golden, (mel, latents) = np.load(GOLDEN), vae_inputs(VAE)
    tower = load_tower(folder, part="vae")
    sample = golden["vae/mean"] + np.exp(0.5 * golden["vae/logvar"]) * latents
    assert relative_error(tower.encode(mel, latents), 0.5 * sample) < 1e-4
    assert relative_error(tower.decode(0.5 * latents), golden["vae/decoded"]) < 1e-4
    vocoder = load_tower(folder, part="vocoder")
    assert relative_error(vocoder(hifigan_example(vocoder.config)[2]), golden["hifigan/audioldm"]) < 1e-4


@pytest.mark.slow
def test_the_tower_of_the_u_net_gives_the_output_of_diffusers(pipeline):
    folder, _ = pipeline
    golden, unet = np.load(GOLDEN), load_tower(folder, part="unet", **HEADS)
    assert relative_error(unet(*unet_inputs(unet.config)), golden["unet/re-audioldm"]) < 1e-4


@pytest.mark.parametrize("name", ["audioldm", "audioldm2"])
def test_u_nets_of_folders(tmp_path, name):
    facts, variables, state = part("unet", UNETS[name])
    tower = load_tower(write_folder(tmp_path / "unet", facts, state), **HEADS)
    assert tower.config == replace(UNETS[name], heads="diffusers", head_width=32)
    jax.tree.map(np.testing.assert_array_equal, dict(tower.params), variables)


def test_normalising_vocoders_keep_mean_and_scale(tmp_path):
    facts, variables, state = part("vocoder", HIFIGANS["speecht5"])
    assert (state["mean"].shape, state["scale"].shape) == ((6,), (6,))
    tower = load_tower(write_folder(tmp_path / "vocoder", facts, state, "model.safetensors"))
    assert tower.config == HIFIGANS["speecht5"]
    jax.tree.map(np.testing.assert_array_equal, dict(tower.params), variables)


def test_first_names_of_the_autoencoders_attention(tmp_path):
    facts, variables, state = part("vae", VAE)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    renamed = {}
    for name, array in state.items():
        for new, first in old.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{first}.")
        renamed[name] = array
    assert "decoder.mid_block.attentions.0.proj_attn.bias" in renamed
    tower = load_tower(write_folder(tmp_path / "vae", facts, renamed))
    assert tower.config == VAE
    jax.tree.map(np.testing.assert_array_equal, dict(tower.params), variables)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("unet", {"layers_per_block": 2}, "missing: down_blocks.0.resnets.1"),
        ("unet", {"block_out_channels": [8, 24], "cross_attention_dim": [8, 24]}, "of another shape"),
        ("unet", {"cross_attention_dim": 768}, "cross_attention_dim is 768"),
        ("unet", {"use_linear_projection": True}, "use_linear_projection is True, and this tower has False alone"),
        ("unet", {"class_embed_type": "timestep"}, "class_embed_type is 'timestep'"),
        ("unet", {"class_embed_type": None, "class_embeddings_concat": False}, "unexpected: class_embedding"),
        ("unet", {"class_embeddings_concat": False}, "class_embeddings_concat is False, and this tower has True alone"),
        ("unet", {"norm_num_groups": 3}, "its sizes make no model"),
        ("unet", {"down_block_types": ["DownBlock2D", "AttnDownBlock2D"]}, "down_block_types is"),
        ("unet", {"layers_per_block": 900_000}, "speaks of 3600004 layers"),
        ("vae", {"block_out_channels": [4, 8, 8]}, "down_block_types"),
        ("vae", {"scaling_factor": "big"}, "scaling_factor is 'big'"),
        ("vae", {"latent_channels": 4}, "of another shape"),
        ("vae", {"norm_num_groups": 3}, "its sizes make no model .4 channels do not divide into 3 groups"),
        ("vocoder", {"resblock_kernel_sizes": [3]}, "its sizes make no model"),
        ("vocoder", {"resblock_dilation_sizes": [3]}, "resblock_dilation_sizes is"),
        ("vocoder", {"normalize_before": "no"}, "normalize_before is 'no'"),
        ("vocoder", {"normalize_before": True}, "missing: mean"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(tmp_path, name, changes, words):
    config = {"unet": UNETS["audioldm"], "vae": VAE, "vocoder": HIFIGANS["audioldm"]}[name]
    facts, _, state = part(name, config)
    with pytest.raises((UsageError, ConversionError), match=words):
        load_tower(write_folder(tmp_path / name, facts | changes, state), **HEADS if name == "unet" else {})


def authors_unet(state, config):
    """The names of CompVis' U-Net for diffusers' state, counted up as its constructor does."""
    inside = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0"}
    inside |= {"conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
    outer = {"conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2", "class_embedding": "film_emb"}
    outer |= {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2"}
    count, block = len(config.contexts), 0
    for level in range(2):
        for j in range(config.blocks):
            block += 1
            outer[f"down_blocks.{level}.resnets.{j}"] = f"input_blocks.{block}.0"
            outer |= {f"down_blocks.{level}.attentions.{j * count + k}": f"input_blocks.{block}.{1 + k}" for k in range(count)}
        block += 1
        outer[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{block}.0.op"
    for block in range(2 * (config.blocks + 1)):
        level, j = divmod(block, config.blocks + 1)
        outer[f"up_blocks.{level}.resnets.{j}"] = f"output_blocks.{block}.0"
        outer |= {f"up_blocks.{level}.attentions.{j * count + k}": f"output_blocks.{block}.{1 + k}" for k in range(count)}
    outer["up_blocks.0.upsamplers.0.conv"] = f"output_blocks.{config.blocks}.{1 + count}.conv"
    outer |= {"mid_block.resnets.0": "middle_block.0", "mid_block.resnets.1": f"middle_block.{1 + count}"}
    outer |= {f"mid_block.attentions.{k}": f"middle_block.{1 + k}" for k in range(count)}
    return renamed(state, outer, inside)


def authors_vae(state):
    outer = {"quant_conv": "quant_conv", "post_quant_conv": "post_quant_conv"}
    for side, way in (("encoder", "down"), ("decoder", "up")):
        for level in range(2):
            number = level if way == "down" else 1 - level
            outer[f"{side}.{way}_blocks.{level}.{way}samplers.0.conv"] = f"{side}.{way}.{number}.{way}sample.conv"
            outer |= {f"{side}.{way}_blocks.{level}.resnets.{j}": f"{side}.{way}.{number}.block.{j}" for j in range(3)}
        outer |= {f"{side}.mid_block.resnets.{j}": f"{side}.mid.block_{j + 1}" for j in range(2)}
        inner = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
        outer |= {f"{side}.mid_block.attentions.0.{ours}": f"{side}.mid.attn_1.{theirs}" for ours, theirs in inner.items()}
        outer |= {f"{side}.conv_{end}": f"{side}.conv_{end}" for end in ("in", "out")} | {f"{side}.conv_norm_out": f"{side}.norm_out"}
    found = renamed(state, outer, {"conv_shortcut": "nin_shortcut"})
    return {name: array[..., None, None] if ".attn_1." in name and array.ndim == 2 else array for name, array in found.items()}


def renamed(state, outer, inside):
    """The state with the longest fitting beginning of each name replaced by `outer`, and what follows it by `inside`."""
    found = {}
    for name, array in state.items():
        start = max((key for key in outer if name.startswith(f"{key}.")), key=len)
        stem, _, leaf = name[len(start) + 1 :].rpartition(".")
        found[".".join(word for word in (outer[start], inside.get(stem, stem), leaf) if word)] = array
    assert len(found) == len(state)
    return found


@pytest.fixture(scope="module")
def ckpt(tmp_path_factory):
    """A file with the authors' names and what lies beside the parts' weights in it, and the parts' variables."""
    states = {"unet": part("unet", WIDE), "vae": part("vae", GROUPED), "vocoder": part("vocoder", VOCODER)}
    kept = {name: variables for name, (_, variables, _) in states.items()}
    state = {f"model.diffusion_model.{name}": array for name, array in authors_unet(states["unet"][2], WIDE).items()}
    state |= {f"first_stage_model.{name}": array for name, array in authors_vae(states["vae"][2]).items()}
    vocoder = {name.replace("upsampler.", "ups."): array for name, array in states["vocoder"][2].items()}
    state |= {f"first_stage_model.vocoder.{name}": array for name, array in vocoder.items()}
    averages = {f"model_ema.{name[6:].replace('.', '')}": array + 1 for name, array in state.items() if name.startswith("model.")}
    state |= averages | {"scale_factor": np.float32(0.25), "betas": np.zeros(10, np.float32), "model_ema.decay": np.float32(0.9999)}
    kept["text_encoder"] = filled(PLAIN)
    state |= {name.replace("module.", "cond_stage_model.model."): array for name, array in laion_state(PLAIN, kept["text_encoder"]).items()}
    return write_ckpt(tmp_path_factory.mktemp("ckpt") / "audioldm.ckpt", state), kept, state


def write_ckpt(path, state):
    saved = {"global_step": 7, "state_dict": {name: torch_layout.tensor(array) for name, array in state.items()}}
    path.write_bytes(torch_layout.zip_file(saved))
    return path


def test_parts_of_a_ckpt(ckpt, monkeypatch):
    path, kept, _ = ckpt
    monkeypatch.setattr(laion_clap, "HEAD_WIDTH", 8)
    clap = replace(PLAIN, text=replace(PLAIN.text, norm_eps=1e-5), audio=replace(PLAIN.audio, image=256, sample_rate=48_000))
    configs = {"unet": WIDE, "vae": replace(GROUPED, scaling_factor=0.25), "vocoder": VOCODER, "text_encoder": clap}
    for name, variables in kept.items():
        tower = load_tower(path, part=name)
        assert tower.config == configs[name]
        assert all(used.startswith(parts.PREFIXES[name]) for used in tower.report.used.values())
        jax.tree.map(np.testing.assert_array_equal, dict(tower.params), variables)


@pytest.mark.parametrize("part", ["unet", "vae", "vocoder"])
def test_a_part_of_a_ckpt_goes_out_as_diffusers_has_it(ckpt, part, tmp_path):
    store.convert(ckpt[0], tmp_path / "own", part=part, param_dtype="float32", source=None, licence="mit")
    ours, public = store.open_converted(tmp_path / "own"), publish_converted(tmp_path / "own", tmp_path / "public")
    assert json.loads((public / "config.json").read_text())
    theirs = load_tower(public)
    assert theirs.config == ours.config
    for path, leaf in flat_paths(ours.params).items():
        np.testing.assert_allclose(flat_paths(theirs.params)[path], leaf, rtol=1e-6, err_msg=path)


def test_a_ckpt_beside_another_models_config(ckpt, tmp_path):
    shutil.copy(ckpt[0], tmp_path / "audioldm.ckpt")
    (tmp_path / "config.json").write_text('{"sampling_rate": 16000}')
    assert load_tower(tmp_path / "audioldm.ckpt", part="unet").config == WIDE


def test_averages_of_a_ckpt(ckpt, tmp_path):
    path, kept, state = ckpt
    tower = load_tower(path, part="unet_ema")
    assert tower.config == WIDE
    assert all(used.startswith("model_ema.diffusion_model") for used in tower.report.used.values())
    jax.tree.map(lambda ours, plain: np.testing.assert_array_equal(ours, plain + 1), dict(tower.params), kept["unet"])
    gone = next(name for name in state if name.startswith("model_ema.diffusion"))
    with pytest.raises(UsageError, match="1 weights of the U-Net have no average, such as 'model_ema.diffusion_model"):
        load_tower(write_ckpt(tmp_path / "a.ckpt", {name: array for name, array in state.items() if name != gone}), part="unet_ema")
    bare = {name: array for name, array in state.items() if not name.startswith("model_ema.")}
    with pytest.raises(UsageError, match="has no part 'unet_ema': choose part= from text_encoder, unet, vae, vocoder"):
        load_tower(write_ckpt(tmp_path / "b.ckpt", bare), part="unet_ema")


def test_a_vocoder_whose_weight_norm_is_still_there(tmp_path):
    _, variables, _ = part("vocoder", VOCODER)
    state = export(variables, hifigan.original_family(VOCODER))
    assert state["upsampler.0.weight_g"].shape == (state["upsampler.0.weight_v"].shape[0], 1, 1)
    file = tmp_path / "g_02500000.safetensors"
    save_file({name.replace("upsampler.", "ups."): array for name, array in state.items()}, file)
    tower = load_tower(file)
    assert tower.config == VOCODER
    jax.tree.map(np.testing.assert_array_equal, dict(tower.params), variables)


def test_a_ckpt_wants_a_part(ckpt):
    path, *_ = ckpt
    with pytest.raises(UsageError, match="holds several models: choose part= from text_encoder, unet, unet_ema, vae, vocoder"):
        load_tower(path)
    with pytest.raises(UsageError, match="has no part 'scheduler'"):
        load_tower(path, part="scheduler")


def test_a_damaged_list_of_parts_is_named(tmp_path):
    (tmp_path / "model_index.json").write_text("[]")
    with pytest.raises(UsageError, match="model_index.json: is no list of a pipeline's models"):
        load_tower(tmp_path, part="unet")
