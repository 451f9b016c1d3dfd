"""Writes latent.npz: what diffusers and transformers give for the narrow networks of tests/models, so that those need no torch.

Run from the repository root: python -m tests.golden.make_latent
"""

from pathlib import Path

import numpy as np

from audiojax.models.unet import UNet
from audiojax.models.vae import AutoencoderKl
from audiojax.pretrained import hifigan, unet, vae
from audiojax.pretrained.rules import export
from tests.encoders.filling import filled_variables
from tests.models.latent_facts import HIFIGANS, UNETS, VAE, hifigan_example, unet_inputs, vae_inputs
from tests.parity import latent_reference as reference

FILE = Path(__file__).with_name("latent.npz")


def vae_outputs() -> dict[str, np.ndarray]:
    """Moments of two spectrograms, and the spectrograms of two latents."""
    mel, latents = vae_inputs(VAE)
    model = reference.reference_vae(VAE, export(filled_variables(AutoencoderKl(VAE), mel), vae.family(VAE)))
    return {f"vae/{name}": value for name, value in reference.vae_outputs(model, mel, latents).items()}


def unet_outputs(name: str) -> np.ndarray:
    """The predicted noise, with the heads of the config."""
    config, inputs = UNETS[name], unet_inputs(UNETS[name])
    model = reference.reference_unet(config, export(filled_variables(UNet(config), *inputs), unet.family(config)))
    return reference.unet_outputs(model, *inputs)


def hifigan_outputs(name: str) -> np.ndarray:
    """Waveforms of two spectrograms."""
    module, variables, mel = hifigan_example(HIFIGANS[name])
    model = reference.reference_hifigan(module.config, export(variables, hifigan.family(module.config)))
    return reference.waveforms(model, mel)


def main() -> None:
    outputs = vae_outputs()
    outputs |= {f"unet/{name}": unet_outputs(name) for name in ("audioldm", "re-audioldm")}
    outputs |= {f"hifigan/{name}": hifigan_outputs(name) for name in HIFIGANS}
    np.savez_compressed(FILE, **outputs)


if __name__ == "__main__":
    main()
