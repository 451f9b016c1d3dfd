"""The captioning bench at toy sizes: every way writes as many tokens."""

import pytest

from audiojax.bench import captioning, captioning_jax
from audiojax.bench.captioning import SMALL
from audiojax.errors import AudiojaxError


@pytest.mark.parametrize("options", [{"steps": 2, "guidance": 1.0}, {"num_beams": 4}])
def test_every_way_writes_captions_of_the_same_length(options):
    call, facts = captioning_jax.prepare({key: SMALL[key] for key in ("config", "tokens", "clips")} | {"options": options})
    assert (facts["items"], facts["tokens"]) == (2, 8)
    tokens, words, _ = call()
    assert tokens.shape == (2, 8)
    if "num_beams" in options:
        assert words.all()  # nothing ends early


@pytest.mark.slow
def test_rows():
    rows = captioning.run(**SMALL, samples=1, attempts=1, allow_noise=True)
    assert [row.side for row in rows] == ["2 steps", "2 steps, guided", "word by word", "4 beams"]
    assert all(row.ratio > 0 and row.items == 2 for row in rows[1:])


def test_captions_longer_than_the_networks_take():
    with pytest.raises(AudiojaxError, match="data.max_tokens is 513, and"):
        captioning_jax.prepare({"config": SMALL["config"], "tokens": 513, "clips": 2, "options": {"num_beams": 1}})
