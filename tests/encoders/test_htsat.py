"""HTSAT: published sizes, its geometry against plain loops, and what batch, jit and unread crops must not change."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiojax.encoders import htsat
from audiojax.encoders.htsat import PRESETS, Htsat, HtsatConfig
from tests.encoders.filling import filled_variables, mel_batch, relative_error

GOLDEN = Path(__file__).parents[1] / "golden" / "towers.npz"
PLAIN = HtsatConfig(image=64, mels=16, channels=16, depths=(2, 2), heads=(2, 4), window=4)
FUSED = replace(PLAIN, fusion=True)
NARROW = {"test": PLAIN, "test-fused": FUSED}


def views(config, clips, frames, seed=0):
    count = 4 if config.fusion else 1
    return mel_batch(clips * count, frames, config.mels, seed).reshape(clips, count, frames, config.mels)


def evaluate(module, variables, *inputs):
    return jax.jit(lambda v, *x: module.apply(v, *x, train=False))(variables, *inputs)


@pytest.fixture(scope="module")
def plain():
    module = Htsat(PLAIN)
    return module, filled_variables(module, views(PLAIN, 1, 200))


@pytest.fixture(scope="module")
def fused():
    module = Htsat(FUSED)
    return module, filled_variables(module, views(FUSED, 1, 200), np.ones(1, bool))


@pytest.mark.parametrize(("name", "count"), [("htsat-tiny", 27_534_488), ("htsat-tiny-fused", 27_549_128), ("htsat-base", 67_824_408)])
def test_published_sizes(name, count):
    config = PRESETS[name]
    module, mel = Htsat(config), jnp.zeros((1, 4 if config.fusion else 1, 1001, 64))
    variables = jax.eval_shape(lambda: module.init(jax.random.key(0), mel, train=False))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count
    out = jax.eval_shape(lambda v: module.apply(v, mel, train=False), variables)
    assert out.pooled.shape == (1, config.width)
    assert out.tokens.shape == (1, 32, 2, config.width)


def test_the_fold_puts_chunks_below_each_other():
    mel = np.arange(2 * 3 * 24 * 5).reshape(2, 3, 24, 5)
    image = htsat.fold(mel, 4)
    assert image.shape == (2, 3, 20, 6)
    for chunk, m, t in [(0, 0, 0), (1, 2, 3), (3, 4, 5)]:
        assert image[1, 2, chunk * 5 + m, t] == mel[1, 2, chunk * 6 + t, m]


def test_unfolding_tokens_undoes_the_fold():
    mel = np.arange(2 * 24 * 5 * 7).reshape(2, 1, 24, 5, 7)
    image = np.stack([htsat.fold(mel[..., d], 4)[:, 0] for d in range(7)], axis=-1)
    np.testing.assert_array_equal(htsat.unfold(image, 4), mel[:, 0])


@given(st.integers(1, 3), st.integers(1, 4))
def test_windows_are_cut_and_joined(window, count):
    side = window * count
    x = np.arange(2 * side * side * 3).reshape(2, side, side, 3)
    cut = np.asarray(htsat.cut_windows(x, window))
    np.testing.assert_array_equal(htsat.join_windows(cut, side), x)
    np.testing.assert_array_equal(cut[0, -1, -1], x[0, -1, -1])
    np.testing.assert_array_equal(cut[1, 0].reshape(window, window, 3), x[1, :window, :window])


def test_the_bias_index_has_the_corner_values_of_the_checkpoints():
    index = htsat.relative_index(8)
    assert (index[0, 0], index[0, 63], index[63, 0]) == (112, 0, 224)
    assert sorted(set(index.ravel())) == list(range(225))
    assert index[8 * 3 + 2, 8 * 5 + 7] == (3 - 5 + 7) * 15 + (2 - 7 + 7)


def test_shifted_windows_keep_strangers_apart():
    side, window, shift = 12, 4, 2
    place = np.roll(np.arange(side), -shift)  # where each row of the rolled map came from
    wrapped = np.where(np.arange(side) >= side - shift, 1, 0)  # came round the border
    mask = htsat.shift_mask(side, window, shift)
    assert set(np.unique(mask)) == {-100.0, 0.0}
    for n, (row, column) in enumerate(np.ndindex(3, 3)):
        cells = [(row * 4 + i, column * 4 + j) for i in range(4) for j in range(4)]
        for a, (r1, c1) in enumerate(cells):
            for b, (r2, c2) in enumerate(cells):
                together = wrapped[r1] == wrapped[r2] and wrapped[c1] == wrapped[c2]
                assert (mask[n, a, b] == 0) == together, (place[r1], place[c1])


@given(st.integers(4, 300), st.integers(4, 300))
def test_stretching_keeps_lines_and_ends(n, frames):
    index, weight = htsat.cubic_taps(n, frames)
    np.testing.assert_allclose(weight.sum(axis=1), 1, atol=1e-12)
    ramp = (np.arange(n)[index] * weight).sum(axis=1)
    np.testing.assert_allclose(ramp[[0, -1]], [0, n - 1], atol=1e-9)
    x = np.random.default_rng(n).normal(size=n)
    made = (x[index] * weight).sum(axis=1)
    np.testing.assert_allclose(made[[0, -1]], x[[0, -1]], atol=1e-9)


def test_stretch_is_torchs_bicubic():
    """A literal of torch.nn.functional.interpolate(mode="bicubic", align_corners=True)."""
    mel = jnp.asarray([0.0, 1.0, -2.0, 3.0, 0.5])[None, None, :, None]
    want = [0.0, 0.8950, 0.6501, -1.7114, -0.8994, 2.5525, 2.4752, 0.5]
    np.testing.assert_allclose(np.asarray(htsat.stretch(mel, 8))[0, 0, :, 0], want, atol=1e-4)


@pytest.mark.parametrize("name", ["test", "test-fused"])
def test_outputs_of_transformers(name, request):
    """The golden file holds what ClapAudioModel gives for these numbers; see tests/golden/make_towers.py."""
    module, variables = request.getfixturevalue("plain" if name == "test" else "fused")
    out = evaluate(module, variables, views(module.config, 2, 200), np.array([False, True]))
    assert relative_error(out.pooled, np.load(GOLDEN)[f"{name}/pooled"]) < 1e-4


def test_jit_equals_no_jit_and_the_batch_does_not_matter(plain):
    module, variables = plain
    mel = views(PLAIN, 3, 200)
    out = evaluate(module, variables, mel)
    bare = module.apply(variables, mel, train=False)
    assert relative_error(out.pooled, np.asarray(bare.pooled)) < 1e-5
    alone = evaluate(module, variables, mel[1:2])
    assert relative_error(alone.pooled, np.asarray(out.pooled)[1:2]) < 1e-5
    np.testing.assert_allclose(np.asarray(out.tokens).mean((1, 2)), out.pooled, rtol=1e-4, atol=1e-4)


def test_crops_are_read_of_longer_clips_alone(fused):
    module, variables = fused
    mel, longer = views(FUSED, 2, 200), np.array([False, True])
    out = evaluate(module, variables, mel, longer)
    changed = mel.copy()
    changed[:, 1:] += 1
    other = evaluate(module, variables, changed, longer)
    np.testing.assert_array_equal(out.pooled[0], other.pooled[0])
    assert relative_error(out.pooled[1], np.asarray(other.pooled)[1]) > 1e-3
    none = evaluate(module, variables, mel)
    np.testing.assert_allclose(none.pooled[0], out.pooled[0], rtol=1e-5, atol=1e-5)


def test_gradients_are_finite_and_statistics_move(plain):
    module, variables = plain
    mel = views(PLAIN, 2, 200)

    def loss(params):
        out, state = module.apply({**variables, "params": params}, mel, train=True, mutable=["batch_stats"])
        return jnp.mean(out.pooled**2), state

    grads, state = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    assert not np.array_equal(state["batch_stats"]["bn0"]["mean"], variables["batch_stats"]["bn0"]["mean"])


@pytest.mark.parametrize(("shape", "words"), [((1, 4, 100, 16), "1 view"), ((1, 1, 100, 17), "16 mel"), ((1, 1, 257, 16), "at most 256")])
def test_misuse(shape, words):
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(lambda: Htsat(PLAIN).init(jax.random.key(0), jnp.zeros(shape), train=False))
