"""The installed configs: they load, their sizes are the published ones, and a step at published size runs on 8 fake devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.config import config_from_json, config_to_json, installed_configs, load_config, to_dict
from audiojax.papers import PAPERS
from audiojax.partition import split_params
from audiojax.trainer.layout import make_layout, put_batch, shardings_of, wrap_step
from audiojax.trainer.optim import make_optimizer
from audiojax.trainer.settings import make_phase
from audiojax.trainer.state import create_state
from audiojax.trainer.step import make_train_step

TRUNKS = {"cnn14": 75_477_440, "resnet38": 68_507_072}
ROBERTA_BASE = 124_645_632 - 768 * 769  # without the pooler
BERT_BASE = 109_482_240 - 768 * 769  # without the pooler
AUDIO_HEAD = 2048 * 2048 + 2048 + 2048 * 1024 + 1024
TEXT_HEAD = 768 * 2048 + 2048 + 2048 * 1024 + 1024
TOWERS = [f"towers/soundworld:{name},base" for name in ("clap,field", "audiomae", "beats", "bert", "t5", "tagger")]
DENOISER = 10 * 1024**2 + 7 * 1024 + 1
DAC = ["dac/soundworld:base", "dac/soundworld:mini,rival", "dac/audiocaps:ladic", "dac/clotho:rival"]
COATTENTION = ["coattention/soundworld:base,dual", "coattention/soundworld:mini,stack", "coattention/audiocaps:single"]


def task_of(config, phase, vocab_size=30_522):
    return PAPERS[config["paper"]].make_task(config, phase, vocab_size=vocab_size)


def phase_of(config, name):
    common = {key: value for key, value in config["train"].items() if key != "eval_batch_size"}
    return make_phase(name, {"seed": config["seed"], "parallel": config["parallel"], "mesh": config["mesh"]}, common, config[name])


def shapes(rows, samples, tokens):
    return {
        "waveform": jax.ShapeDtypeStruct((rows, samples), jnp.float32),
        "text_ids": jax.ShapeDtypeStruct((rows, tokens), jnp.int32),
        "text_mask": jax.ShapeDtypeStruct((rows, tokens), jnp.bool_),
        "clip_index": jax.ShapeDtypeStruct((rows,), jnp.int32),
    }


@pytest.mark.parametrize(
    "name", [*installed_configs(), "diffatr/soundworld:base", "diffatr/soundworld:mini,generative", *TOWERS, *COATTENTION, *DAC]
)
def test_every_config_loads_and_keeps_its_values_as_json(name):
    config = load_config(name)
    assert to_dict(config_from_json(config_to_json(config))) == to_dict(config)
    for phase in config.phases:
        made = phase_of(to_dict(config), phase)
        params = jax.eval_shape(task_of(to_dict(config), phase).init, jax.random.key(0), shapes(1, 64_000, 8))
        make_optimizer(made.groups, params["params"], made.steps)


@pytest.mark.parametrize(("name", "audio"), [("diffatr/audiocaps", "cnn14"), ("diffatr/clotho:resnet38", "resnet38")])
def test_published_sizes(name, audio):
    config = to_dict(load_config(name))
    task = task_of(config, "hybrid")
    params = jax.eval_shape(task.init, jax.random.key(0), shapes(1, 320_000, 48))["params"]
    count = {key: sum(leaf.size for leaf in jax.tree.leaves(tree)) for key, tree in params.items()}
    assert count == {"dual": TRUNKS[audio] + BERT_BASE + AUDIO_HEAD + TEXT_HEAD, "denoiser_t2a": DENOISER, "denoiser_a2t": DENOISER}


@pytest.mark.parametrize(("argument", "units"), [("single", 1), ("iterate", 1), ("stack", 2)])
def test_published_sizes_of_co_attention(argument, units):
    """Note, checks 5 and 6: one unit has 32 D^2 + 38 D parameters, and iterating adds none."""
    config = to_dict(load_config(f"coattention/clotho:{argument}"))
    params = jax.eval_shape(task_of(config, "pairs", 50_265).init, jax.random.key(0), {})["params"]
    count = {key: sum(leaf.size for leaf in jax.tree.leaves(tree)) for key, tree in params.items()}
    heads = 2 * (768 * 512 + 512) + 2 * 512 * 512
    assert count["dual"] == heads
    assert count["cascade"] == heads + units * (32 * 512**2 + 38 * 512)
    assert sum(leaf.size for leaf in jax.tree.leaves(params["towers"]["text"])) == ROBERTA_BASE


@pytest.mark.slow
def test_a_step_of_published_co_attention_lowers_under_pmap():
    """Three windows of 10 s a clip, 32 clips over 8 devices: all 1,024 pairs."""
    config = to_dict(load_config("coattention/clotho"))
    task, phase = task_of(config, "pairs", 50_265), phase_of(config, "pairs")
    rows = {"waveform": jax.ShapeDtypeStruct((8, 4, 3, 480_000), jnp.float32), "windows": jax.ShapeDtypeStruct((8, 4, 3), jnp.bool_)}
    rows |= {"text_ids": jax.ShapeDtypeStruct((8, 4, 64), jnp.int32), "text_mask": jax.ShapeDtypeStruct((8, 4, 64), jnp.bool_)}
    rows |= {"clip_index": jax.ShapeDtypeStruct((8, 4), jnp.int32)}
    abstract = jax.eval_shape(task.init, jax.random.key(0), {})
    trainable, frozen = split_params(abstract["params"], phase.trainable)
    assert set(frozen) == {"dual"}
    optimizer = make_optimizer(phase.groups, trainable, phase.steps)
    state = jax.eval_shape(lambda p, m, k: create_state(p, m, optimizer, k), trainable, abstract["model_state"], jax.random.key(0))
    step = wrap_step(make_layout("pmap"), make_train_step(task, optimizer), None, None)
    after, metrics = step.lower(state, frozen, rows).out_info
    assert jax.tree.map(lambda x: x.shape, after.params) == jax.tree.map(lambda x: x.shape, state.params)
    assert metrics["loss"].shape == ()


@pytest.mark.parametrize(("argument", "width", "ends"), [("base", 768, 3 * 768**2 + 2 * 768), ("ladic", 1536, 0)])
def test_published_sizes_of_dac(argument, width, ends):
    """Note: about 312 M parameters in LaDiC's layers, about 113 M in those of the lightweight denoiser."""
    params = jax.eval_shape(task_of(to_dict(load_config(f"dac/audiocaps:{argument}")), "diffusion").init, jax.random.key(0), {})["params"]
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
    ("argument", "phase", "parallel"),
    [
        pytest.param("base", "diffusion", "pmap", marks=pytest.mark.slow),
        pytest.param("ladic", "diffusion", "mesh", marks=pytest.mark.slow),
        pytest.param("rival", "autoregressive", "pmap", marks=pytest.mark.slow),
    ],
)
def test_a_step_of_published_dac_lowers(argument, phase, parallel):
    """64 clips of 496 stored tokens over 8 devices; on the mesh over fsdp = 4 and tensor = 2."""
    config = to_dict(load_config(f"dac/audiocaps:{argument}"))
    task, phase = task_of(config, phase), phase_of(config, phase)
    lead = (8, 8) if parallel == "pmap" else (64,)
    batch = {
        "audio_values": jax.ShapeDtypeStruct((*lead, 496, 768), jnp.float16),
        "audio_mask": jax.ShapeDtypeStruct((*lead, 496), jnp.bool_),
    }
    batch |= {"text_ids": jax.ShapeDtypeStruct((*lead, 32), jnp.int32), "text_mask": jax.ShapeDtypeStruct((*lead, 32), jnp.bool_)}
    abstract = jax.eval_shape(task.init, jax.random.key(0), {})
    trainable, frozen = split_params(abstract["params"], phase.trainable)
    assert set(frozen) == {"towers"}
    optimizer, layout = make_optimizer(phase.groups, trainable, phase.steps), make_layout(parallel, (1, 4, 2))
    state = jax.eval_shape(lambda p, m, k: create_state(p, m, optimizer, k), trainable, abstract["model_state"], jax.random.key(0))
    shardings = [shardings_of(layout, tree, abstract["params"], task.partition_rules) for tree in (state, frozen)]
    after, metrics = wrap_step(layout, make_train_step(task, optimizer), *shardings).lower(state, frozen, batch).out_info
    assert jax.tree.map(lambda x: x.shape, after.params) == jax.tree.map(lambda x: x.shape, state.params)
    assert metrics["loss"].shape == ()


