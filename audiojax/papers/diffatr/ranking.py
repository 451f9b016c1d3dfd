"""From embeddings to scores: both directions, by cosine and fused, with the choice of alpha and temperature on validation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from audiojax.metrics.retrieval import Ranks, audio_to_text, text_to_audio
from audiojax.models.pair_denoiser import PairDenoiserConfig
from audiojax.papers.diffatr.inference import Fusion, Scores, diffuse_scores, fuse, fusion_grid, fusion_report
from audiojax.papers.diffatr.model import cosine
from audiojax.schedule import Schedule
from audiojax.typing import Key, Params

DIRECTIONS = ("t2a", "a2t")  # text query over clips, clip query over texts


@dataclass(frozen=True)
class Embeddings:
    """A split: audio [a, d], text [t, d], and the clip of each text [t]; un-normalised."""

    audio: Float[np.ndarray, "a d"]
    text: Float[np.ndarray, "t d"]
    clip_index: Int[np.ndarray, " t"]

    @classmethod
    def from_predictions(cls, predictions: Mapping[str, np.ndarray]) -> "Embeddings":
        """Of `predict`: audio [a, d] and text [a, c, d], c captions of each clip."""
        audio, text = predictions["audio"], predictions["text"]
        return cls(audio, text.reshape(-1, text.shape[-1]), np.repeat(np.arange(len(audio)), text.shape[1]))


@dataclass(frozen=True)
class Direction:
    """One direction's search over a split.

    Attributes:
      name: "t2a" | "a2t".
      scores: rows are queries, columns candidates; x is empty where there is no denoiser.
      clip_index: clip of each text.
    """

    name: str
    scores: Scores
    clip_index: Int[np.ndarray, " t"]

    def ranks(self, fusion: Fusion | None = None) -> Ranks:
        """Ranks of the fused scores, or of the cosine alone."""
        matrix = np.asarray(self.scores.similarity) if fusion is None else fuse(self.scores, fusion)
        return text_to_audio(matrix, self.clip_index) if self.name == "t2a" else audio_to_text(matrix.T, self.clip_index)

    def choose(self, alphas: Sequence[float], temperatures: Sequence[float]) -> Fusion:
        """The setting with the highest mAP@10; among equals the mildest."""
        return max(fusion_grid(alphas, temperatures), key=lambda fusion: float(self.ranks(fusion).average_precision.mean()))

    def summary(self, fusion: Fusion | None = None) -> dict[str, float]:
        """Scores under "<name>/..."; with a fusion also the cosine's under "<name>_cosine/..." and what the fusion does."""
        found = {f"{self.name}/{key}": value for key, value in self.ranks(fusion).summary().items()}
        if fusion is None:
            return found
        found |= {f"{self.name}_cosine/{key}": value for key, value in self.ranks().summary().items()}
        found |= {f"{self.name}_fusion/{key}": value for key, value in fusion_report(self.scores, fusion).items()}
        return found | {f"{self.name}_fusion/alpha": fusion.alpha, f"{self.name}_fusion/temperature": fusion.temperature}


def search_direction(
    params: Params,
    config: PairDenoiserConfig,
    schedule: Schedule,
    name: str,
    queries: Float[np.ndarray, "q d"],
    candidates: Float[np.ndarray, "a d"],
    key: Key,
    **options: Any,
) -> Scores:
    """Scores of one direction; where `params` has no denoiser (phase 1) the cosine alone, with nothing in top and x.

    Args:
      options: of `diffuse_scores`.
    """
    if f"denoiser_{name}" in params:
        return diffuse_scores(params[f"denoiser_{name}"], config, schedule, queries, candidates, key, **options)
    count = len(queries)
    return Scores(cosine(queries, candidates), np.zeros((count, 0), np.int32), np.zeros((count, 1, 0), np.float32))


def search_split(
    params: Params, config: PairDenoiserConfig, schedule: Schedule, embeddings: Embeddings, key: Key, **options: Any
) -> dict[str, Direction]:
    """Both directions of a split; `options` as in `search_direction`."""
    found = {}
    for name, direction_key in zip(DIRECTIONS, jax.random.split(key), strict=True):
        queries, candidates = (embeddings.text, embeddings.audio) if name == "t2a" else (embeddings.audio, embeddings.text)
        scores = search_direction(params, config, schedule, name, queries, candidates, direction_key, **options)
        found[name] = Direction(name, jax.tree.map(np.asarray, scores), embeddings.clip_index)
    return found
