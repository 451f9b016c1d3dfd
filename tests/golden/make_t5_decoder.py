"""Writes t5_decoder.npz: the logits of transformers' T5ForConditionalGeneration for the narrow decoder of tests/models.

Run from the repository root: python -m tests.golden.make_t5_decoder
"""

from pathlib import Path

import numpy as np

from audiojax.encoders.t5 import T5Encoder
from tests.encoders.filling import token_batch
from tests.encoders.test_t5 import t5_variables
from tests.models.test_t5_decoder import CONFIG, WRITTEN, decoder_variables
from tests.parity.t5_decoder_reference import logits, reference

FILE = Path(__file__).with_name("t5_decoder.npz")


def main() -> None:
    ids, mask = token_batch(4, 13, 50)
    model = reference(CONFIG, t5_variables(T5Encoder(CONFIG), ids, mask), decoder_variables())
    np.savez_compressed(FILE, logits=logits(model, ids, mask, WRITTEN))


if __name__ == "__main__":
    main()
