"""The finished model of a run as one folder: Orbax, or what it is to others' libraries."""

import os
from pathlib import Path

from audiojax.api.loading import makes_sounds
from audiojax.api.making.run_making import open_run_maker, run_unet
from audiojax.api.opening import final_folder, open_tower_run
from audiojax.config import to_dict
from audiojax.errors import UsageError
from audiojax.files import shown
from audiojax.nn.lora import Lora
from audiojax.pretrained import store
from audiojax.pretrained.llama_lora import save_adapter
from audiojax.pretrained.publish import publish_converted, publish_pipeline, publish_tower
from audiojax.text.tokenizer import Tokenizer
from audiojax.towers.latent import GriffinLimTower
from audiojax.trainer.export import export_model, load_export, read_config

PARTS = {"autoencoder": "vae", "vocoder": "hifigan"}  # kinds of public checkpoints that Re-AudioLDM's phases train


def export(workdir: str | os.PathLike, out: str | os.PathLike, format: str = "orbax", vocoder: str | os.PathLike | None = None) -> Path:
    """Copies the finished model of a run into a folder of its own, which `audiojax.load` opens.

    Args:
      format: "orbax"; or "safetensors" for the names and shapes of a public layout, of a folder that `audiojax weights convert` wrote or of
        a tower that `audiojax towers` trained: BERT, T5 and CLAP for transformers, the others as their authors' files; of Re-AudioLDM's
        autoencoder for diffusers, and of its vocoder for transformers; of a run of its U-Net that retrieves nothing all of AudioLDM, as
        diffusers' AudioLDMPipeline opens it, and of one that retrieves the U-Net as an AudioLDM2UNet2DConditionModel, whose first context
        is AudioMAE's tokens and whose second T5's; of Diffusion-Link's decoder the LLaMA's adapters for peft.
      vocoder: of AudioLDM, a run or a checkpoint, where the run's config names none.

    Raises:
      UsageError: no finished run, one that has no public layout, another format, or `out` holds something already.
    """
    if format not in ("orbax", "safetensors"):
        raise UsageError(f"--format {format}: takes orbax or safetensors")
    if vocoder is not None and (format == "orbax" or store.is_converted(workdir)):
        raise UsageError("--vocoder goes with --format safetensors, for a run that makes sounds")
    if format == "safetensors":
        return publish_converted(workdir, out) if store.is_converted(workdir) else _publish_run(final_folder(workdir), out, vocoder)
    out = Path(out).expanduser()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: holds something already; --out takes a new or empty folder")
    model = load_export(final_folder(workdir))
    return export_model(
        out, params=model.params, model_state=model.model_state, config=model.config, tokenizer=model.tokenizer, card=model.card
    )


def _publish_run(folder: Path, out: str | os.PathLike, vocoder: str | os.PathLike | None) -> Path:
    """The tower of a finished run in its public layout; of Diffusion-Link with a decoder the LLaMA's adapters, as peft writes them."""
    loaded = read_config(folder / "config.json")
    if makes_sounds(loaded):
        return _publish_maker(folder, out, vocoder)
    if vocoder is not None:
        raise UsageError("--vocoder is for a run that makes sounds")
    config = to_dict(loaded)
    if config["paper"] == "diffusion_link" and config["phases"][-1] == "decoder":
        lora = config["model"]["lora"]
        return save_adapter(load_export(folder).params["adapter"], Lora(**lora | {"targets": tuple(lora["targets"])}), out)
    tower = open_tower_run(folder)
    if config["paper"] == "re_audioldm":
        return publish_tower(tower, PARTS[config["phases"][-1]], out)
    name = config["model"]["tower"]
    texts = (Tokenizer.load(folder / "tokenizer"), config["data"]["max_tokens"]) if name in ("clap", "bert", "t5", "llama") else (None, 0)
    return publish_tower(tower, {"tagger": "panns"}.get(name, name), out, *texts)


def _publish_maker(folder: Path, out: str | os.PathLike, vocoder: str | os.PathLike | None) -> Path:
    """A run of the U-Net as AudioLDM; of one that retrieves, as no public pipeline does, the U-Net alone."""
    model = load_export(folder)
    if model.config.model.contexts != "none":
        if vocoder is not None:
            raise UsageError(f"--vocoder: {shown(folder)} retrieves, as no public pipeline does, so that its U-Net goes out alone")
        return publish_tower(run_unet(model), "unet", out)
    maker = open_run_maker(model, vocoder=vocoder, progress=False)
    nets = maker.networks
    if isinstance(nets.vocoder, GriffinLimTower):
        raise UsageError(f"{shown(folder)}: has Griffin-Lim, which no pipeline takes: name a vocoder with --vocoder")
    towers = {"text_encoder": nets.text, "unet": nets.unet, "vae": nets.vae, "vocoder": nets.vocoder}
    frames = maker.geometry.frames(round(maker.seconds * maker.sample_rate))
    return publish_pipeline(towers, (model.config.noise.schedule, nets.schedule), out, model.config.data.max_tokens, frames)
