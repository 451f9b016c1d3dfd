"""Writes llama.npz: what transformers gives for the narrow models of tests/models/test_llama.py.

Run from the repository root: python -m tests.golden.make_llama
"""

from pathlib import Path

import numpy as np
import torch

from audiojax.models.llama import Llama
from audiojax.pretrained import llama
from audiojax.pretrained.rules import export
from tests.encoders.filling import filled_variables, token_batch
from tests.models.test_llama import BEAMS, END, NARROW
from tests.parity.llama_reference import reference_llama
from tests.parity.panns_twin import load

FILE = Path(__file__).with_name("llama.npz")


def reference(config, variables):
    """The torch model with our weights."""
    state = export(variables, llama.family(config))
    if config.tie_embeddings:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    return load(reference_llama(config), state).eval()


def outputs(name: str) -> dict[str, np.ndarray]:
    """Logits of valid positions; greedy and beam-search continuations of the prompts of 9 tokens."""
    config, (ids, mask) = NARROW[name], token_batch(4, 13, 50)
    model = reference(config, filled_variables(Llama(config), ids, mask))
    found = {"logits": model(*(torch.tensor(x.astype(np.int64)) for x in (ids, mask))).logits.numpy()[mask]}
    prompts = torch.tensor(ids[:, :9].astype(np.int64))
    for label, beams in (("greedy", 1), ("beams", BEAMS)):
        rules = {"num_beams": beams, "do_sample": False, "max_new_tokens": 8, "eos_token_id": END, "pad_token_id": 0}
        made = model.generate(prompts, attention_mask=torch.ones_like(prompts), **rules)[:, 9:].numpy()
        after_end = np.cumsum(made == END, axis=1) - (made == END) > 0  # its beam search fills with the end token where padding is 0
        found[label] = np.pad(np.where(after_end, 0, made), ((0, 0), (0, 8 - made.shape[1]))).astype(np.int32)
    return {f"{name}/{key}": value for key, value in found.items()}


def main() -> None:
    with torch.no_grad():
        np.savez_compressed(FILE, **{key: value for name in NARROW for key, value in outputs(name).items()})


if __name__ == "__main__":
    main()
