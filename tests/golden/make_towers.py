"""Writes towers.npz: what torch gives for the narrow towers of tests/encoders, so that the default tests need no torch.

Run from the repository root: python -m tests.golden.make_towers
"""

from pathlib import Path

import numpy as np
import torch

from audiojax.encoders.bert import BertEncoder
from audiojax.encoders.htsat import Htsat
from audiojax.encoders.panns import Panns
from audiojax.encoders.t5 import T5Encoder
from audiojax.pretrained import bert, clap, panns, t5
from audiojax.pretrained.rules import export
from tests.encoders import test_bert, test_htsat, test_panns, test_t5
from tests.encoders.filling import filled_variables, mel_batch, token_batch
from tests.parity.bert_reference import reference_bert
from tests.parity.htsat_reference import reference_htsat
from tests.parity.panns_twin import TwinPanns, load
from tests.parity.t5_reference import reference_t5

FILE = Path(__file__).with_name("towers.npz")


def panns_outputs(arch: str) -> dict[str, np.ndarray]:
    """Outputs of the torch twin for two clips of 107 frames."""
    config, mel = test_panns.NARROW[arch], mel_batch(2, 107)
    twin = load(TwinPanns(config), export(filled_variables(Panns(config), mel), panns.family(config))).eval()
    return {f"{arch}/{name}": value.numpy() for name, value in twin(torch.tensor(mel)).items()}


def bert_outputs() -> dict[str, np.ndarray]:
    """Valid token states and pooled vectors of transformers' BertModel."""
    ids, mask = token_batch(4, 13, 50)
    variables = filled_variables(BertEncoder(test_bert.NARROW), ids, mask)
    model = load(reference_bert(test_bert.NARROW), export(variables, bert.family(test_bert.NARROW))).eval()
    out = model(*(torch.tensor(x.astype(np.int64)) for x in (ids, mask, ids % 2)))
    return {"bert/tokens": out.last_hidden_state.numpy()[mask], "bert/pooled": out.pooler_output.numpy()}


def roberta_outputs() -> dict[str, np.ndarray]:
    """The same of RobertaModel; padding carries the padding id, from which transformers finds the positions."""
    ids, mask = test_bert.roberta_batch(4, 13)
    variables = filled_variables(BertEncoder(test_bert.NARROW_ROBERTA), ids, mask)
    model = load(reference_bert(test_bert.NARROW_ROBERTA), export(variables, bert.family(test_bert.NARROW_ROBERTA))).eval()
    out = model(*(torch.tensor(x.astype(np.int64)) for x in (ids, mask)))
    return {"roberta/tokens": out.last_hidden_state.numpy()[mask], "roberta/pooled": out.pooler_output.numpy()}


def t5_outputs(name: str) -> dict[str, np.ndarray]:
    """Valid token states of transformers' T5EncoderModel."""
    config, (ids, mask) = test_t5.NARROW[name], token_batch(4, 13, 50)
    state = export(test_t5.t5_variables(T5Encoder(config), ids, mask), t5.family(config))
    model = load(reference_t5(config), state | {"encoder.embed_tokens.weight": state["shared.weight"]}).eval()
    return {f"{name}/tokens": model(*(torch.tensor(x.astype(np.int64)) for x in (ids, mask))).last_hidden_state.numpy()[mask]}


def htsat_outputs(name: str) -> dict[str, np.ndarray]:
    """Clip vectors of transformers' ClapAudioModel for two clips, one of them longer than the model's where it fuses."""
    config, longer = test_htsat.NARROW[name], np.array([False, True])
    mel = test_htsat.views(config, 2, 200)
    variables = filled_variables(Htsat(config), mel, longer)
    model = reference_htsat(config, export(variables, clap.audio_family(config)))
    arguments = {"is_longer": torch.tensor(longer)[:, None]} if config.fusion else {}
    return {f"{name}/pooled": model(torch.tensor(mel), **arguments).pooler_output.numpy()}


def main() -> None:
    with torch.no_grad():
        outputs = [panns_outputs("cnn14"), panns_outputs("resnet38"), bert_outputs(), roberta_outputs()]
        outputs += [t5_outputs("t5"), t5_outputs("flan_t5"), htsat_outputs("test"), htsat_outputs("test-fused")]
    np.savez_compressed(FILE, **{name: value for group in outputs for name, value in group.items()})


if __name__ == "__main__":
    main()
