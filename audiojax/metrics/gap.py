"""How far sounds and texts lie apart in a joint space: the modality gap. NumPy and scikit-learn, no jax.

Everything goes by unit vectors, a_i of clips and t_ik of their captions.
"""

import numpy as np
from jaxtyping import Float

from audiojax.errors import AudiojaxError
from audiojax.metrics.retrieval import audio_to_text

FOLDS = 5


def gap_scores(audio: Float[np.ndarray, "n d"], text: Float[np.ndarray, "n c d"]) -> dict[str, float]:
    """The gap between clips and their captions.

      paired_cosine      mean a_i . t_ik
      unpaired_cosine    mean over i != j of a_i . t_jk; where it rises as fast, all vectors have only moved together
      centroid_distance  |mean a - mean t|
      pair_distance      mean |a_i - t_ik|
      R@1, R@10          share of clips with an own caption among the nearest captions of all

    Raises:
      AudiojaxError: fewer than two clips, shapes that differ, or vectors that are not finite.
    """
    each = clip_scores(audio, text)
    clips, captions, _ = text.shape
    together = np.sum(audio, axis=0, dtype=np.float64) @ np.sum(text, axis=(0, 1), dtype=np.float64) / captions
    unpaired = (together - each["paired_cosine"].sum()) / (clips * (clips - 1))
    centroids = np.linalg.norm(audio.mean(axis=0, dtype=np.float64) - text.mean(axis=(0, 1), dtype=np.float64))
    return {name: float(value.mean()) for name, value in each.items()} | {
        "unpaired_cosine": float(unpaired),
        "centroid_distance": float(centroids),
    }


def clip_scores(audio: Float[np.ndarray, "n d"], text: Float[np.ndarray, "n c d"]) -> dict[str, Float[np.ndarray, " n"]]:
    """Those of `gap_scores` that are means over clips, clip by clip: paired_cosine, pair_distance, R@1, R@10.

    Raises:
      AudiojaxError: as `gap_scores`.
    """
    cosine = _paired_cosines(audio, text)  # [n, c]
    clips, captions = cosine.shape
    ranks = audio_to_text(text.reshape(clips * captions, -1) @ audio.T, np.repeat(np.arange(clips), captions))
    found = {"paired_cosine": cosine.mean(axis=1), "pair_distance": np.sqrt(np.maximum(2 - 2 * cosine, 0)).mean(axis=1)}
    return found | {f"R@{depth}": ranks.hits(depth) for depth in (1, 10)}


def _paired_cosines(audio: Float[np.ndarray, "n d"], text: Float[np.ndarray, "n c d"]) -> Float[np.ndarray, "n c"]:
    """a_i . t_ik, float64."""
    if audio.ndim != 2 or text.ndim != 3 or (len(audio), audio.shape[1]) != (len(text), text.shape[2]) or len(audio) < 2:
        raise AudiojaxError(f"clips {audio.shape} and captions {text.shape}: the gap is that of [n, d] and [n, captions, d], n from 2 on")
    if not (np.isfinite(audio).all() and np.isfinite(text).all()):
        raise AudiojaxError("the embeddings are not finite")
    return np.einsum("nd,ncd->nc", audio.astype(np.float64), text.astype(np.float64))


def separability(audio: Float[np.ndarray, "n d"], text: Float[np.ndarray, "n d"]) -> float:
    """Accuracy of a linear classifier that tells sounds from texts, on pairs that it has not seen: 0.5 where there is no gap.

    Logistic regression on standardised coordinates; every fifth of the pairs is judged by what the others teach, both of a pair together.

    Raises:
      AudiojaxError: fewer than FOLDS pairs, or shapes that differ.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if audio.shape != text.shape or len(audio) < FOLDS:
        raise AudiojaxError(f"sounds {audio.shape} and texts {text.shape}: separability takes equally many, {FOLDS} or more")
    vectors, labels = np.concatenate([audio, text]), np.repeat([0, 1], len(audio))
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
    pairs = np.tile(np.arange(len(audio)), 2)
    return float(cross_val_score(classifier, vectors, labels, groups=pairs, cv=GroupKFold(FOLDS)).mean())


def plane(*clouds: Float[np.ndarray, "_ d"]) -> list[Float[np.ndarray, "_ 2"]]:
    """Every cloud in the plane of the two principal components of the first two together; the others are only seen there."""
    from sklearn.decomposition import PCA

    found = PCA(2, random_state=0).fit(np.concatenate(clouds[:2]))
    return [found.transform(cloud) for cloud in clouds]


def along_the_gap(*clouds: Float[np.ndarray, "_ d"]) -> list[Float[np.ndarray, "_ 2"]]:
    """Every cloud in the plane of the line between the means of the first two, which is its first axis, and of what they spread most along
    across that line. Where the means are one there is no such line, and it is the `plane` of principal components."""
    from sklearn.decomposition import PCA

    line = clouds[1].mean(axis=0, dtype=np.float64) - clouds[0].mean(axis=0, dtype=np.float64)
    if not (length := np.linalg.norm(line)):
        return plane(*clouds)
    line /= length
    across = PCA(1, random_state=0).fit(np.concatenate([cloud - np.outer(cloud @ line, line) for cloud in clouds[:2]])).components_[0]
    return [np.stack([cloud @ line, cloud @ across], axis=1) for cloud in clouds]
