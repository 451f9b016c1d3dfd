"""What a phase may not train: a config that would is refused, by the paths that parameters have and not by the words of the regex."""

import numpy as np
import pytest

from audiojax.config import load_config, to_dict
from audiojax.errors import UsageError
from audiojax.papers import PAPERS
from audiojax.trainer.loop import check_phase
from audiojax.trainer.settings import make_phase


@pytest.mark.parametrize(
    ("spec", "phase", "trainable", "frozen"),
    [
        ("dac/soundworld:debug", "diffusion", ".*", "towers/"),
        ("dac/soundworld:debug", "diffusion", "^(diffuser|towers/text/word)", "towers/text/word"),
        ("diffusion_link/soundworld:debug", "link", ".*", "towers/"),
        ("diffusion_link/soundworld:debug,decoder", "decoder", "(adapter|head)/", "llama/head/kernel"),
        ("diffusion_link/soundworld:debug,decoder", "decoder", "^(adapter|head|llama/layer_0)/", "llama/layer_0/"),
        ("diffusion_link/soundworld:debug,decoder", "decoder", "^(adapter|head|bridge)/", "bridge/"),
        ("diffusion_link/soundworld:debug,decoder", "decoder", "^(adapter|head)/|^towers/text/encoder", "towers/text/encoder"),
    ],
)
def test_frozen_parameters_are_not_trained(spec, phase, trainable, frozen):
    config = to_dict(load_config(spec))
    task = PAPERS[config["paper"]].make_task(config, phase, vocab_size=1_000)
    common = {key: value for key, value in config["train"].items() if key != "eval_batch_size"}
    shared, batch = {key: config[key] for key in ("seed", "parallel", "mesh")}, {"clip_index": np.zeros(8, np.int32)}
    plan = {**config[phase], "batch_size": 8}
    check_phase(task, make_phase(phase, shared, common, plan), batch)
    with pytest.raises(UsageError, match=f"config key '{phase}.trainable' is .* and trains '{frozen}.*', which is frozen"):
        check_phase(task, make_phase(phase, shared, common, {**plan, "trainable": trainable}), batch)
