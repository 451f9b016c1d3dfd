"""Training steps of the installed configs by their shapes alone: batches of published sizes, and everything that a step is lowered with."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from audiojax.papers import PAPERS
from audiojax.partition import split_params
from audiojax.trainer.layout import make_layout, shardings_of, wrap_step
from audiojax.trainer.optim import make_optimizer
from audiojax.trainer.settings import make_phase
from audiojax.trainer.state import create_state
from audiojax.trainer.step import make_train_step

RETRIEVED = 3  # pairs of an example


class Lowered(NamedTuple):
    """A step on a layout.

    Attributes:
      step: lowered, not compiled.
      abstract: {"params", "model_state"} that the phase starts from.
      state, frozen: what the step takes.
      shardings: of both.
    """

    step: Any
    abstract: Any
    state: Any
    frozen: Any
    shardings: Any


def task_of(config, phase, vocab_size=30_522):
    return PAPERS[config["paper"]].make_task(config, phase, vocab_size=vocab_size)


def phase_of(config, name):
    common = {key: value for key, value in config["train"].items() if key != "eval_batch_size"}
    return make_phase(name, {"seed": config["seed"], "parallel": config["parallel"], "mesh": config["mesh"]}, common, config[name])


def vocabulary(config):
    """Rows of the word table that the published tokenizer needs."""
    roberta = config["model"].get("text_preset") == "roberta-base" or config["paper"] == "diffusion_link"
    return 50_265 if roberta else 30_522


def example_shapes(config, phase):
    """name -> (shape, dtype) of one example of a phase, whose frozen towers have been run before where the config says so."""
    data, kind = config["data"], f"{config['paper']}/{phase}"
    samples = round(data["seconds"] * data["sample_rate"])
    words = {"text_ids": ((data["max_tokens"],), jnp.int32), "text_mask": ((data["max_tokens"],), bool)}
    if kind in ("re_audioldm/autoencoder", "re_audioldm/vocoder"):
        return {"waveform": ((samples,), jnp.float32)}
    if kind == "re_audioldm/diffusion":
        heard, read = (RETRIEVED, 32, 768), (RETRIEVED, 50, 1024)
        found = {"audio_moments": ((256, 16, 16), jnp.float16), "text_embedding": ((512,), jnp.float16), "retrieved_valid": ((3,), bool)}
        found |= {"retrieved_audio": (heard, jnp.float32), "retrieved_text": (read, jnp.float32), "retrieved_text_mask": (read[:2], bool)}
        return found | {"clip_index": ((), jnp.int32)}
    if config["paper"] == "dac":
        return {"audio_values": ((496, 768), jnp.float16), "audio_mask": ((496,), bool), **words}
    if kind == "diffusion_link/link":
        return {f"{side}_embedding": ((512,), jnp.float32) for side in ("audio", "text")}
    if kind == "diffusion_link/decoder":
        length = (config["caption"]["max_tokens"],)
        found = {"sentence_ids": (length, jnp.int32), "sentence_mask": (length, bool), "sentence_scored": (length, bool)}
        return found | {"text_embedding": ((512,), jnp.float32), "audio_embedding": ((512,), jnp.float32), "clip_index": ((), jnp.int32)}
    heard = {"waveform": ((samples,), jnp.float32)}
    if config["paper"] == "coattention":
        windows = data["windows"]
        heard = {"waveform": ((windows, samples), jnp.float32), "windows": ((windows,), bool)}
    return {**heard, **words, "clip_index": ((), jnp.int32)}


def abstract_of(config, phase):
    """Shapes of everything that a phase starts from."""
    example = {name: jax.ShapeDtypeStruct((1, *shape), kind) for name, (shape, kind) in example_shapes(config, phase).items()}
    return jax.eval_shape(task_of(config, phase, vocabulary(config)).init, jax.random.key(0), example)


def lowered_step(config, name, parallel, mesh, devices=None, rows=None):
    """The step of a phase on a layout; nothing is allocated.

    Args:
      rows: of the global batch; None = the config's.
    """
    task, phase, layout = task_of(config, name, vocabulary(config)), phase_of(config, name), make_layout(parallel, mesh, devices)
    abstract, rows = abstract_of(config, name), rows or phase.batch_size
    lead = (layout.devices, rows // layout.devices) if layout.parallel == "pmap" else (rows,)
    batch = {leaf: jax.ShapeDtypeStruct((*lead, *shape), kind) for leaf, (shape, kind) in example_shapes(config, name).items()}
    trainable, frozen = split_params(abstract["params"], phase.trainable)
    optimizer = make_optimizer(phase.groups, trainable, phase.steps)

    def create(params, model_state, key):
        return create_state(params, model_state, optimizer, key, bool(phase.ema_decay))

    state = jax.eval_shape(create, trainable, abstract["model_state"], jax.random.key(0))
    shardings = [shardings_of(layout, tree, abstract["params"], task.partition_rules) for tree in (state, frozen)]
    step = make_train_step(task, optimizer, accumulate=phase.accumulate, ema_decay=phase.ema_decay, ema_warmup=phase.ema_warmup)
    return Lowered(wrap_step(layout, step, *shardings).lower(state, frozen, batch), abstract, state, frozen, shardings)
