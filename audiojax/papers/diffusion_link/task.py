"""Diffusion-Link as tasks for the trainer: config in, four pure functions out. Each phase has a file of its own."""

from collections.abc import Iterable, Mapping
from typing import Any

from audiojax.errors import UsageError
from audiojax.papers.diffusion_link import decoder, link, settings
from audiojax.papers.diffusion_link.embeddings import audio_embeddings, text_embeddings
from audiojax.papers.diffusion_link.settings import PHASES, make_settings
from audiojax.papers.diffusion_link.writer import make_writer
from audiojax.papers.task import Encoders, Paper, Slot, Statistics, Task, choice
from audiojax.typing import Array, Batch, Params


def make_task(config: Mapping[str, Any], phase: str, *, vocab_size: int) -> Task:
    """The task of one phase, "link" or "decoder"."""
    choice("phases", phase, PHASES)
    return decoder.make(make_writer(config, vocab_size)) if phase == "decoder" else link.make(make_settings(config, vocab_size))


def encoders(config: Mapping[str, Any], *, vocab_size: int) -> Encoders:
    """CLAP's embedding of a clip, and of a caption."""
    made = make_settings(config, vocab_size)

    def of_audio(params: Params, model_state: Any, batch: Batch) -> dict[str, Array]:
        return {"audio_embedding": audio_embeddings(made, params, model_state, batch)}

    def of_text(params: Params, model_state: Any, batch: Batch) -> dict[str, Array]:
        return {"text_embedding": text_embeddings(made, params, model_state, batch)}

    return Encoders(of_audio, of_text, {name: config["model"][name] for name in ("clap_preset", "front_end", "dtype")}, ("clap",))


def check(config: Mapping[str, Any]) -> None:
    """What would otherwise fail, or mislead, in the middle of a run. UsageError names the key."""
    settings.check(config)
    if "decoder" in config["phases"]:
        decoder.check(config)


def outside(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The LLaMA, where the config leaves it in its folder."""
    return ("llama",) if "decoder" in config["phases"] and config["model"]["llama_stored"] == "folder" else ()


def continues(config: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """A decoder stands on the bridge of the run that it goes on from, in that run's space. UsageError names the key that differs."""
    if "link" in config["phases"]:
        return
    for section, key in (("bridge", "form"), ("bridge", "scale"), ("bridge", "centre"), ("noise", "schedule"), ("noise", "steps")):
        if (ours := config[section][key]) != (found := theirs[section][key]):
            raise UsageError(f"config key '{section}.{key}' is {ours!r}, and the bridge of init.start was made with {found!r}")


def measure(config: Mapping[str, Any], params: Params, batches: Iterable[Batch], *, vocab_size: int) -> dict[str, Any]:
    """The statistics of the bridge, from stored embeddings of training pairs."""
    return link.measure(make_settings(config, vocab_size), batches)


PAPER = Paper(
    PHASES,
    make_task,
    check,
    slots={"clap": Slot("towers", "batch_stats/towers"), "llama": Slot("llama")},
    encoders=encoders,
    statistics=Statistics(("bridge",), measure),
    outside=outside,
    continues=continues,
)
