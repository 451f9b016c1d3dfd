"""What of the bridge is measured on training pairs and not trained: means, spreads, the linear map, the memory of texts. Host, NumPy."""

import numpy as np
from jaxtyping import Float

from audiojax.papers.diffusion_link.settings import Settings

PENALTIES = np.logspace(-3, 3, 13)  # of the ridge, among which leave-one-out error on the training pairs chooses


def fit(settings: Settings, audio: Float[np.ndarray, "n d"], text: Float[np.ndarray, "n d"]) -> dict[str, np.ndarray]:
    """What the form of the bridge needs, from unit vectors of pairs: mean and spread of each side, and its own entries.

    A memory needs as many pairs as it keeps texts.
    """
    found = {}
    for side, vectors in (("audio", audio), ("text", text)):
        mean = vectors.mean(axis=0, dtype=np.float64)
        found |= {f"{side}_mean": mean, f"{side}_spread": np.sqrt(np.mean(np.sum((vectors - mean) ** 2, axis=1)))}
    if settings.bridge.form == "ridge":
        found |= linear_map(audio, text)
    if settings.bridge.form == "memory":
        found["memory"] = text[np.linspace(0, len(text) - 1, settings.bridge.memory).astype(int)]
    return {name: np.asarray(value, np.float32) for name, value in found.items()}


def linear_map(audio: Float[np.ndarray, "n d"], text: Float[np.ndarray, "n d"]) -> dict[str, np.ndarray]:
    """{"weight" [d, d], "bias" [d]} of the ridge regression from sounds to texts."""
    from sklearn.linear_model import RidgeCV

    found = RidgeCV(PENALTIES).fit(audio, text)
    return {"weight": found.coef_.T, "bias": found.intercept_}


def shapes(settings: Settings) -> dict[str, tuple[int, ...]]:
    """The shapes of what `fit` gives."""
    d = settings.width
    found: dict[str, tuple[int, ...]] = {"audio_mean": (d,), "audio_spread": (), "text_mean": (d,), "text_spread": ()}
    if settings.bridge.form == "ridge":
        found |= {"weight": (d, d), "bias": (d,)}
    if settings.bridge.form == "memory":
        found["memory"] = (settings.bridge.memory, d)
    return found
