"""Writes audiomae_beats.npz: what the torch twins give for the narrow towers of tests/encoders, so that the default tests need no torch.

Run from the repository root: python -m tests.golden.make_audiomae_beats
"""

from pathlib import Path

import numpy as np
import torch

from audiojax.encoders.audiomae import AudioMae
from audiojax.encoders.beats import Beats
from audiojax.pretrained import audiomae, beats
from audiojax.pretrained.rules import export
from tests.encoders import test_audiomae, test_beats
from tests.encoders.filling import filled_variables, mel_batch
from tests.parity.audiomae_twin import TwinAudioMae, twin_pool
from tests.parity.beats_twin import TwinBeats
from tests.parity.panns_twin import load

FILE = Path(__file__).with_name("audiomae_beats.npz")


def audiomae_outputs(name: str) -> dict[str, np.ndarray]:
    """Outputs of the twin for two clips, whole; and the pooled features."""
    config = test_audiomae.NARROW[name]
    mel = mel_batch(2, config.frames, config.mels)
    twin = load(TwinAudioMae(config), export(filled_variables(AudioMae(config), mel), audiomae.family(config))).eval()
    out = twin(torch.tensor(mel))
    out["condition"] = twin_pool(out["features"], config.grid, test_audiomae.WINDOW)
    return {f"{name}/{key}": value.numpy() for key, value in out.items()}


def beats_outputs() -> dict[str, np.ndarray]:
    """Outputs of the twin for three clips of different lengths; of the tokens the valid ones."""
    config, (mel, mask) = test_beats.NARROW, test_beats.batch()
    twin = load(TwinBeats(config), export(filled_variables(Beats(config), mel), beats.family(config))).eval()
    out = {key: value.numpy() for key, value in twin(torch.tensor(mel), torch.tensor(~mask)).items()}
    return {f"beats/{key}": value for key, value in out.items()} | {"beats/tokens": out["tokens"][out["mask"]]}


def main() -> None:
    with torch.no_grad():
        outputs = [audiomae_outputs(name) for name in test_audiomae.NARROW] + [beats_outputs()]
    np.savez_compressed(FILE, **{name: value for group in outputs for name, value in group.items()})


if __name__ == "__main__":
    main()
