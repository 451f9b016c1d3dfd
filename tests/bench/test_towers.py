"""The bench of towers at tiny size: both sides build, run and are the same network, and what runs is told as it should be."""

from typing import ClassVar

import jax
import numpy as np
import pytest

from audiojax.bench import harness, towers, towers_jax
from audiojax.bench.harness import Sample, Side
from audiojax.errors import AudiojaxError, UsageError

SHAPES = {
    "generate": (1, 10_272),
    "unet": (2, 16, 8, 8),
    "train_step": (2,),
    "vae_decode": (1, 32, 16),
    "hifigan": (1, 1952),
    "clap_audio": (2, 128),
    "clap_text": (2, 128),
    "bert": (2, 8, 128),
    "t5": (2, 8, 128),
    "cnn14": (2, 527),
    "log_mel": (2, 26, 64),
    "text_denoiser": (2, 8, 32),
    "caption_decoder": (2, 5),
    "llama_1": (1, 5),
    "llama_4": (4, 5),
    "llama_16": (16, 5),
}
UNUSED = {  # parameters of the torch side that the case does not read
    "generate": ("vae.encoder.", "vae.quant_conv."),
    "vae_decode": ("encoder.", "quant_conv."),
    "text_denoiser": ("bert.embeddings.word", "bert.embeddings.token_type"),
    "caption_decoder": ("bert.embeddings.token_type",),
}
QUICK = ("bert", "cnn14", "llama_4")


def parameters(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_every_case_has_a_shape_here():
    assert SHAPES.keys() == towers.CASES.keys()


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SHAPES])
def test_our_side_runs(name):
    call, facts = towers_jax.prepare(towers.CASES[name].spec(small=True))
    result = call()
    assert result.shape == facts["shape"] == SHAPES[name]
    assert facts["finite"]
    assert facts["items"] == (np.prod(SHAPES[name]) if name.startswith(("llama", "caption")) else SHAPES[name][0])
    assert facts["first_seconds"] > 0
    assert facts["flops"] > 0
    assert (facts["platform"], facts["device"]) == ("cpu", "cpu")


def test_operations_are_those_of_the_products():
    """Of BERT's layers: 2 a weight and token, and the two products of the attention; the rest is a few per cent."""
    config, built = towers_jax.build(towers.CASES["bert"].spec(small=True))
    ((times, function, inputs),) = built.costs
    rows, length = inputs[1].shape
    weights = config.layers * (4 * config.width**2 + 2 * config.width * config.hidden)
    products = rows * length * (2 * weights + 4 * config.layers * length * config.width)
    assert products < times * towers_jax.operations(function, inputs) < 1.1 * products


def test_a_loop_counts_as_often_as_it_turns():
    config, built = towers_jax.build(towers.CASES["llama_4"].spec(small=True))
    (once, _, _), (turns, step, inputs) = built.costs
    assert (once, turns) == (1, 4)  # of 5 new tokens, the first is the prompt's
    weights = config.layers * (2 * config.width * (config.heads + config.kv_heads) * config.head_width + 3 * config.width * config.hidden)
    products = 2 * 4 * (weights + config.width * config.vocab_size)
    assert products < towers_jax.operations(step, inputs) < 1.2 * products


def test_our_side_takes_no_tf32(monkeypatch):
    seen = []

    def make(rng, config, shape):
        inputs = (jax.numpy.ones(shape),)
        function = jax.jit(lambda x: seen.append(jax.config.jax_default_matmul_precision) or x @ x.T)
        return towers_jax.Built(function, inputs, 2, ((1, function, inputs),))

    monkeypatch.setattr(towers_jax, "NETWORKS", {"bert": (make, towers_jax.bert.PRESETS)})
    towers_jax.prepare(towers.CASES["bert"].spec(small=True))
    assert seen
    assert set(seen) == {"highest"}


class FakeWorker:
    """Notes what it was told; takes a second a call."""

    told: ClassVar[list] = []  # (module, spec)
    memory_mib = 1.0

    def __init__(self, module, spec):
        FakeWorker.told.append((module, spec))
        shape = [1] if spec.get("form") == "bfloat16" else [2]
        self.facts = {"first_seconds": 2.0, "items": 4, "platform": "cpu", "device": "cpu", "shape": shape, "finite": True, "flops": 8e9}
        self.facts["config"] = {"width": 3}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def sample(self):
        return Sample(1.0, 0.0)


@pytest.fixture
def told(monkeypatch):
    monkeypatch.setattr(harness, "find_spec", lambda name: True)
    monkeypatch.setattr(harness, "Worker", FakeWorker)
    monkeypatch.setattr(FakeWorker, "told", [])
    return FakeWorker.told


