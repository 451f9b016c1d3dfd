"""The installed configs: they load, their sizes are the published ones, and a step at published widths runs on 8 fake devices."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.config import config_from_json, config_to_json, installed_configs, load_config, to_dict
from audiojax.encoders import bert
from audiojax.models import llama
from audiojax.papers import PAPERS
from audiojax.partition import flat_paths
from audiojax.trainer.layout import make_layout, put_batch, shardings_of, wrap_step
from audiojax.trainer.optim import make_optimizer
from audiojax.trainer.state import create_state
from audiojax.trainer.step import make_train_step
from tests.published import lowered_step, phase_of, task_of

TRUNKS = {"cnn14": 75_477_440, "resnet38": 68_507_072}
ROBERTA_BASE = 124_645_632 - 768 * 769  # without the pooler
BERT_BASE = 109_482_240 - 768 * 769  # without the pooler
AUDIO_HEAD = 2048 * 2048 + 2048 + 2048 * 1024 + 1024
TEXT_HEAD = 768 * 2048 + 2048 + 2048 * 1024 + 1024
TOWERS = [f"towers/soundworld:{name},base" for name in ("clap,field", "audiomae", "beats", "bert", "t5", "llama", "tagger")]
DENOISER = 10 * 1024**2 + 7 * 1024 + 1
DAC = ["dac/soundworld:base", "dac/soundworld:mini,rival", "dac/audiocaps:ladic", "dac/audiocaps:rival"]
COATTENTION = ["coattention/soundworld:base,dual", "coattention/soundworld:mini,stack", "coattention/audiocaps:single"]
LINK = ["diffusion_link/soundworld:base,ridge", "diffusion_link/soundworld:mini,text_only", "diffusion_link/audiocaps:memory"]
LINK += ["diffusion_link/soundworld:mini,decoder", "diffusion_link/audiocaps:decoder"]
MAKER = ["re_audioldm/soundworld:base,autoencoder", "re_audioldm/soundworld:mini,vocoder", "re_audioldm/audiocaps:vocoder"]
MAKER += [f"re_audioldm/soundworld:{words}" for words in ("base,diffusion", "mini,plain", "mini,joint", "debug,audio", "debug,text")]
MAKER += ["re_audioldm/audiocaps:diffusion", "re_audioldm/audiocaps:diffusion,large"]
DIFFATR = ["diffatr/soundworld:base", "diffatr/soundworld:mini,generative"]
NAMES = [*installed_configs(), *DIFFATR, *TOWERS, *COATTENTION, *DAC, *LINK, *MAKER]
DEAR = {"coattention/clotho", "dac/clotho", "diffatr/clotho"}  # the networks of AudioCaps
DEAR |= {"diffusion_link/audiocaps:decoder", "re_audioldm/audiocaps:diffusion", "re_audioldm/audiocaps:diffusion,large"}


def shapes(rows, samples, tokens):
    return {
        "waveform": jax.ShapeDtypeStruct((rows, samples), jnp.float32),
        "text_ids": jax.ShapeDtypeStruct((rows, tokens), jnp.int32),
        "text_mask": jax.ShapeDtypeStruct((rows, tokens), jnp.bool_),
        "clip_index": jax.ShapeDtypeStruct((rows,), jnp.int32),
    }


def assert_steps(found):
    """What comes out of a step goes into the next one."""
    after, metrics = found.step.out_info
    assert jax.tree.map(lambda x: x.shape, after.params) == jax.tree.map(lambda x: x.shape, found.state.params)
    assert metrics["loss"].shape == ()


@cache
def abstract_of(name, phase):
    """Shapes of everything that a phase of a config starts from; nobody changes them."""
    config = to_dict(load_config(name))
    vocab_size = 50_265 if config["model"].get("text_preset") == "roberta-base" else 30_522
    return jax.eval_shape(task_of(config, phase, vocab_size).init, jax.random.key(0), shapes(1, 64_000, 8))


@pytest.mark.parametrize("name", NAMES)
def test_every_config_loads_and_keeps_its_values_as_json(name):
    config = load_config(name)
    assert to_dict(config_from_json(config_to_json(config))) == to_dict(config)
    PAPERS[config.paper].check(to_dict(config))


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in DEAR else ()) for name in NAMES])
def test_the_groups_of_every_config_are_those_of_its_parameters(name):
    config = to_dict(load_config(name))
    for phase in config["phases"]:
        made = phase_of(config, phase)
        make_optimizer(made.groups, abstract_of(name, phase)["params"], made.steps)


@pytest.mark.parametrize(("name", "audio"), [("diffatr/audiocaps", "cnn14"), ("diffatr/clotho:resnet38", "resnet38")])
def test_published_sizes(name, audio):
    params = abstract_of(name, "hybrid")["params"]
    count = {key: sum(leaf.size for leaf in jax.tree.leaves(tree)) for key, tree in params.items()}
    assert count == {"dual": TRUNKS[audio] + BERT_BASE + AUDIO_HEAD + TEXT_HEAD, "denoiser_t2a": DENOISER, "denoiser_a2t": DENOISER}


@pytest.mark.parametrize(
    ("name", "units"), [("coattention/audiocaps:single", 1), ("coattention/audiocaps", 1), ("coattention/audiocaps:stack", 2)]
)
def test_published_sizes_of_co_attention(name, units):
    """Note, checks 5 and 6: one unit has 32 D^2 + 38 D parameters, and iterating adds none."""
    params = abstract_of(name, "pairs")["params"]
    count = {key: sum(leaf.size for leaf in jax.tree.leaves(tree)) for key, tree in params.items()}
    heads = 2 * (768 * 512 + 512) + 2 * 512 * 512
    assert count["dual"] == heads
    assert count["cascade"] == heads + units * (32 * 512**2 + 38 * 512)
    assert sum(leaf.size for leaf in jax.tree.leaves(params["towers"]["text"])) == ROBERTA_BASE


@pytest.mark.slow
def test_a_step_of_published_co_attention_lowers_under_pmap():
    """Three windows of 10 s a clip, 32 clips over 8 devices: all 1,024 pairs."""
    found = lowered_step(to_dict(load_config("coattention/clotho")), "pairs", "pmap", (-1, 1, 1), rows=32)
    assert set(found.frozen) == {"dual"}
    assert_steps(found)


@pytest.mark.parametrize(("name", "width", "ends"), [("dac/audiocaps", 768, 3 * 768**2 + 2 * 768), ("dac/audiocaps:ladic", 1536, 0)])
def test_published_sizes_of_dac(name, width, ends):
    """Note: about 312 M parameters in LaDiC's layers, about 113 M in those of the lightweight denoiser."""
    params = abstract_of(name, "diffusion")["params"]
    count = {
        key: sum(leaf.size for leaf in jax.tree.leaves(tree)) for key, tree in (params | params["towers"] | params["diffuser"]).items()
    }
    own, read = 4 * (width**2 + width), 2 * (width**2 + width) + 2 * (768 * width + width)
    layer = own + read + 2 * width * 3072 + 3072 + width + 6 * width
    assert round(12 * layer / 1e6) == {768: 113, 1536: 312}[width]
    assert count["denoiser"] == 12 * layer + ends + 512 * width + 2 * width
    assert count["projection"] == 768**2 + 3 * 768
    assert count["text"] == BERT_BASE
    assert count["head"] == 768**2 + 3 * 768 + 30_522 * 769
    assert params["diffuser"]["denoiser"]["layer_0"]["cross"]["key"]["kernel"].shape == (768, width)


