"""Speed of the encoders and generators of published size beside their public torch references, with random weights on both sides.

Nothing is compared but the shape of the result, and that its numbers are finite: the parity tests hold the maths equal. float32 is full
float32 on both sides, on a GPU too; torch in bfloat16 stands beside our float32. The operations of a call are counted on our side and
stand for both: a form that needs fewer of them than its definition makes torch's rate look lower than it is, never ours higher.

This module imports no array library. Sizes are presets of our modules, by name; torch's worker is told the config that ours has made of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from audiojax.bench.harness import MIN_QUIET, Row, Side, compare
from audiojax.errors import AudiojaxError

FORMS = ("eager", "channels_last", "compile", "bfloat16")  # of torch; float32 but for the last, which is eager
NO_IMAGES = ("eager", "compile", "bfloat16")
LOOP = ("eager", "bfloat16")  # a loop around networks, which torch.compile would unroll or compile anew for every length of a cache
PARTS = ("eager", "compile", "bfloat16")  # a loop around networks of one size, each compiled by itself
REFERENCES = ("torch", "transformers", "diffusers")


@dataclass(frozen=True)
class Size:
    """One size of a case.

    Attributes:
      preset: of our module.
      shape: of the input.
      changes: fields of the config that differ from the preset's.
    """

    preset: str
    shape: tuple[int, ...]
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One network at its published size, and at one for tests.

    Attributes:
      title: what it is.
      axes: what it takes, and the axes of that.
      item: what its rates count.
      network: name of the builder in both workers.
      forms: of torch that it has.
    """

    title: str
    axes: str
    item: str
    network: str
    published: Size
    small: Size
    forms: tuple[str, ...]

    def spec(self, small: bool, shape: Mapping[int, int] = MappingProxyType({})) -> dict[str, Any]:
        """What the workers are told of it, with other sizes of some axes of the input."""
        size = self.small if small else self.published
        sizes = [shape.get(axis, usual) for axis, usual in enumerate(size.shape)]
        return {"network": self.network, "preset": size.preset, "shape": sizes, "changes": dict(size.changes)}


LATENTS = "latents [b, t, f, c]"
MELS = "log-mels [b, t, m]"
TOKENS = "tokens [b, l]"
HEAD = {"head": True}
LLAMA_162M = {"width": 768, "layers": 12, "heads": 12, "kv_heads": 12, "head_width": 64, "hidden": 3072, "max_positions": 1024}


def _llama(rows: int) -> Case:
    published, small = Size("llama-2-7b", (rows, 32, 64), LLAMA_162M), Size("tiny", (rows, 8, 5))
    return Case("LLaMA of 162 M, greedy", "[rows, prompt, new tokens]", "new tokens", "llama", published, small, LOOP)