@pytest.mark.slow
def test_a_step_at_published_size_on_eight_devices():
    """On clips of 1.2 s; parameters, moments and gradients are split over fsdp = 4 and tensor = 2."""
    mesh = (1, 4, 2)
    config = to_dict(load_config("diffatr/audiocaps", [f"mesh={mesh}", "parallel=mesh", "model.dtype=float32"]))
    task, phase, layout = task_of(config, "hybrid"), phase_of(config, "hybrid"), make_layout("mesh", mesh)
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
    config = to_dict(load_config("diffatr/clotho:resnet38"))
    task, phase = task_of(config, "hybrid"), phase_of(config, "hybrid")
    batch = shapes(3, 960_000, 48)
    abstract = jax.eval_shape(task.init, jax.random.key(0), batch)
    optimizer = make_optimizer(phase.groups, abstract["params"], phase.steps)
    state = jax.eval_shape(lambda p, m, k: create_state(p, m, optimizer, k), abstract["params"], abstract["model_state"], jax.random.key(0))
    rows = jax.tree.map(lambda x: jax.ShapeDtypeStruct((8, *x.shape), x.dtype), batch)
    lowered = wrap_step(make_layout("pmap"), make_train_step(task, optimizer), None, None).lower(state, {}, rows)
    after, metrics = lowered.out_info
    assert jax.tree.map(lambda x: x.shape, after.params) == jax.tree.map(lambda x: x.shape, state.params)
    assert metrics["loss"].shape == ()
