"""Fixtures of all DAC tests: the presets are small ones, and the settings of the plain debug config."""

import pytest

from audiojax.papers.dac.settings import make_settings
from tests.papers.dac.small import VOCAB, plain, shrink


@pytest.fixture(scope="module", autouse=True)
def small_towers():
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        yield


@pytest.fixture(scope="module")
def settings(small_towers):
    return make_settings(plain(), VOCAB)
