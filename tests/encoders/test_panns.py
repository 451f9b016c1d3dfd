"""CNN14 and ResNet38: published sizes, torch's outputs from a golden file, and what batch, padding, jit and devices must not change."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from audiojax.encoders.panns import PRESETS, Panns, PannsConfig, ResidualBlock, largest_frame
from tests.encoders.filling import filled_variables, mel_batch, relative_error

GOLDEN = Path(__file__).parents[1] / "golden" / "towers.npz"
NARROW = {
    "cnn14": PannsConfig(channels=(4, 6, 8, 10, 12, 16), head=True, classes=7),
    "resnet38": PannsConfig(arch="resnet38", channels=(4, 4, 6, 8, 10, 16), depths=(2, 1, 2, 1), head=True, classes=7),
}
ARCHS = sorted(NARROW)
SHALLOW = {
    "cnn14": PannsConfig(channels=(4, 6, 8), head=True, classes=7),
    "resnet38": PannsConfig(arch="resnet38", channels=(4, 4, 6, 8), depths=(2, 1), head=True, classes=7),
}


def shapes(module, frames):
    """(variables, output) as shapes only."""
    mel = jnp.zeros((1, frames, module.config.mels))
    variables = jax.eval_shape(lambda: module.init(jax.random.key(0), mel, train=False))
    return variables, jax.eval_shape(lambda v: module.apply(v, mel, train=False), variables)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("preset", ["published_16k", "published_32k"])
@pytest.mark.parametrize(("arch", "trunk", "with_head"), [("cnn14", 75_477_440, 80_753_615), ("resnet38", 68_507_072, 73_783_247)])
def test_published_sizes(arch, trunk, with_head, preset):
    config = PRESETS[arch][preset]
    for head, expected in ((False, trunk), (True, with_head)):
        variables, out = shapes(Panns(replace(config, head=head)), 1001)
        assert count(variables["params"]) == expected
        assert out.clip.shape == (1, 2048)
        assert out.frames.shape == (1, 31, 2048)
    assert out.embedding.shape == (1, 2048)
    assert out.clipwise.shape == (1, 527)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize(("frames", "steps"), [(3001, 93), (1001, 31), (64, 2), (63, 1), (32, 1)])
def test_time_steps_follow_the_flooring_of_five_halvings(arch, frames, steps):
    assert shapes(Panns(NARROW[arch]), frames)[1].frames.shape[1] == steps


def test_last_pool_switch():
    pooled = replace(NARROW["cnn14"], last_pool=(2, 2))
    assert shapes(Panns(pooled), 1001)[1].frames.shape == (1, 15, 16)


@pytest.mark.parametrize("arch", ARCHS)
def test_tiny_presets_cost_at_most_a_tenth_of_a_gigaflop(arch):
    module = Panns(PRESETS[arch]["tiny"])
    mel = jax.ShapeDtypeStruct((1, 384, 64), jnp.float32)
    variables, out = shapes(module, 384)
    compiled = jax.jit(lambda v, m: module.apply(v, m, train=False)).lower(variables, mel).compile()
    assert 0.01e9 < compiled.cost_analysis()["flops"] <= 0.1e9
    assert out.clip.shape == (1, module.config.width)


@pytest.mark.parametrize("arch", ARCHS)
def test_outputs_of_the_torch_twin(arch):
    """The golden file holds what the torch twin of tests/parity gives for these numbers; see tests/golden/make_towers.py."""
    module, mel = Panns(NARROW[arch]), mel_batch(2, 107)
    out = evaluate(module, filled_variables(module, mel), mel)
    golden = np.load(GOLDEN)
    for name in ("clip", "frames", "embedding", "clipwise"):
        reference = golden[f"{arch}/{name}"]
        assert reference.std() > 1e-2
        assert relative_error(getattr(out, name), reference) < 1e-4, name


@pytest.fixture(scope="module", params=ARCHS)
def tower(request):
    module, mel = Panns(SHALLOW[request.param]), mel_batch(4, 39, seed=1)
    variables = filled_variables(module, mel)
    return module, variables, mel, partial(evaluate, module)


def test_rows_are_independent(tower):
    _, variables, mel, encode = tower
    out = encode(variables, mel)
    order = [2, 0, 3, 1]
    for one, permuted in zip(out, encode(variables, mel[order]), strict=True):
        np.testing.assert_allclose(permuted, one[jnp.array(order)], rtol=1e-5, atol=1e-5)
    for one, alone in zip(out, encode(variables, mel[1:2]), strict=True):
        np.testing.assert_allclose(alone[0], one[1], rtol=1e-4, atol=1e-5)


def test_clip_is_max_plus_mean_of_frames(tower):
    _, variables, mel, encode = tower
    out = encode(variables, mel)
    np.testing.assert_allclose(out.clip, out.frames.max(axis=1) + out.frames.mean(axis=1), rtol=1e-5, atol=1e-6)


SMALL = PannsConfig(channels=(2, 3), dropout=0.0)


@partial(jax.jit, static_argnums=0)
def train_once(module, variables, mel, seed=0):
    """(output, new statistics) of one training-mode pass."""
    keys = dict(zip(("dropout", "augment"), jax.random.split(jax.random.key(seed)), strict=True))
    return module.apply(variables, mel, train=True, mutable=["batch_stats"], rngs=keys)


@partial(jax.jit, static_argnums=0)
def evaluate(module, variables, mel):
    """Output in evaluation mode."""
    return module.apply(variables, mel, train=False)


def test_jit_equals_no_jit():
    module, mel = Panns(replace(SMALL, head=True, classes=7)), mel_batch(2, 20)
    variables = filled_variables(module, mel)
    for a, b in zip(evaluate(module, variables, mel), module.apply(variables, mel, train=False), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_bn0_statistics_are_per_mel_bin():
    module, mel = Panns(SMALL), mel_batch(3, 20)
    variables = filled_variables(module, mel)
    old = variables["batch_stats"]["bn0"]
    new = train_once(module, variables, mel)[1]["batch_stats"]["bn0"]
    np.testing.assert_allclose(new["mean"], 0.9 * old["mean"] + 0.1 * mel.mean(axis=(0, 1)), rtol=1e-4)
    np.testing.assert_allclose(new["var"], 0.9 * old["var"] + 0.1 * mel.var(axis=(0, 1)), rtol=1e-3)


def test_statistics_over_devices_equal_those_of_the_whole_batch():
    mel = mel_batch(4, 16)
    variables = filled_variables(Panns(SMALL), mel)
    whole, stats = train_once(Panns(SMALL), variables, mel)
    split = Panns(SMALL, axis_name="data")
    parallel = jax.pmap(lambda m: train_once(split, variables, m), axis_name="data", devices=jax.devices()[:2])
    parts, parallel_stats = parallel(mel.reshape(2, 2, 16, 64))
    np.testing.assert_allclose(parts.clip.reshape(4, -1), whole.clip, rtol=1e-4, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b, rtol=1e-4, atol=1e-5), parallel_stats, stats)


def test_sharded_batch_equals_one_device():
    mel = mel_batch(4, 16)
    variables = filled_variables(Panns(SMALL), mel)
    whole, stats = train_once(Panns(SMALL), variables, mel)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:4])
    sharded = jax.device_put(mel, jax.NamedSharding(mesh, P("data")))
    out, mesh_stats = train_once(Panns(SMALL), variables, sharded)
    np.testing.assert_allclose(out.clip, whole.clip, rtol=1e-4, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), mesh_stats, stats)


def test_augment_sees_normalised_bins_and_only_training_calls_it():
    seen = []

    def blank_last_bins(key, x):
        jax.debug.callback(lambda value: seen.append(np.asarray(value)), x)
        return x.at[:, :, 32:].set(0.0)

    module, mel = Panns(SMALL, augment=blank_last_bins), mel_batch(3, 20)
    variables = filled_variables(module, mel)
    evaluate(module, variables, mel).clip.block_until_ready()
    jax.effects_barrier()
    assert not seen
    out = train_once(module, variables, mel)[0]
    jax.effects_barrier()
    scale, bias = (variables["params"]["bn0"][name] for name in ("scale", "bias"))
    np.testing.assert_allclose(seen[0].mean(axis=(0, 1)), bias, atol=1e-4)
    np.testing.assert_allclose(seen[0].std(axis=(0, 1)), np.abs(scale), rtol=1e-3)
    blanked = np.where(np.arange(64)[None, None, :] < 32, mel, -80.0).astype(np.float32)
    np.testing.assert_array_equal(out.clip, train_once(module, variables, blanked)[0].clip)


def test_dropout_only_when_training():
    module, mel = Panns(replace(SMALL, dropout=0.5)), mel_batch(2, 20)
    variables = filled_variables(module, mel)
    a, b, again = (train_once(module, variables, mel, seed)[0].clip for seed in (1, 2, 1))
    np.testing.assert_array_equal(a, again)
    assert np.abs(a - b).max() > 1e-3


def test_residual_blocks_start_as_identities():
    """The second BatchNorm scale starts at 0, so a fresh block without downsampling is ReLU(x)."""
    conv = partial(nn.Conv, use_bias=False, padding="SAME")
    block = ResidualBlock(3, False, 0.0, conv, partial(nn.BatchNorm, use_running_average=True))
    x = mel_batch(2, 4, 5)[..., None] * np.array([1.0, -1, 2], np.float32)
    out, variables = block.init_with_output(jax.random.key(0), x, train=False)
    np.testing.assert_array_equal(out, np.maximum(x, 0))
    assert np.abs(variables["params"]["conv2"]["kernel"]).min() > 0


def test_gradients_reach_every_parameter():
    quiet = PannsConfig(arch="resnet38", channels=(2, 2, 3, 4), depths=(1, 1), head=True, classes=3)
    module, mel = Panns(replace(quiet, dropout=0.0, block_dropout=0.0, head_dropout=0.0)), mel_batch(4, 16)
    variables = filled_variables(module, mel)

    def loss(params):
        return jnp.sum(jnp.square(train_once(module, {**variables, "params": params}, mel)[0].clipwise))

    for path, grad in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(variables["params"])):
        assert np.isfinite(grad).all(), path
        assert np.abs(grad).max() > 0, path


def test_bfloat16_keeps_float32_parameters():
    config, mel = replace(SMALL, head=True, classes=7), mel_batch(2, 20)
    half, full = Panns(config, dtype=jnp.bfloat16), Panns(config)
    made, out = shapes(half, 20)
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype(jnp.float32)}
    assert out.clip.dtype == jnp.bfloat16
    assert out.clipwise.dtype == jnp.float32
    variables = filled_variables(full, mel)
    a, b = (evaluate(m, variables, mel).clip for m in (half, full))
    assert relative_error(a.astype(jnp.float32), b) < 0.02


def test_wrong_inputs_are_named():
    module = Panns(NARROW["cnn14"])
    with pytest.raises(ValueError, match="128 mel bins, but this tower takes 64"):
        shapes_of(module, 100, 128)
    with pytest.raises(ValueError, match="clip is too short"):
        shapes_of(module, 31, 64)
    with pytest.raises(ValueError, match="two more channels than depths"):
        shapes_of(Panns(replace(NARROW["resnet38"], depths=(1, 1))), 100, 64)


def shapes_of(module, frames, mels):
    return jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, frames, mels)), train=False))


def test_the_gradient_of_the_largest_frame_goes_to_the_first_that_has_it():
    frames = jnp.array([[[1.0, 3.0], [2.0, 3.0], [2.0, -1.0]]])
    np.testing.assert_array_equal(largest_frame(frames), [[2.0, 3.0]])
    np.testing.assert_array_equal(jax.grad(lambda x: largest_frame(x).sum())(frames), [[[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]])
