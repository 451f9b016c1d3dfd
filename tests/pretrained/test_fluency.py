"""The checkpoint of FENSE's fluency detector, laid out as it is published: names, values beside the weights, sizes from shapes."""

import jax
import numpy as np
import pytest

from audiojax.encoders.bert import BertClassifier, BertConfig
from audiojax.errors import UsageError
from audiojax.pretrained import fluency
from audiojax.pretrained.load import load_tower
from audiojax.pretrained.rules import ConversionError, export
from audiojax.towers.text import TextClassifierTower
from tests.encoders.filling import filled_variables, token_batch
from tests.pretrained.torch_layout import tensor, zip_file

TINY = BertConfig(vocab_size=60, width=128, layers=2, heads=2, hidden=40, max_positions=70)  # heads of 64, as prajjwal1/bert-tiny
IDS, MASK = token_batch(3, 9, 60)


def variables():
    return filled_variables(BertClassifier(TINY, len(fluency.LABELS)), IDS, MASK)


def state():
    """The tensors of the file, with those that are not used."""
    own = export(variables(), fluency.family(TINY))
    unused = {"embeddings.position_ids": np.zeros((1, 70), np.int64), "pooler.dense.weight": np.zeros((128, 128), np.float32)}
    return own | {f"encoder.{name}": value for name, value in unused.items()} | {"encoder.pooler.dense.bias": np.zeros(128, np.float32)}


def write(path, tensors):
    saved = {"model_type": "prajjwal1/bert-tiny", "num_classes": 6, "state_dict": {name: tensor(value) for name, value in tensors.items()}}
    path.write_bytes(zip_file(saved))
    return path


def test_names_sizes_and_values(tmp_path):
    tower = load_tower(write(tmp_path / "echecker_clotho_audiocaps_tiny.ckpt", state()))
    assert isinstance(tower, TextClassifierTower)
    assert tower.config == TINY
    assert tower.labels[-1] == "error"
    assert len(tower.report.ignored) == 3
    jax.tree.map(np.testing.assert_array_equal, dict(tower.params), variables())
    logits = tower(IDS, MASK)
    assert logits.shape == (3, 6)
    longer = [np.pad(x, ((0, 0), (0, 4))) for x in (IDS, MASK)]
    np.testing.assert_allclose(tower(*longer), logits, rtol=2e-5, atol=1e-5)
    with pytest.raises(UsageError, match="token ids from"):
        tower(IDS + 60, MASK)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"clf.weight": np.zeros((5, 128), np.float32)}, UsageError, "has 5 labels, and FENSE's have 6"),
        ({"clf.weight": np.zeros((6, 100), np.float32)}, UsageError, "100 wide"),
        ({"clf.bias": None}, ConversionError, "clf.bias"),
        ({"encoder.embeddings.position_embeddings.weight": None}, UsageError, "no tensor encoder.embeddings.position"),
        ({"encoder.more": np.zeros(3, np.float32)}, ConversionError, "unexpected: encoder.more"),
        ({"encoder.encoder.layer.1.intermediate.dense.weight": None}, ConversionError, "unexpected: encoder.encoder.layer.1"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, error, message):
    tensors = {name: value for name, value in (state() | change).items() if value is not None}
    with pytest.raises(error, match=message):
        load_tower(write(tmp_path / "x.ckpt", tensors))
