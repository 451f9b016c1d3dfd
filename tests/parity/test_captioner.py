"""The two networks of the captioner beside transformers' BERT decoder, with random weights and every bias non-zero."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.models.caption_decoder import PRESETS as DECODERS
from audiojax.models.caption_decoder import CaptionDecoder, generate
from audiojax.models.decoding import Decoding
from audiojax.models.text_denoiser import PRESETS, TextDenoiser
from tests.encoders.filling import filled_variables, relative_error
from tests.models import test_caption_decoder, test_text_denoiser
from tests.models.test_caption_decoder import BEGIN, END, teacher

torch = pytest.importorskip("torch")
from tests.golden.make_captioner import continuations  # noqa: E402
from tests.parity.captioner_reference import ReferenceDenoiser, reference_decoder  # noqa: E402

pytestmark = pytest.mark.parity
BOUNDS = {jnp.float32: 1e-4, jnp.bfloat16: 3e-2}


def tensors(arrays):
    return [torch.tensor(np.asarray(x)) for x in arrays]


def compare(module, variables, given, theirs, valid=...):
    for dtype, bound in BOUNDS.items():
        ours = jax.jit(lambda v, d=dtype: module.clone(dtype=d).apply(v, *given, train=False))(variables)
        assert relative_error(ours[valid], theirs[valid]) < bound


DENOISERS = test_text_denoiser.NARROW | {
    "tiny": PRESETS["tiny"],
    "soundworld": PRESETS["soundworld"],
    "timed": replace(test_text_denoiser.NARROW["ladic"], time_norm=True),
}


@pytest.mark.parametrize("name", DENOISERS)
def test_denoiser(name):
    module, given = TextDenoiser(DENOISERS[name]), test_text_denoiser.inputs(DENOISERS[name])
    variables = filled_variables(module, *given)
    with torch.no_grad():
        theirs = ReferenceDenoiser(module.config, variables)(*tensors(given)).numpy()
    compare(module, variables, given, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["base", "ladic"])
def test_published_denoiser(preset):
    module, given = TextDenoiser(PRESETS[preset]), test_text_denoiser.inputs(PRESETS[preset], rows=2, length=32, tokens=62)
    variables = filled_variables(module, *given)
    with torch.no_grad():
        theirs = ReferenceDenoiser(module.config, variables)(*tensors(given)).numpy()
    compare(module, variables, given, theirs)


@pytest.mark.parametrize("name", [*test_caption_decoder.NARROW, "tiny"])
def test_decoder(name):
    config = (test_caption_decoder.NARROW | DECODERS)[name]
    module, given = CaptionDecoder(config), teacher(config)
    variables = filled_variables(module, *given)
    ids, mask, sound, audio_mask = tensors(given)
    with torch.no_grad():
        theirs = reference_decoder(config, variables)(
            ids.long(), attention_mask=mask.long(), encoder_hidden_states=sound, encoder_attention_mask=audio_mask, use_cache=False
        ).logits.numpy()
    compare(module, variables, given, theirs, given[1])


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("name", ["tied", "own", "tiny"])
def test_captions_are_those_of_transformers(name, beams):
    config = (test_caption_decoder.NARROW | DECODERS)[name]
    module, (_, _, sound, audio_mask) = CaptionDecoder(config), teacher(config)
    variables = filled_variables(module, *teacher(config))
    made = generate(module, variables, sound, audio_mask, Decoding(12, eos_ids=(END,), num_beams=beams), begin_id=BEGIN)
    with torch.no_grad():
        theirs = continuations(reference_decoder(config, variables), sound, audio_mask, END, beams, 12)
    np.testing.assert_array_equal(made.tokens, theirs)
