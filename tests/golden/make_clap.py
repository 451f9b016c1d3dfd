"""Writes clap.npz: what transformers gives for the narrow CLAPs of tests/encoders/test_clap.py and tests/towers/test_clap.py.

Run from the repository root: python -m tests.golden.make_clap
"""

from pathlib import Path

import numpy as np
import torch

from audiojax.encoders.clap import Clap
from audiojax.pretrained import clap
from audiojax.pretrained.rules import export
from tests.encoders import test_clap
from tests.encoders.filling import filled_variables
from tests.parity.clap_reference import reference_clap, reference_features
from tests.towers import clap_cases

FILE = Path(__file__).with_name("clap.npz")


def model_outputs() -> dict[str, np.ndarray]:
    """Features, un-normalised text embeddings and logits of the fused ClapModel."""
    config = test_clap.FUSED
    inputs = test_clap.inputs_of(config)
    model = reference_clap(config, export(filled_variables(Clap(config), *inputs), clap.family(config)))
    mel, ids, mask, longer = (torch.tensor(x) for x in inputs)
    out = model(ids.long(), mel, longer[:, None], mask.long())
    outputs = {
        "audio_features": model.get_audio_features(mel, longer[:, None]).pooler_output,
        "text_features": model.get_text_features(ids.long(), mask.long()).pooler_output,
        "text_embeds": model.text_projection(model.text_model(ids.long(), mask.long()).pooler_output),
        "logits_per_audio": out.logits_per_audio,
        "logits_per_text": out.logits_per_text,
    }
    return {f"fused/{key}": value.numpy() for key, value in outputs.items()}


def tower_outputs(name: str) -> dict[str, np.ndarray]:
    """Unit vectors of clips through ClapFeatureExtractor and ClapModel, one clip at a time."""
    config, front_end = test_clap.NARROW[name], clap_cases.FRONT_ENDS[name]
    model = reference_clap(config, export(clap_cases.variables(name), clap.family(config)))
    clips = [clip for clip in clap_cases.clips() if front_end.fusion or len(clip) <= front_end.samples]
    rows = [model.get_audio_features(*reference_features(front_end, [clip])).pooler_output.numpy() for clip in clips]
    return {f"{name}/embedded": np.concatenate(rows)}


def main() -> None:
    with torch.no_grad():
        groups = [model_outputs(), *(tower_outputs(name) for name in test_clap.NARROW)]
    np.savez_compressed(FILE, **{name: value for group in groups for name, value in group.items()})


if __name__ == "__main__":
    main()
