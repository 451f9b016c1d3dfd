"""The phase "link": the bridge is trained on pairs of embeddings, CLAP staying what it is. Parameters: "towers" and, of a form with a
network, "bridge"."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from audiojax.metrics.gap import gap_scores
from audiojax.papers.diffusion_link.bridging import bridge_embeddings
from audiojax.papers.diffusion_link.embeddings import audio_embeddings, text_embeddings
from audiojax.papers.diffusion_link.fitting import fit, shapes
from audiojax.papers.diffusion_link.loss import link_loss
from audiojax.papers.diffusion_link.settings import TRAINED, Settings
from audiojax.papers.evaluation import evaluation_keys
from audiojax.papers.task import Task
from audiojax.typing import Array, Batch, Key, Params

RULES = (  # widths split over tensor and fsdp; whatever is not named here falls back to the largest divisible dimension over fsdp
    (r"bridge/blocks_\d+/(time|up)/kernel$", PartitionSpec("fsdp", "tensor")),
    (r"bridge/blocks_\d+/down/kernel$", PartitionSpec("tensor", "fsdp")),
)
SELECT = "bridged/paired_cosine"
"""What the decoder reads is the vector itself and not its rank, and among few clips the cosine tells two steps apart where R@10 does not. A
bridge that only goes to the middle of the texts gains less by it than one that keeps the sounds apart; R@10 is reported beside it."""


def make(settings: Settings) -> Task:
    """The task of the phase."""
    return Task(
        name="diffusion_link/link",
        init=partial(init, settings),
        loss=partial(loss, settings),
        predict=partial(predict, settings),
        metrics=metrics,
        partition_rules=RULES if settings.bridge.form in TRAINED else (),
        select=SELECT,
        frozen="^towers/",
    )


def init(settings: Settings, key: Key, batch: Batch) -> dict[str, Any]:
    """Fresh parameters, running statistics and a bridge that has measured nothing; the shapes are the config's."""
    clap_key, bridge_key = jax.random.split(key)
    front_end, tokens = settings.front_end, settings.shape[2]
    mel = jnp.zeros((1, 4 if settings.clap.config.audio.fusion else 1, front_end.frames, front_end.mel.n_mels))
    variables = settings.clap.init(clap_key, mel, jnp.zeros((1, tokens), jnp.int32), jnp.ones((1, tokens), bool), train=False)
    params = {"towers": variables["params"]}
    if settings.bridge.form in TRAINED:
        params["bridge"] = settings.network.init(bridge_key, jnp.zeros((1, settings.width)), jnp.zeros(1, jnp.int32))["params"]
    measured = {name: jnp.zeros(shape) for name, shape in shapes(settings).items()}
    return {"params": params, "model_state": {"batch_stats": {"towers": variables["batch_stats"]}, "bridge": measured}}


def loss(settings: Settings, params: Params, model_state: Any, batch: Batch, key: Key, *, axis_name: str | None = None):
    """The loss of the bridge, means over the local rows."""
    value, found = link_loss(settings, params, model_state, batch, key, axis_name=axis_name)
    return value, (model_state, found)


def predict(settings: Settings, params: Params, model_state: Any, batch: Batch) -> dict[str, Array]:
    """Of clips with all their captions: audio [b, d], text [b, c, d] and bridged [b, d], unit vectors."""
    audio = audio_embeddings(settings, params, model_state, batch)
    bridged = bridge_embeddings(settings, params, model_state, audio, evaluation_keys(batch["clip_index"]))
    return {"audio": audio, "text": text_embeddings(settings, params, model_state, batch), "bridged": bridged}


def metrics(params: Params, predictions: Mapping[str, np.ndarray], key: Key) -> dict[str, float]:
    """The gap of bridged sounds and of raw ones."""
    found = {"bridged": predictions["bridged"], "raw": predictions["audio"]}
    gaps = {name: gap_scores(audio, predictions["text"]) for name, audio in found.items()}
    return {f"{name}/{measure}": value for name, gap in gaps.items() for measure, value in gap.items()}


def measure(settings: Settings, batches: Iterable[Batch]) -> dict[str, Any]:
    """{"bridge": what is fitted in closed form} from the stored embeddings of training pairs."""
    sides: dict[str, list[np.ndarray]] = {"audio": [], "text": []}
    for batch in batches:
        for side, rows in sides.items():
            rows.append(np.asarray(batch[f"{side}_embedding"], np.float32))
    audio, text = (_unit(np.concatenate(rows)) for rows in sides.values())
    return {"bridge": fit(settings, audio, text)}


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
