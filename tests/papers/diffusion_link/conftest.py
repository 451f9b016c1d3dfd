"""Fixtures of all tests of Diffusion-Link: the presets are small ones."""

import pytest

from tests.papers.diffusion_link.small import shrink


@pytest.fixture(scope="module", autouse=True)
def small_clap():
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        yield