@pytest.mark.parametrize(
    ("name", "phase", "parallel"),
    [
        ("dac/audiocaps", "diffusion", "pmap"),
        ("dac/audiocaps:ladic", "diffusion", "mesh"),
        ("dac/audiocaps:rival", "autoregressive", "pmap"),
    ],
)
@pytest.mark.slow
def test_a_step_of_published_dac_lowers(name, phase, parallel):
    """64 clips of 496 stored tokens over 8 devices; on the mesh over fsdp = 4 and tensor = 2."""
    found = lowered_step(to_dict(load_config(name)), phase, parallel, (1, 4, 2), rows=64)
    assert set(found.frozen) == {"towers"}
    assert_steps(found)


@pytest.mark.parametrize(("phase", "name", "count"), [("autoencoder", "vae", 55_376_873), ("vocoder", "vocoder", 55_264_897)])
def test_published_sizes_of_autoencoder_and_vocoder(phase, name, count):
    """Note, components 6 and 7; gains of the vocoder's kernels come on top."""
    params = abstract_of(f"re_audioldm/audiocaps:{phase}", phase)["params"][name]
    assert sum(leaf.size for leaf in jax.tree.leaves(params.get("direction", params))) == count


@pytest.mark.parametrize("phase", ["autoencoder", "vocoder"])
@pytest.mark.parametrize("parallel", ["pmap", "mesh"])
@pytest.mark.slow
def test_a_step_of_the_published_autoencoder_and_vocoder_lowers(phase, parallel):
    """Whole clips of 10.24 s over 8 devices; on the mesh over fsdp = 4 and tensor = 2."""
    assert_steps(lowered_step(to_dict(load_config(f"re_audioldm/audiocaps:{phase}")), phase, parallel, (1, 4, 2)))


