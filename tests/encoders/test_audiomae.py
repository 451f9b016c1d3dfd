"""AudioMAE: published sizes, the torch twin's outputs from a golden file, positions and pooling against plain loops, masked training."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.encoders.audiomae import PRESETS, AudioMae, AudioMaeConfig, MaskedAutoencoder, pool_patches, position_table
from audiojax.losses.reconstruction import draw_kept, masked_patch_loss
from tests.encoders.filling import filled_variables, mel_batch, relative_error

GOLDEN = Path(__file__).parents[1] / "golden" / "audiomae_beats.npz"
PRETRAINED = AudioMaeConfig(frames=48, mels=16, patch=8, width=16, layers=3, heads=2, blocks=2)
NARROW = {"audiomae": PRETRAINED, "audiomae-tagging": replace(PRETRAINED, clip_norm=True, classes=5)}
KEPT = np.array([[3, 0, 11], [5, 9, 2]])
WINDOW = (3, 2)


@pytest.fixture(scope="module")
def tower():
    module, mel = AudioMae(PRETRAINED), mel_batch(2, 48, 16)
    return module, filled_variables(module, mel), mel, jax.jit(lambda v, x: module.apply(v, x, train=False))


@pytest.mark.parametrize(("name", "count"), [("vit-base", 85_648_128), ("vit-base-tagging", 86_053_391)])
def test_published_sizes(name, count):
    """The count is that of the files, positions included; 10.24 s give 1022 frames, which are padded to 1024."""
    assert (PRESETS[name].front_end.frame_count(163_840), PRESETS[name].front_end.frames) == (1022, 1024)
    module, mel = AudioMae(PRESETS[name]), jnp.zeros((1, 1024, 128))
    out, variables = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), mel, train=False))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == count
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["constants"])) == 513 * 768
    assert (out.tokens.shape, out.features.shape, out.pooled.shape) == ((1, 513, 768), (1, 512, 768), (1, 768))


def test_tiny_preset_fits_soundworld():
    """3.84 s at 16 kHz give 382 frames, which are padded to 384."""
    config = PRESETS["tiny"]
    assert config.front_end.frame_count(61_440) == 382
    assert (config.front_end.frames, config.front_end.n_mels, config.grid) == (384, 64, (24, 4))
    out = jax.eval_shape(lambda: AudioMae(config).init_with_output(jax.random.key(0), jnp.zeros((3, 384, 64)), train=False)[0])
    assert out.features.shape == (3, 96, 80)


@pytest.mark.parametrize("name", NARROW)
def test_outputs_of_the_torch_twin(name):
    """See tests/golden/make_audiomae_beats.py."""
    module, mel, golden = AudioMae(NARROW[name]), mel_batch(2, 48, 16), np.load(GOLDEN)
    variables = filled_variables(module, mel)
    out = jax.jit(lambda v: module.apply(v, mel, train=False))(variables)
    for key, value in out._asdict().items():
        if value is not None:
            assert relative_error(value, golden[f"{name}/{key}"]) < 1e-4, key
    assert relative_error(pool_patches(out.features, PRETRAINED.grid, WINDOW), golden[f"{name}/condition"]) < 1e-4


def test_features_are_the_mean_of_the_last_blocks(tower):
    module, variables, mel, encode = tower
    last = replace(PRETRAINED, blocks=1)
    out = jax.jit(lambda: AudioMae(last).apply(variables, mel, train=False))()
    np.testing.assert_allclose(out.features, out.tokens[:, 1:], rtol=1e-6)
    assert relative_error(encode(variables, mel).features, np.asarray(out.features)) > 1e-2


def test_position_table_against_a_loop():
    table = position_table((3, 2), 8)
    assert not table[0].any()
    for t in range(3):
        for f in range(2):
            want = [wave(place * rate) for place in (f, t) for wave in (np.sin, np.cos) for rate in (1, 0.01)]
            np.testing.assert_allclose(table[1 + t * 2 + f], want, atol=1e-7)


def test_fresh_towers_have_the_sinusoids():
    module = AudioMae(replace(PRETRAINED, layers=1))
    variables = jax.jit(lambda: module.init(jax.random.key(0), jnp.zeros((1, 48, 16)), train=False))()
    np.testing.assert_array_equal(variables["constants"]["position"][0], position_table((6, 2), 16))


def test_pooling_against_a_loop():
    x = np.random.default_rng(0).normal(size=(2, 12, 3)).astype(np.float32)
    pooled = pool_patches(jnp.asarray(x), (6, 2), (3, 2))
    for i, window in enumerate((slice(0, 6), slice(6, 12))):
        np.testing.assert_allclose(pooled[:, i], (x[:, window].mean(axis=1) + x[:, window].max(axis=1)) / 2, rtol=1e-6)
    np.testing.assert_array_equal(pool_patches(jnp.asarray(x), (6, 2), (1, 1)), x)
    columns = pool_patches(jnp.asarray(x), (6, 2), (6, 1))
    np.testing.assert_allclose(columns[:, 1], (x[:, 1::2].mean(axis=1) + x[:, 1::2].max(axis=1)) / 2, rtol=1e-6)
    with pytest.raises(ValueError, match="6 x 2 patches cannot be pooled by 4 x 1"):
        pool_patches(jnp.asarray(x), (6, 2), (4, 1))


@pytest.mark.slow
def test_jit_equals_no_jit(tower):
    _, variables, mel, _ = tower
    module = AudioMae(replace(PRETRAINED, layers=1))
    encode = jax.jit(lambda v: module.apply(v, mel, train=False))
    assert relative_error(module.apply(variables, mel, train=False).features, np.asarray(encode(variables).features)) < 1e-5


def test_rows_are_independent(tower):
    _, variables, mel, encode = tower
    np.testing.assert_allclose(encode(variables, mel[::-1]).features[::-1], encode(variables, mel).features, atol=1e-5)


def test_half_precision_keeps_float32_parameters(tower):
    _, variables, mel, encode = tower
    half = AudioMae(PRETRAINED, dtype=jnp.bfloat16)
    made = jax.eval_shape(lambda: half.init(jax.random.key(0), mel, train=False))
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype(jnp.float32)}
    out = jax.jit(lambda: half.apply(variables, mel, train=False))()
    assert {out.tokens.dtype, out.features.dtype, out.pooled.dtype} == {jnp.dtype(jnp.bfloat16)}
    assert relative_error(out.features.astype(jnp.float32), np.asarray(encode(variables, mel).features)) < 0.02


@pytest.fixture(scope="module")
def autoencoder():
    module, mel = MaskedAutoencoder(replace(PRETRAINED, layers=1), width=12, layers=1, heads=2), mel_batch(2, 48, 16)
    variables = filled_variables(module, mel, KEPT)
    return module, variables, mel, jax.jit(lambda v, x, kept: module.apply(v, x, kept, train=False))


def test_only_kept_patches_are_seen(autoencoder):
    _, variables, mel, decode = autoencoder
    out = np.asarray(decode(variables, mel, KEPT))
    assert out.shape == (2, 12, 64)
    other = mel.copy()
    other[0, 8:16, :8] += 1  # patch 2 of the first clip is hidden, of the second seen
    other[1, 8:16, :8] += 1
    changed = np.asarray(decode(variables, other, KEPT))
    np.testing.assert_array_equal(changed[0], out[0])
    assert relative_error(changed[1], out[1]) > 1e-3


def test_the_order_of_kept_patches_does_not_matter(autoencoder):
    _, variables, mel, decode = autoencoder
    assert relative_error(decode(variables, mel, KEPT[:, ::-1]), np.asarray(decode(variables, mel, KEPT))) < 1e-5


def test_all_patches_kept_are_the_plain_tower(tower):
    module, variables, mel, encode = tower
    everything = np.tile(np.arange(12), (2, 1))
    out = jax.jit(lambda v: module.apply(v, mel, everything, train=False))(variables)
    assert relative_error(out.tokens, np.asarray(encode(variables, mel).tokens)) < 1e-6


def test_training_lowers_the_loss_and_leaves_positions_alone(autoencoder):
    module, variables, mel, _ = autoencoder
    kept = draw_kept(jax.random.split(jax.random.key(0), 2), 12)
    assert kept.shape == (2, 2)

    def loss(params):
        prediction, state = module.apply({**variables, "params": params}, mel, kept, train=True, mutable=["constants"])
        return jnp.mean(masked_patch_loss(prediction, mel, kept, patch=8)), state

    step = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (before, state), grads = step(variables["params"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    assert np.abs(grads["encoder"]["patch_conv"]["kernel"]).max() > 0
    jax.tree.map(np.testing.assert_array_equal, state["constants"], variables["constants"])
    (after, _), _ = step(jax.tree.map(lambda p, g: p - 0.01 * g, variables["params"], grads))
    assert after < before


@pytest.mark.parametrize(
    ("changes", "shape", "words"),
    [
        ({}, (1, 47, 16), "takes 48 frames of 16 mel bins"),
        ({}, (1, 48, 17), "takes 48 frames of 16 mel bins"),
        ({"patch": 7}, (1, 48, 16), "cannot be cut into patches of 7 x 7"),
        ({"width": 18}, (1, 48, 16), "a multiple of 4, not 18"),
    ],
)
def test_misuse(changes, shape, words):
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(lambda: AudioMae(replace(PRETRAINED, **changes)).init(jax.random.key(0), jnp.zeros(shape), train=False))
