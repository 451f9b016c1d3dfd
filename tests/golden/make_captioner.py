"""Writes captioner.npz: what transformers gives for the narrow networks of tests/models/test_{text_denoiser,caption_decoder}.py.

Run from the repository root: python -m tests.golden.make_captioner
"""

from pathlib import Path

import numpy as np
import torch

from audiojax.models.caption_decoder import CaptionDecoder
from audiojax.models.text_denoiser import TextDenoiser
from tests.encoders.filling import filled_variables
from tests.models import test_caption_decoder, test_text_denoiser
from tests.models.test_caption_decoder import BEAMS, BEGIN, END, WORDS
from tests.parity.captioner_reference import ReferenceDenoiser, reference_decoder

FILE = Path(__file__).with_name("captioner.npz")


def continuations(model, sound, audio_mask, end, beams, words):
    """Captions by transformers' generate, without the word that begins them, and with 0 after the end."""
    begin = torch.full((len(sound), 1), BEGIN)
    heard = {"encoder_hidden_states": torch.tensor(sound), "encoder_attention_mask": torch.tensor(audio_mask).long()}
    rules = {"num_beams": beams, "do_sample": False, "max_new_tokens": words, "eos_token_id": end, "pad_token_id": 0}
    made = model.generate(begin, attention_mask=torch.ones_like(begin), use_cache=False, **heard, **rules)[:, 1:].numpy()
    after_end = np.cumsum(made == end, axis=1) - (made == end) > 0
    return np.pad(np.where(after_end, 0, made), ((0, 0), (0, words - made.shape[1]))).astype(np.int32)


def denoised(name: str) -> dict[str, np.ndarray]:
    """The prediction of a narrow denoiser."""
    module = TextDenoiser(test_text_denoiser.NARROW[name])
    given = test_text_denoiser.inputs(module.config)
    model = ReferenceDenoiser(module.config, filled_variables(module, *given))
    return {f"denoiser/{name}": model(*(torch.tensor(x) for x in given)).numpy()}


def decoded(name: str) -> dict[str, np.ndarray]:
    """Logits of valid positions of a narrow decoder, and what it writes."""
    module = CaptionDecoder(test_caption_decoder.NARROW[name])
    ids, mask, sound, audio_mask = test_caption_decoder.teacher(module.config)
    model = reference_decoder(module.config, filled_variables(module, ids, mask, sound, audio_mask))
    heard = {"encoder_hidden_states": torch.tensor(sound), "encoder_attention_mask": torch.tensor(audio_mask)}
    logits = model(torch.tensor(ids).long(), attention_mask=torch.tensor(mask).long(), use_cache=False, **heard).logits.numpy()[mask]
    written = {label: continuations(model, sound, audio_mask, END, beams, WORDS) for label, beams in (("greedy", 1), ("beams", BEAMS))}
    return {f"decoder/{name}/{key}": value for key, value in ({"logits": logits} | written).items()}


def main() -> None:
    found = {}
    with torch.no_grad():
        for name in test_text_denoiser.NARROW:
            found |= denoised(name)
        for name in test_caption_decoder.NARROW:
            found |= decoded(name)
    np.savez_compressed(FILE, **found)


if __name__ == "__main__":
    main()
