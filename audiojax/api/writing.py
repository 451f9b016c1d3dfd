"""The tokenizer of the language model that a run writes captions with, which need not be that of the run's text tower."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audiojax.api.start import tokenizer_beside
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.text.normalise import clean_caption
from audiojax.text.sentences import Sentences
from audiojax.text.tokenizer import Tokenizer

WRITER = "llama"  # folder in that of the run's tokenizer


def make_sentences(config: Mapping[str, Any], tokenizer: Tokenizer, stored: Path) -> Sentences | None:
    """How captions become the sentences of the language model; None of a config whose phases have none.

    Args:
      tokenizer: of the run.
      stored: folder of the run's tokenizer, which holds that of the language model once there is one.

    Raises:
      UsageError: no tokenizer beside the language model, or one that does not match it.
    """
    if "decoder" not in config["phases"] or "caption" not in config:
        return None
    model, caption = config["model"], config["caption"]
    folder = _folder(config, stored)
    sentences = Sentences(
        Tokenizer.load(folder), caption["prompt"], caption["max_tokens"], clean_caption if config["data"]["clean_captions"] else str
    )
    rows = model["llama_vocabulary"] or tokenizer.vocab_size
    if sentences.tokenizer.vocab_size > rows:
        raise UsageError(
            f"{shown(folder)}: the tokenizer has {sentences.tokenizer.vocab_size} tokens, and the LLaMA's word table {rows} rows;"
            " they do not match: name the model that it came with in init.llama, or set model.llama_vocabulary"
        )
    if sentences.end_id != model["end"]:
        raise UsageError(f"{shown(folder)}: the tokenizer ends a text with id {sentences.end_id}; config key 'model.end' is {model['end']}")
    sentences(["a"])  # says now where the prompt leaves no room
    return sentences


def _folder(config: Mapping[str, Any], stored: Path) -> Path:
    if (stored / WRITER).is_dir():
        return stored / WRITER
    init = config["init"]
    if init["start"] and (inside := tokenizer_beside(init["start"])) and (inside / WRITER).is_dir():
        return inside / WRITER
    folder = tokenizer_beside(init["llama"]) if init["llama"] else None
    if folder is None:
        raise UsageError(f"init.llama: {shown(init['llama'])} has no tokenizer beside its weights, and captions are written with one")
    return folder
