"""BEATs: published sizes, the torch twin's outputs from a golden file, and what padding, batch, jit and training must not change."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.encoders.beats import PRESETS, Beats, BeatsConfig, shorten_mask
from tests.encoders.filling import filled_variables, mel_batch, relative_error

GOLDEN = Path(__file__).parents[1] / "golden" / "audiomae_beats.npz"
NARROW = BeatsConfig(
    mels=16, patch=4, embed=12, width=16, layers=2, heads=2, hidden=24, kernel=6, groups=4, buckets=8, max_distance=9, classes=5
)


def frame_mask(frames, lengths):
    return np.arange(frames)[None, :] < np.asarray(lengths)[:, None]


def batch():
    """62 frames are 15 patches of 4 and two frames that are left over; a patch column has 4 tokens."""
    return mel_batch(3, 62, 16), frame_mask(62, (62, 30, 9))


@pytest.fixture(scope="module")
def tower():
    module, (mel, _) = Beats(NARROW), batch()
    return module, filled_variables(module, mel), jax.jit(lambda v, x, m: module.apply(v, x, m, train=False))


@pytest.mark.parametrize(("name", "count"), [("base", 90_311_664), ("base-tagging", 90_716_927)])
def test_published_sizes(name, count):
    """A file has 128 more: the norms of the weight-normalised convolution."""
    module, mel = Beats(PRESETS[name]), jnp.zeros((1, 998, 128))
    out, variables = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), mel, train=False))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == count
    assert (out.tokens.shape, out.pooled.shape) == ((1, 496, 768), (1, 768))


def test_tiny_preset_fits_soundworld():
    """3.84 s at 16 kHz give 382 frames, 23 whole patches of time and 4 of frequency."""
    config = PRESETS["tiny"]
    frames = config.front_end.frame_count(61_440)
    out = jax.eval_shape(lambda: Beats(config).init_with_output(jax.random.key(0), jnp.zeros((3, frames, 64)), train=False)[0])
    assert out.tokens.shape == (3, 92, 80)
    assert out.logits is None


def test_outputs_of_the_torch_twin(tower):
    """See tests/golden/make_audiomae_beats.py."""
    _, variables, encode = tower
    out, golden = encode(variables, *batch()), np.load(GOLDEN)
    np.testing.assert_array_equal(out.mask, golden["beats/mask"])
    assert relative_error(out.tokens[golden["beats/mask"]], golden["beats/tokens"]) < 1e-4
    assert relative_error(out.pooled, golden["beats/pooled"]) < 1e-4
    assert relative_error(out.logits, golden["beats/logits"]) < 1e-4


def test_masks_are_shortened_as_published():
    """998 frames and 496 tokens: two frames a token, the last six frames dropped."""
    mask = shorten_mask(jnp.asarray(frame_mask(998, (998, 501, 0))), 496)
    np.testing.assert_array_equal(np.sum(mask, axis=1), [496, 251, 0])
    assert bool(mask[1, 250])
    assert not bool(mask[1, 251])


def test_padding_does_not_change_valid_tokens(tower):
    """Clips that end with a patch, alone and padded with anything."""
    _, variables, encode = tower
    mel, mask = mel_batch(3, 62, 16), frame_mask(62, (62, 40, 20))
    out = encode(variables, mel, mask)
    noisy = encode(variables, np.where(mask[..., None], mel, 7), mask)
    np.testing.assert_allclose(noisy.tokens[out.mask], out.tokens[out.mask], atol=1e-5)
    np.testing.assert_allclose(noisy.pooled, out.pooled, atol=1e-5)
    alone = encode(variables, mel[1:2, :40], np.ones((1, 40), bool))
    assert relative_error(out.tokens[1, :40], np.asarray(alone.tokens[0])) < 1e-5
    assert relative_error(out.logits[1], np.asarray(alone.logits[0])) < 1e-5


@pytest.mark.slow
def test_no_mask_is_a_mask_of_ones_and_jit_is_no_jit(tower):
    _, variables, _ = tower
    module, (mel, _) = Beats(replace(NARROW, layers=1)), batch()
    tokens = jax.jit(lambda v: module.apply(v, mel, np.ones((3, 62), bool), train=False))(variables).tokens
    assert relative_error(module.apply(variables, mel, train=False).tokens, np.asarray(tokens)) < 1e-5


def test_rows_are_independent(tower):
    _, variables, encode = tower
    mel, mask = batch()
    out, order = encode(variables, mel, mask), np.array([2, 0, 1])
    np.testing.assert_allclose(encode(variables, mel[order], mask[order]).pooled, out.pooled[order], atol=1e-5)


def test_a_clip_of_padding_stays_finite(tower):
    _, variables, encode = tower
    mel, mask = batch()
    out = encode(variables, mel, mask & np.array([True, False, True])[:, None])
    assert np.isfinite(out.tokens).all()
    assert not out.pooled[1].any()


def test_every_position_signal_matters(tower):
    """With neither signal the tokens are a set: moving the patches moves them and changes nothing else."""
    _, variables, encode = tower
    params, (mel, _), mask = variables["params"], batch(), np.ones((3, 62), bool)
    still = {**params["position_conv"], "kernel": np.zeros_like(params["position_conv"]["kernel"])}
    level = {"embedding": np.ones_like(params["relative_position"]["embedding"])}

    turned = np.concatenate([np.roll(mel[:, :60], 8, axis=1), mel[:, 60:]], axis=1)  # two patch columns of four tokens

    def change(**replaced):
        tokens, moved = (encode({"params": params | replaced}, x, mask).tokens for x in (mel, turned))
        return relative_error(moved, np.roll(tokens, 8, axis=1))

    assert change(position_conv=still, relative_position=level) < 1e-5
    assert change(position_conv=still) > 1e-3
    assert change(relative_position=level) > 1e-3


def test_gradients_are_finite_and_dropout_acts_in_training():
    module = Beats(replace(NARROW, layers=1, embed=16, dropout=0.3, attention_dropout=0.3))
    mel, mask = batch()
    variables = filled_variables(module, mel)
    assert "project" not in variables["params"]

    def loss(variables, seed):
        return jnp.mean(module.apply(variables, mel, mask, train=True, rngs={"dropout": jax.random.key(seed)}).logits ** 2)

    step = jax.jit(jax.value_and_grad(loss))
    (a, grads), (b, _), (again, _) = (step(variables, seed) for seed in (1, 2, 1))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    assert np.abs(grads["params"]["relative_position"]["embedding"]).max() > 0
    assert a == again
    assert abs(a - b) > 1e-4


def test_half_precision_keeps_float32_parameters(tower):
    _, variables, encode = tower
    mel, mask = batch()
    half = Beats(NARROW, dtype=jnp.bfloat16)
    made = jax.eval_shape(lambda: half.init(jax.random.key(0), mel, train=False))
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {jnp.dtype(jnp.float32)}
    out = jax.jit(lambda: half.apply(variables, mel, mask, train=False))()
    assert {out.tokens.dtype, out.pooled.dtype, out.logits.dtype} == {jnp.dtype(jnp.bfloat16)}
    assert relative_error(out.pooled.astype(jnp.float32), np.asarray(encode(variables, mel, mask).pooled)) < 0.02


@pytest.mark.parametrize(
    ("changes", "shape", "words"),
    [
        ({}, (1, 3, 16), "takes 4 or more frames of 16 mel bins"),
        ({}, (1, 62, 20), "takes 4 or more frames of 16 mel bins"),
        ({"heads": 3}, (1, 62, 16), "width 16 is not divisible by 3 heads"),
    ],
)
def test_misuse(changes, shape, words):
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(lambda: Beats(replace(NARROW, **changes)).init(jax.random.key(0), jnp.zeros(shape), train=False))
