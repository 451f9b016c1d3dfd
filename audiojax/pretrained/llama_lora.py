"""Adapters of LLaMA in the layout of peft: a folder with adapter_config.json and adapter_model.safetensors (or .bin)."""

import json
import os
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.nn.lora import LORA, Lora, merge_lora
from audiojax.partition import merge_params, split_params
from audiojax.pretrained import rules
from audiojax.pretrained.kinds import ADAPTER, expect, number, size
from audiojax.pretrained.llama import KIND
from audiojax.pretrained.reading import open_weights
from audiojax.pretrained.rules import Family, Layout, Row
from audiojax.pretrained.store import new_folder, whole_folder
from audiojax.towers.llama import LlamaTower
from audiojax.typing import Params

ATTENTION = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "o_proj"}
MLP = {"gate": "gate_proj", "up": "up_proj", "down": "down_proj"}
TARGETS = ATTENTION | MLP
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")  # peft writes the first, and wrote the second
FAMILY = Family(
    "LoRA of LLaMA",
    tuple(
        Row(
            rf"layer_(\d+)/{block}/{ours}/lora_{leaf}",
            rf"base_model.model.model.layers.\1.{place}.{theirs}.lora_{leaf.upper()}.kernel",
            Layout((1, 0)),
        )
        for block, place, names in (("attention", "self_attn", ATTENTION), ("mlp", "mlp", MLP))
        for ours, theirs in names.items()
        for leaf in "ab"
    ),
)


def add_adapter(tower: LlamaTower, folder: str | os.PathLike) -> LlamaTower:
    """The tower with an adapter beside its weights: its module has `lora`, and its parameters the folder's A and B, on one device.

    Raises:
      UsageError: no adapter of peft, or one of a kind that `Lora` does not express.
      ConversionError: tensors that do not fit the model.
    """
    folder = Path(folder).expanduser()
    lora = read_lora(folder)
    module = tower.module.clone(lora=lora)
    variables = jax.eval_shape(lambda: module.init(jax.random.key(0), *KIND.example(tower.config), train=False))
    wanted, _ = split_params(variables["params"], LORA)
    file = next((folder / name for name in WEIGHTS if (folder / name).is_file()), folder)
    with open_weights(file) as weights:
        made, _ = rules.load(weights.shapes(), weights.__getitem__, {"params": wanted}, FAMILY, lambda _, array: jnp.asarray(array))
    return replace(tower, module=module, params={"params": merge_params(made["params"], tower.params["params"])})


def merge_adapter(tower: LlamaTower) -> LlamaTower:
    """The tower with its adapter folded into the weights: the same outputs, nothing beside them."""
    if tower.module.lora is None:
        return tower
    return replace(tower, module=tower.module.clone(lora=None), params={"params": merge_lora(tower.params["params"], tower.module.lora)})


def save_adapter(params: Params, lora: Lora, out: str | os.PathLike) -> Path:
    """Writes the A and B among `params` as peft does, for LLaMA as a causal language model: a folder, whole or not at all.

    Raises:
      UsageError: `out` holds something already, or cannot be written.
    """
    target = new_folder(out)
    adapter, _ = split_params(params, LORA)
    tensors = rules.export({"params": adapter}, FAMILY)
    facts = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": [TARGETS[name] for name in lora.targets],
        "bias": "none",
    }
    with whole_folder(target) as partial:
        save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, partial / WEIGHTS[0])
        (partial / ADAPTER).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return target


def read_lora(folder: Path) -> Lora:
    """What adapter_config.json says.

    Raises:
      UsageError: it cannot be read, or is of a kind that `Lora` does not express.
    """
    file = folder / ADAPTER
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        targets = facts["target_modules"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UsageError(f"{shown(file)}: is no config of a peft adapter") from error
    plain = {"use_rslora": False, "use_dora": False, "fan_in_fan_out": False, "lora_bias": False}
    empty = {"modules_to_save": None, "layers_to_transform": None, "rank_pattern": {}, "alpha_pattern": {}}
    expect(facts, peft_type="LORA", bias="none", **plain)
    expect({name: value or empty[name] for name, value in facts.items() if name in empty}, **empty)
    ours = {theirs: name for name, theirs in TARGETS.items()}
    if not isinstance(targets, list) or not targets or any(name not in ours for name in targets):
        raise UsageError(f"{shown(file)}: target_modules is {targets!a:.80}; a list of {', '.join(ours)} is needed")
    return Lora(
        size(facts, "r"), number(facts, "lora_alpha"), number(facts, "lora_dropout", 0.0), tuple(sorted(ours[name] for name in targets))
    )