def test_torch_is_told_our_config_and_shares_our_count(told):
    lines = []
    rows = towers.run("unet", torch_forms=("eager", "channels_last"), report=lines.append)
    assert [module for module, _ in told] == ["audiojax.bench.towers_jax", *["audiojax.bench.towers_torch"] * 2]
    assert told[0][1]["preset"] == "audioldm-s"
    assert [spec["form"] for _, spec in told[1:]] == ["eager", "channels_last"]
    assert all(spec["ours"]["config"] == {"width": 3} for _, spec in told[1:])
    assert [row.side for row in rows] == ["audiojax", "torch eager", "torch channels_last"]
    assert [row.gflops for row in rows] == [8.0] * 3
    assert [row.ratio for row in rows] == [None, 1.0, 1.0]
    assert rows[0].case == "unet: U-Net of AudioLDM-S, latents [b, t, f, c] = [2, 256, 16, 8]; items are latents"
    assert "torch channels_last: first call 2.0 s" in lines


def test_forms_that_a_case_lacks_make_no_row(told):
    rows = towers.run("llama_4", small=True, torch_forms=("eager", "channels_last", "compile"))
    assert [row.side for row in rows] == ["audiojax", "torch eager"]
    assert told[0][1]["preset"] == "tiny"


def test_another_shape_is_another_network(told):
    with pytest.raises(AudiojaxError, match=r"torch bfloat16 makes \[1\] and audiojax \[2\]"):
        towers.run("bert", torch_forms=("eager", "bfloat16"))


def test_numbers_that_are_not_finite_are_refused():
    good = {"shape": [2], "finite": True}
    towers.check(Side("torch eager", "", {}), good, good)
    with pytest.raises(AudiojaxError, match="torch eager makes numbers that are not finite"):
        towers.check(Side("torch eager", "", {}), good | {"finite": False}, good)


def test_axes_of_the_input_may_have_other_sizes(told):
    towers.run("generate", shape={2: 200}, torch_forms=("eager", "compile"))
    assert [spec["shape"] for _, spec in told] == [[1, 256, 200]] * 3


@pytest.mark.slow
def test_a_step_of_training_changes_what_the_next_one_finds():
    """Calls are steps of one run; its operations are about three times those of the forward pass."""
    call, facts = towers_jax.prepare(towers.CASES["train_step"].spec(small=True))
    errors = [np.asarray(call()) for _ in range(3)]
    assert errors[0].mean() > errors[1].mean() > errors[2].mean()
    _, forward = towers_jax.prepare(towers.CASES["unet"].spec(small=True))
    assert 2.5 < facts["flops"] / forward["flops"] < 4


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setattr(harness, "find_spec", lambda name: None if name == "diffusers" else True)
    with pytest.raises(UsageError, match=r"compares with diffusers: .*audiojax\[parity\]"):
        towers.run("bert", small=True)


FORMS = [(name, "eager") for name in SHAPES]
FORMS += [("cnn14", "channels_last"), ("unet", "channels_last"), ("bert", "bfloat16"), ("train_step", "bfloat16")]


@pytest.mark.parity
@pytest.mark.parametrize(("name", "form"), FORMS)
def test_the_torch_side_runs(name, form):
    pytest.importorskip("torch")
    from audiojax.bench import towers_torch

    spec = towers.CASES[name].spec(small=True)
    config, _ = towers_jax.build(spec)
    call, facts = towers_torch.prepare(spec | {"form": form, "ours": {"platform": "cpu", "config": towers_jax.asdict(config)}})
    assert tuple(call().shape) == tuple(facts["shape"]) == SHAPES[name]
    assert facts["finite"]
    assert facts["items"] == (np.prod(SHAPES[name]) if name.startswith(("llama", "caption")) else SHAPES[name][0])


@pytest.mark.parity
@pytest.mark.parametrize("name", [name for name in SHAPES if name != "log_mel"])
def test_both_sides_have_as_many_parameters_at_published_size(monkeypatch, name):
    torch = pytest.importorskip("torch")
    from audiojax.bench import towers_torch

    monkeypatch.setattr(towers_jax, "fill", lambda rng, shapes: shapes)
    case = towers.CASES[name]
    config, ours = towers_jax.build(case.spec(small=False))
    with torch.device("meta"):
        theirs = towers_torch.NETWORKS[case.network](towers_jax.asdict(config), case.published.shape)
    counted = sum(value.numel() for key, value in theirs.module.named_parameters() if not key.startswith(UNUSED.get(name, ())))
    assert counted == parameters(ours.inputs[0]["params"])


@pytest.mark.parity
def test_both_sides_in_processes_of_their_own():
    pytest.importorskip("torch")
    rows = towers.run("bert", small=True, samples=1, attempts=1, allow_noise=True)
    assert [row.side for row in rows] == ["audiojax", "torch eager"]
    assert all(row.gflops > 0 for row in rows)
    assert rows[1].ratio > 0
