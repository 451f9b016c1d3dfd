"""A public checkpoint as one of our towers: finds out what a file or folder holds, makes the module, and fills it. Offline.

A folder in the layout of transformers says what it is in config.json; a bare file is known by its tensors' names.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from audiojax.encoders.bert import BertConfig, BertEncoder
from audiojax.encoders.panns import PRESETS as PANNS_PRESETS
from audiojax.encoders.panns import Panns, PannsConfig
from audiojax.encoders.t5 import T5Config, T5Encoder
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.pretrained import bert, panns, rules, t5
from audiojax.pretrained.reading import WeightFile, open_weights
from audiojax.pretrained.rules import Family, Report
from audiojax.typing import Array

MAX_SIZE = 1_000_000  # of a vocabulary, the largest of all


@dataclass(frozen=True, eq=False)
class Tower:
    """A module with the weights of a checkpoint.

    Attributes:
      module: linen module.
      config: its sizes.
      params: variables for `module.apply`: {"params": ..., and "batch_stats": ... where there are any}.
      report: which name of the file each of them came from, and what was ignored.
      source: the file that was read.
      digest: SHA-256 of it.
    """

    module: nn.Module
    config: Any
    params: Mapping[str, Any]
    report: Report
    source: Path
    digest: str

    def __call__(self, *inputs: Any) -> Any:
        """What the module returns in inference."""
        return self.module.apply(self.params, *inputs, train=False)


@dataclass(frozen=True)
class Kind:
    """How one sort of checkpoint becomes a tower.

    Attributes:
      config: (what config.json holds, or the names and shapes of a bare file) -> our config.
      module: config -> module.
      family: config -> conversion table.
      example: config -> inputs that initialise the module.
    """

    config: Callable[[Mapping[str, Any]], Any]
    module: Callable[..., nn.Module]
    family: Callable[[Any], Family]
    example: Callable[[Any], tuple[Any, ...]]


def load_tower(
    path: str | os.PathLike,
    *,
    dtype: jnp.dtype = jnp.float32,
    param_dtype: jnp.dtype = jnp.float32,
    place: Callable[[str, np.ndarray], Array] | None = None,
) -> Tower:
    """The tower in a file or folder: PANNs, BERT, RoBERTa, or the encoder of T5 and FLAN-T5.

    Tensors are read one at a time, so that no more than one is held beside those that are placed.

    Args:
      path: a folder with config.json and weights, or a file of the PANNs authors.
      dtype: of the computation.
      param_dtype: of the parameters.
      place: (path of the parameter, values) -> array on its devices; by default the first device.

    Raises:
      UsageError: nothing there, or a kind that is not known.
      AudiojaxError: damaged or refused weights, or weights that do not fit the model.
    """
    path = Path(path).expanduser()
    with open_weights(path) as weights:
        name, facts = find_kind(path, weights)
        kind = KINDS[name]
        config = kind.config(facts)
        module = kind.module(config, dtype=dtype, param_dtype=param_dtype)
        check_depth(config, weights.shapes())
        try:
            variables = jax.eval_shape(lambda: module.init(jax.random.key(0), *kind.example(config), train=False))
        except ValueError as error:  # sizes that do not go together, such as a width that the heads do not divide
            raise UsageError(f"{shown(path)}: its sizes make no model ({str(error).splitlines()[0]})") from error
        put = place or (lambda _, array: jnp.asarray(array))
        params, report = rules.load(weights.shapes(), weights.__getitem__, variables, kind.family(config), put)
        return Tower(module, config, params, report, weights.source, weights.digest())


def find_kind(path: Path, weights: WeightFile) -> tuple[str, Mapping[str, Any]]:
    """(name of the kind, the facts that its config is made from).

    Raises:
      UsageError: the kind is not known.
    """
    folder = path if path.is_dir() else path.parent
    file = folder / "config.json"
    if file.is_file():
        try:
            facts = json.loads(file.read_text(encoding="utf-8"))
            name = facts["model_type"]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise UsageError(f"{shown(file)}: is no config of transformers (no model_type can be read)") from error
        if isinstance(name, str) and name in KINDS and name != "panns":
            return name, facts
        raise UsageError(f"{shown(file)}: models of type {name!a} are not known; there are {', '.join(sorted(KINDS))}")
    shapes = weights.shapes()
    if any("conv_block1.conv1.weight" in name for name in shapes):
        return "panns", shapes
    raise UsageError(f"{shown(path)}: no config.json, and its tensors are not those of PANNs: give the folder that the model came in")


def check_depth(config: Any, shapes: Mapping[str, Any]) -> None:
    """A model of a million layers would take hours to trace, and it can be seen at once that the file has not as many tensors."""
    layers = getattr(config, "layers", 0)
    if layers > len(shapes):
        raise UsageError(f"config.json speaks of {layers} layers, and the file has {len(shapes)} tensors: they do not belong together")


def bert_config(facts: Mapping[str, Any]) -> BertConfig:
    """Sizes of a BERT or RoBERTa encoder from config.json; what it leaves out is as in transformers."""
    roberta = facts["model_type"] == "roberta"
    _expect(facts, hidden_act="gelu", position_embedding_type="absolute")
    return BertConfig(
        vocab_size=_size(facts, "vocab_size"),
        width=_size(facts, "hidden_size"),
        layers=_size(facts, "num_hidden_layers"),
        heads=_size(facts, "num_attention_heads"),
        hidden=_size(facts, "intermediate_size"),
        max_positions=_size(facts, "max_position_embeddings"),
        segments=_size(facts, "type_vocab_size", 2),
        padding_id=_size(facts, "pad_token_id", 1, least=0) if roberta else None,
        norm_eps=facts.get("layer_norm_eps", 1e-12),
    )


def t5_config(facts: Mapping[str, Any]) -> T5Config:
    """Sizes of the encoder of a T5 or FLAN-T5 from config.json."""
    form = facts.get("feed_forward_proj", "relu")
    if form not in ("relu", "gated-gelu"):
        raise UsageError(f"config.json: feed_forward_proj is {form!a}; there are relu and gated-gelu")
    return T5Config(
        vocab_size=_size(facts, "vocab_size"),
        width=_size(facts, "d_model"),
        layers=_size(facts, "num_layers"),
        heads=_size(facts, "num_heads"),
        head_width=_size(facts, "d_kv"),
        hidden=_size(facts, "d_ff"),
        gated=form == "gated-gelu",
        buckets=_size(facts, "relative_attention_num_buckets", 32),
        max_distance=_size(facts, "relative_attention_max_distance", 128),
        norm_eps=facts.get("layer_norm_epsilon", 1e-6),
    )


def panns_config(shapes: Mapping[str, tuple[int, ...]]) -> PannsConfig:
    """CNN14 or ResNet38 as published, told apart by the names of their tensors, with the tagging head that the files have.

    Both rates have the same shapes, but not the same spectrogram: 16 kHz files keep a mel matrix of 257 rows.
    """
    arch = "resnet38" if any("resnet." in name for name in shapes) else "cnn14"
    mel = next((shape for name, shape in shapes.items() if name.endswith("melW")), (513, 64))
    base = PANNS_PRESETS[arch]["published_16k" if mel[0] == 257 else "published_32k"]
    return replace(base, head=any("fc_audioset" in name for name in shapes))


def _size(facts: Mapping[str, Any], key: str, default: int | None = None, least: int = 1) -> int:
    """A whole number of config.json, small enough to be one of a model's sizes."""
    value = facts.get(key, default)
    if type(value) is not int or not least <= value <= MAX_SIZE:
        raise UsageError(f"config.json: {key} is {value!a:.80}, and a whole number from {least} to {MAX_SIZE:,} is needed")
    return value


def _expect(facts: Mapping[str, Any], **values: Any) -> None:
    for key, value in values.items():
        if facts.get(key, value) != value:
            raise UsageError(f"config.json: {key} is {facts[key]!a}, and this tower has {value!a} alone")


def _one_token(config: Any) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((1, 1), np.int32), np.ones((1, 1), bool)


_BERT = Kind(bert_config, BertEncoder, bert.family, _one_token)
KINDS = {
    "bert": _BERT,
    "roberta": _BERT,
    "t5": Kind(t5_config, T5Encoder, t5.family, _one_token),
    "panns": Kind(panns_config, Panns, panns.family, lambda config: (np.zeros((1, 320, config.mels), np.float32),)),
}
