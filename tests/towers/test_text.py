"""Text towers give the last hidden states of lists and arrays alike, and refuse what is no batch of tokens."""

from pathlib import Path

import numpy as np
import pytest

from audiojax.encoders.bert import BertEncoder
from audiojax.encoders.t5 import T5Encoder
from audiojax.errors import UsageError
from audiojax.towers.text import TextTower
from tests.encoders.filling import filled_variables, relative_error, token_batch
from tests.encoders.test_bert import GOLDEN, NARROW_ROBERTA, roberta_batch
from tests.encoders.test_t5 import NARROW as T5_NARROW
from tests.encoders.test_t5 import t5_variables


def test_roberta_and_lists():
    module, (ids, mask) = BertEncoder(NARROW_ROBERTA), roberta_batch(4, 13)
    tower = TextTower(module, NARROW_ROBERTA, filled_variables(module, ids, mask), None, Path("none"), "")
    states = tower(ids, mask)
    assert states.shape == (4, 13, 24)
    assert relative_error(states[mask], np.load(GOLDEN)["roberta/tokens"]) < 1e-4
    np.testing.assert_array_equal(states, tower(ids.tolist(), mask.astype(int).tolist()))
    for bad_ids, bad_mask, words in [
        ([[50]], [[1]], "to 50, and the model has 50"),
        ([[-1]], [[1]], "from -1"),
        ([[1, 2]], [[1]], "with a mask"),
        ([1, 2], [1, 1], "whole numbers .b, l."),
        ([[1.5]], [[1]], "float64"),
    ]:
        with pytest.raises(UsageError, match=words):
            tower(bad_ids, bad_mask)


def test_t5():
    config, (ids, mask) = T5_NARROW["t5"], token_batch(4, 13, 50)
    module = T5Encoder(config)
    states = TextTower(module, config, t5_variables(module, ids, mask), None, Path("none"), "")(ids, mask)
    assert relative_error(states[mask], np.load(GOLDEN)["t5/tokens"]) < 1e-4
