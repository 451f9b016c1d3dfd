"""HiFi-GAN's discriminators: sizes, lengths, and what each of them hears."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.models.waveform_discriminators import (
    PRESETS,
    PeriodDiscriminator,
    ScaleLayer,
    WaveformDiscriminatorConfig,
    WaveformDiscriminators,
)
from tests.encoders.filling import fill

SMALL = WaveformDiscriminatorConfig((2, 3), (2, 3), 5, 2, (ScaleLayer(4, 15, 1, 1), ScaleLayer(4, 7, 2, 2)))


def abstract(config, samples=8_192):
    return jax.eval_shape(lambda: WaveformDiscriminators(config).init_with_output(jax.random.key(0), jnp.zeros((1, samples))))


@pytest.fixture(scope="module")
def small():
    return fill(abstract(SMALL, 64)[1])["params"]


def test_published_sizes():
    """Per period 5 (32 + 32 128 + 128 512 + 512 1024 + 1024^2) weights of its layers, 3 x 1024 of the last, and biases."""
    params = abstract(PRESETS["hifigan"])[1]["params"]
    count = {name: sum(leaf.size for leaf in jax.tree.leaves(tree)) for name, tree in params.items()}
    channels = (1, 32, 128, 512, 1024, 1024)
    period = sum(5 * a * b + b for a, b in zip(channels, channels[1:], strict=False)) + 3 * 1024 + 1
    scale = 15 * 128 + 41 * (128 * 32 + 256 * 8 + 512 * 16 + 1024 * 32 + 1024 * 64) + 5 * 1024**2 + 3 * 1024
    scale += 128 + 128 + 256 + 512 + 3 * 1024 + 1
    assert count == {f"period_{p}": period for p in (2, 3, 5, 7, 11)} | {f"scale_{i}": scale for i in range(3)}
    assert (period, scale) == (8_218_433, 9_870_209)


def test_lengths_of_features():
    """8,192 samples in rows of 11 are 745 after reflection; scales hear 8,192, 4,097 and 2,049 samples."""
    verdicts = abstract(PRESETS["hifigan"])[0]
    assert [x.shape for x in verdicts[4].features] == [
        (1, rows, 11, channels) for rows, channels in ((249, 32), (83, 128), (28, 512), (10, 1024), (10, 1024), (10, 1))
    ]
    assert [verdict.features[0].shape[2] for verdict in verdicts[5:]] == [8_192, 4_097, 2_049]
    assert [len(verdict.features) for verdict in verdicts] == [6] * 5 + [8] * 3
    assert all(verdict.logits.shape == (1, verdict.features[-1].size) for verdict in verdicts)


def test_rows_are_judged_alone_and_jit_changes_nothing(small):
    waveform = jnp.asarray(np.random.default_rng(0).normal(size=(3, 61)), jnp.float32)
    together = jax.jit(lambda x: WaveformDiscriminators(SMALL).apply({"params": small}, x))(waveform)
    alone = WaveformDiscriminators(SMALL).apply({"params": small}, waveform[1:2])
    assert len(jax.tree.leaves(alone)) == 4 + 3 * 4
    for ours, theirs in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(ours[1:2], theirs, rtol=1e-4, atol=1e-5)


def test_a_column_of_a_period_is_judged_alone(small):
    module = PeriodDiscriminator(3, SMALL)
    waveform = np.random.default_rng(0).normal(size=(1, 30)).astype(np.float32)
    changed = waveform.copy()
    changed[:, 1::3] += 1.0
    before, after = (np.asarray(module.apply({"params": small["period_3"]}, x).features[-1]) for x in (waveform, changed))
    np.testing.assert_allclose(after[:, :, [0, 2]], before[:, :, [0, 2]], atol=1e-6)
    assert np.abs(after[:, :, 1] - before[:, :, 1]).max() > 1e-3
