"""Writes towers.npz: what torch gives for the narrow towers of tests/encoders, so that the default tests need no torch.

Run from the repository root: python -m tests.golden.make_towers
"""

from pathlib import Path

import numpy as np
import torch

from audiojax.encoders.bert import BertEncoder
from audiojax.encoders.panns import Panns
from tests.encoders import test_bert, test_panns
from tests.encoders.filling import filled_variables, mel_batch, token_batch
from tests.parity.bert_reference import reference_bert
from tests.parity.panns_twin import TwinPanns, load
from tests.parity.tower_keys import BERT, PANNS, to_torch

FILE = Path(__file__).with_name("towers.npz")


def panns_outputs(arch: str) -> dict[str, np.ndarray]:
    """Outputs of the torch twin for two clips of 107 frames."""
    config, mel = test_panns.NARROW[arch], mel_batch(2, 107)
    twin = load(TwinPanns(config), to_torch(filled_variables(Panns(config), mel), PANNS)).eval()
    return {f"{arch}/{name}": value.numpy() for name, value in twin(torch.tensor(mel)).items()}


def bert_outputs() -> dict[str, np.ndarray]:
    """Valid token states and pooled vectors of transformers' BertModel."""
    ids, mask = token_batch(4, 13, 50)
    variables = filled_variables(BertEncoder(test_bert.NARROW), ids, mask)
    model = load(reference_bert(test_bert.NARROW), to_torch(variables, BERT)).eval()
    out = model(*(torch.tensor(x.astype(np.int64)) for x in (ids, mask, ids % 2)))
    return {"bert/tokens": out.last_hidden_state.numpy()[mask], "bert/pooled": out.pooler_output.numpy()}


def main() -> None:
    with torch.no_grad():
        np.savez_compressed(FILE, **panns_outputs("cnn14"), **panns_outputs("resnet38"), **bert_outputs())


if __name__ == "__main__":
    main()
