"""PANNs' tower: the network on the log-mel of its rate, other rates, and misuse."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from audiojax.audio.io import resample
from audiojax.audio.spectral import PANNS_16K, log_mel
from audiojax.encoders.panns import PRESETS, Panns
from audiojax.errors import UsageError
from audiojax.towers.base import infer
from audiojax.towers.panns import PannsTower
from tests.encoders.filling import filled_variables, relative_error
from tests.towers.clap_cases import clips


@pytest.fixture(scope="module")
def tower():
    config = replace(PRESETS["cnn14"]["tiny"], channels=(4, 8), head=True, classes=5)
    variables = filled_variables(Panns(config), np.zeros((1, 64, 64), np.float32))
    return PannsTower(Panns(config), config, variables, None, Path("none"), "", mel=PANNS_16K)


def test_clips_are_tagged_through_their_log_mel(tower):
    batch = np.stack(clips([8_000, 8_000]))
    out = tower(batch)
    assert out.clipwise.shape == (2, 5)
    assert out.embedding.shape == (2, 8)
    from_mel = infer(tower.module, tower.params, log_mel(batch, PANNS_16K))
    for ours, want in zip(out, from_mel, strict=True):
        assert relative_error(ours, np.asarray(want)) < 1e-4
    assert relative_error(tower(list(batch), 16_000).clip, np.asarray(out.clip)) < 1e-6
    np.testing.assert_array_equal(tower(batch[0], 11_025).clip, tower(resample(batch[0], 11_025, 16_000)).clip)


def test_misuse(tower):
    with pytest.raises(UsageError, match="2 clips of 2 lengths"):
        tower(clips([8_000, 8_001]))
    with pytest.raises(UsageError, match="clips of 0.025 s: .* too short"):
        tower(clips([400])[0])
    with pytest.raises(UsageError, match="clips of 0.00625 s: .* too short"):
        tower(clips([100])[0])
    with pytest.raises(UsageError, match="float"):
        tower(np.zeros(8_000, np.int16))
