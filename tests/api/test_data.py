"""What the api makes of a split before a model sees it."""

import pytest

from audiojax.api.data import clip_batches
from audiojax.errors import UsageError
from tests.data.test_pipeline import Clips
from tests.data.test_transforms import make


def test_unequal_captions_are_told_to_whoever_asks_for_clips():
    assert next(iter(clip_batches(Clips(), make(), 4)))["text_ids"].shape == (4, 2, 4)
    with pytest.raises(UsageError, match="1 has 3 .'c3'"):
        clip_batches(Clips(odd=True), make(), 4)