CASES = {
    "generate": Case(
        "whole clips of AudioLDM-S from noise, guided DDIM",
        "[clips, latent frames, steps]",
        "clips",
        "generate",
        Size("audioldm-s", (1, 256, 20)),
        Size("tiny", (1, 16, 2)),
        PARTS,
    ),
    "unet": Case(
        "U-Net of AudioLDM-S",
        LATENTS,
        "latents",
        "unet",
        Size("audioldm-s", (2, 256, 16, 8)),
        Size("tiny", (2, 16, 8, 8), {"contexts": (None,)}),
        FORMS,
    ),
    "train_step": Case(
        "a step of AdamW on the U-Net of AudioLDM-S",
        LATENTS,
        "latents",
        "train_step",
        Size("audioldm-s", (2, 256, 16, 8)),
        Size("tiny", (2, 16, 8, 8), {"contexts": (None,)}),
        FORMS,
    ),
    "vae_decode": Case(
        "VAE decoder of AudioLDM",
        LATENTS,
        "latents",
        "vae_decode",
        Size("audioldm", (1, 256, 16, 8)),
        Size("tiny", (1, 8, 4, 8)),
        FORMS,
    ),
    "hifigan": Case(
        "HiFi-GAN of AudioLDM", MELS, "clips", "hifigan", Size("audioldm", (1, 1024, 64)), Size("tiny", (1, 12, 64)), NO_IMAGES
    ),
    "clap_audio": Case(
        "audio half of CLAP", MELS, "clips", "clap_audio", Size("htsat-unfused", (4, 1001, 64)), Size("tiny", (2, 200, 64)), FORMS
    ),
    "clap_text": Case(
        "text half of CLAP", TOKENS, "captions", "clap_text", Size("htsat-unfused", (16, 32)), Size("tiny", (2, 8)), NO_IMAGES
    ),
    "bert": Case("BERT-base", TOKENS, "captions", "bert", Size("base", (16, 32)), Size("tiny", (2, 8)), NO_IMAGES),
    "t5": Case("encoder of FLAN-T5-large", TOKENS, "captions", "t5", Size("flan-t5-large", (4, 32)), Size("tiny", (2, 8)), NO_IMAGES),
    "cnn14": Case(
        "CNN14 with its tags",
        MELS,
        "clips",
        "cnn14",
        Size("published_32k", (4, 1001, 64), HEAD),
        Size("tiny", (2, 64, 64), HEAD | {"input_pool": (1, 1)}),
        FORMS,
    ),
    "log_mel": Case(
        "log-mels of PANNs",
        "waveforms [b, n]",
        "clips",
        "log_mel",
        Size("panns_32k", (16, 320_000)),
        Size("panns_16k", (2, 4_000)),
        ("eager",),
    ),
    "text_denoiser": Case(
        "a step of the text denoiser, the sound projected before",
        "[captions, words, tokens of sound]",
        "captions",
        "text_denoiser",
        Size("base", (4, 32, 496)),
        Size("tiny", (2, 8, 12)),
        LOOP,
    ),
    "caption_decoder": Case(
        "captions of the text denoiser's rival, greedy",
        "[captions, tokens of sound, words]",
        "words",
        "caption_decoder",
        Size("base", (4, 496, 32)),
        Size("tiny", (2, 12, 5)),
        LOOP,
    ),
    "llama_1": _llama(1),
    "llama_4": _llama(4),
    "llama_16": _llama(16),
}


def run(
    name: str,
    *,
    small: bool = False,
    shape: Mapping[int, int] = MappingProxyType({}),
    torch_forms: Sequence[str] = ("eager",),
    samples: int = MIN_QUIET,
    attempts: int | None = None,
    allow_noise: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Rows of audiojax and of torch in each form that the case `name` of CASES has; see `compare`.

    Args:
      small: at a size for tests.
      shape: axis of the input -> its size, where it is not the case's own.
      torch_forms: some of FORMS, each a row; () leaves torch out. Forms that the case does not have make none.
      samples, attempts, allow_noise, report: see `compare`.

    Raises:
      UsageError: torch or one of its libraries is not installed.
      AudiojaxError: a worker stopped, or a result has not the shape of ours or is not finite.
    """
    case = CASES[name]
    spec = case.spec(small, shape)
    sides = [Side("audiojax", "audiojax.bench.towers_jax", spec)]
    for form in torch_forms:
        if form in case.forms:
            sides.append(Side(f"torch {form}", "audiojax.bench.towers_torch", spec | {"form": form}, REFERENCES))
    title = f"{name}: {case.title}, {case.axes} = {spec['shape']}; items are {case.item}"
    return compare(title, sides, check=check, samples=samples, attempts=attempts, allow_noise=allow_noise, report=report)


def check(side: Side, facts: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """AudiojaxError where a result has another shape than ours, or numbers that are not finite."""
    if facts["shape"] != ours["shape"]:
        raise AudiojaxError(f"{side.name} makes {facts['shape']} and audiojax {ours['shape']}: not the same network")
    if not facts["finite"]:
        raise AudiojaxError(f"{side.name} makes numbers that are not finite: its time would mean nothing")