@pytest.mark.parametrize("parallel", ["pmap", pytest.param("mesh", marks=pytest.mark.slow)])
def test_a_step_of_the_published_bridge_lowers(parallel):
    """256 stored pairs over 8 devices; on the mesh over fsdp = 4 and tensor = 2."""
    found = lowered_step(to_dict(load_config("diffusion_link/audiocaps")), "link", parallel, (1, 4, 2), rows=256)
    assert sum(leaf.size for leaf in jax.tree.leaves(found.state.params)) == 20_212_224
    assert_steps(found)


@pytest.mark.slow
def test_a_step_of_the_published_decoder_lowers(monkeypatch):
    """Two of the 32 layers, 32 captions over fsdp = 4 and tensor = 2: adapters and head in float32 beside a base in bfloat16."""
    monkeypatch.setitem(llama.PRESETS, "llama-2-7b", replace(llama.PRESETS["llama-2-7b"], layers=2))
    config = to_dict(load_config("diffusion_link/audiocaps:decoder"))
    found = lowered_step(config, "decoder", "mesh", config["mesh"], rows=32)
    trainable = found.state.params
    count = {name: sum(leaf.size for leaf in jax.tree.leaves(tree)) for name, tree in trainable.items()}
    assert count == {"adapter": 2 * 4_194_304 // 32, "head": 512 * 2_048 + 2_048 + 2_048 * 40_960 + 40_960}
    assert {leaf.dtype for leaf in jax.tree.leaves(trainable)} == {jnp.dtype("float32")}
    assert {leaf.dtype for leaf in jax.tree.leaves(found.frozen["llama"])} == {jnp.dtype("bfloat16")}
    kernels = {path: leaf for path, leaf in flat_paths(found.shardings[1]["llama"]).items() if path.endswith(("kernel", "embedding"))}
    assert all(set(filter(None, where.spec)) == {"fsdp", "tensor"} for where in kernels.values())
    assert_steps(found)


@pytest.mark.slow
@pytest.mark.parametrize(("words", "count"), [("diffusion", 351_465_992), ("diffusion,large", 771_275_528)])
def test_published_sizes_of_latent_diffusion(words, count):
    """Note, check 2, and the frozen towers around it."""
    params = abstract_of(f"re_audioldm/audiocaps:{words}", "diffusion")["params"]
    found = {key: sum(leaf.size for leaf in jax.tree.leaves(tree)) for key, tree in params.items()}
    assert found["unet"] == count
    assert found["vae"] == 55_376_873
    assert found["clap"] == 125_302_016 + 768 * (30_522 - 50_265)  # its word table has as many rows as the tokenizer here
    assert params.keys() == {"unet", "vae", "clap", "audiomae", "t5"}


@pytest.mark.slow
@pytest.mark.parametrize(("words", "parallel"), [("diffusion", "pmap"), ("diffusion", "mesh"), ("diffusion,large", "mesh")])
def test_a_step_of_published_latent_diffusion_lowers(words, parallel):
    """16 clips of 10.24 s with three retrieved pairs over 8 devices; on the mesh over fsdp = 4 and tensor = 2."""
    found = lowered_step(to_dict(load_config(f"re_audioldm/audiocaps:{words}")), "diffusion", parallel, (1, 4, 2), rows=16)
    assert set(found.state.params) == {"unet"}
    if parallel == "mesh":
        kernels = {path: leaf.spec for path, leaf in flat_paths(found.shardings[0].params).items() if path.endswith("query/kernel")}
        assert all(set(filter(None, spec)) == {"fsdp", "tensor"} for spec in kernels.values())
    assert_steps(found)


@pytest.mark.slow
def test_a_step_at_published_widths_on_four_devices(monkeypatch):
    """On clips of 1.2 s, with 2 of BERT's 12 layers; parameters, moments and gradients are split over fsdp = 4. Each device
    gathers all parameters for its rows: eight would need 14 GB of one machine."""
    monkeypatch.setitem(bert.PRESETS, "base", replace(bert.PRESETS["base"], layers=2))
    config = to_dict(load_config("diffatr/audiocaps", ["mesh=(1,4,1)", "parallel=mesh", "model.dtype=float32"]))
    task, phase, layout = task_of(config, "hybrid"), phase_of(config, "hybrid"), make_layout("mesh", (1, 4, 1), jax.devices()[:4])
    rng = np.random.default_rng(0)
    batch = {
        "waveform": rng.normal(size=(8, 38_400)).astype(np.float32) * 0.1,
        "text_ids": rng.integers(0, 30_522, size=(8, 12)).astype(np.int32),
        "text_mask": np.ones((8, 12), bool),
        "clip_index": np.arange(8, dtype=np.int32),
    }
    abstract = jax.eval_shape(task.init, jax.random.key(0), batch)
    optimizer = make_optimizer(phase.groups, abstract["params"], phase.steps)

    def first(key):
        made = task.init(key, batch)
        return create_state(made["params"], made["model_state"], optimizer, key)

    sharding = shardings_of(layout, jax.eval_shape(first, jax.random.key(0)), abstract["params"], task.partition_rules)
    state = jax.jit(first, out_shardings=sharding)(jax.random.key(0))
    before = np.asarray(state.params["denoiser_t2a"]["mlp_out"]["kernel"])
    split = sum(leaf.addressable_data(0).size for leaf in jax.tree.leaves(state.params))
    whole = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    assert split < whole / 3.9
    step = wrap_step(layout, make_train_step(task, optimizer), sharding, {})
    state, metrics = step(state, {}, put_batch(layout, batch))
    assert np.isfinite(float(metrics["loss"]))
    assert int(state.skipped) == 0
    assert not np.array_equal(before, np.asarray(state.params["denoiser_t2a"]["mlp_out"]["kernel"]))


@pytest.mark.slow
def test_a_step_at_published_size_lowers_under_pmap():
    """Whole clips of 30 s, batch 24 over 8 devices; eight copies of the state would not fit a small machine, so it is not run."""
    assert_steps(lowered_step(to_dict(load_config("diffatr/clotho:resnet38")), "hybrid", "pmap", (-1, 1, 1), rows=24))
