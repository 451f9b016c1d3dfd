"""AudioMAE: four fifths of a spectrogram's patches are hidden, and a small decoder says what they were (arXiv 2207.06405, section 3)."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from audiojax.collectives import example_keys
from audiojax.encoders.audiomae import PRESETS, MaskedAutoencoder
from audiojax.errors import UsageError
from audiojax.losses.reconstruction import draw_kept, masked_patch_loss
from audiojax.papers.evaluation import evaluation_keys
from audiojax.papers.options import dtype_of
from audiojax.papers.task import Task, choice
from audiojax.papers.towers.inputs import check_rate, hear
from audiojax.typing import Array, Batch, Key, Params


def make(config: Mapping[str, Any], vocab_size: int) -> Task:
    """The task of a config whose tower is "audiomae"."""
    autoencoder, masked = network(config), config["model"]["masked"]
    if not 0 < masked < 1:
        raise UsageError(f"config key 'model.masked' is {masked}; it takes a share between 0 and 1")
    return Task(
        name="towers/reconstruction",
        init=partial(init, autoencoder),
        loss=partial(loss, autoencoder, masked),
        predict=partial(predict, autoencoder, masked),
        metrics=metrics,
        partition_rules=(),
        select="explained",
    )


def network(config: Mapping[str, Any]) -> MaskedAutoencoder:
    """The tower and its decoder."""
    model = config["model"]
    sizes = PRESETS[choice("model.preset", model["preset"], PRESETS)]
    check_rate(config, sizes.front_end)
    return MaskedAutoencoder(sizes, **model["decoder"], dtype=dtype_of(config))


def init(autoencoder: MaskedAutoencoder, key: Key, batch: Batch) -> dict[str, Any]:
    """Fresh parameters, and the table of positions, which is never trained."""
    sizes = autoencoder.config
    variables = autoencoder.init(key, jnp.zeros((1, sizes.frames, sizes.mels)), jnp.zeros((1, 1), jnp.int32), train=False)
    return {"params": variables["params"], "model_state": {"constants": variables["constants"]}}


def loss(
    autoencoder: MaskedAutoencoder,
    masked: float,
    params: Params,
    model_state: Any,
    batch: Batch,
    key: Key,
    *,
    axis_name: str | None = None,
):
    """Mean squared error on the hidden patches, each normalised by itself; the mean over the local rows."""
    keys = example_keys(key, batch["waveform"].shape[0], axis_name)
    error, _ = errors(autoencoder, masked, params, model_state, batch, keys, train=True)
    return jnp.mean(error), (model_state, {"error": jnp.mean(error)})


def predict(autoencoder: MaskedAutoencoder, masked: float, params: Params, model_state: Any, batch: Batch) -> dict[str, Array]:
    """The error of every clip [b], and that of an answer that knows nothing but each patch's mean [b]."""
    error, blind = errors(autoencoder, masked, params, model_state, batch, evaluation_keys(batch["clip_index"]), train=False)
    return {"error": error, "blind": blind}


def errors(
    autoencoder: MaskedAutoencoder, masked: float, params: Params, model_state: Any, batch: Batch, keys: Array, *, train: bool
) -> tuple[Array, Array]:
    """(error of the network, error of zeros) for every clip, on the patches that its key hides."""
    sizes = autoencoder.config
    mel = hear(batch["waveform"], sizes.front_end)
    kept = draw_kept(keys, sizes.grid[0] * sizes.grid[1], masked)
    filled = autoencoder.apply({"params": params, **model_state}, mel, kept, train=train)
    return tuple(masked_patch_loss(x, mel, kept, patch=sizes.patch) for x in (filled, jnp.zeros_like(filled)))


def metrics(params: Params, predictions: Mapping[str, np.ndarray], key: Key) -> dict[str, float]:
    """The mean error (1 = nothing is known but a patch's mean, to within rounding; lower is better) and the share that is explained."""
    error, blind = float(predictions["error"].mean()), float(predictions["blind"].mean())
    return {"error": error, "explained": 1 - error / blind}
