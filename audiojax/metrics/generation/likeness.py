"""How like generated sounds are to their prompts and to what was retrieved for them: CLAP score, retrieval precision, copying. NumPy."""

import numpy as np
from jaxtyping import Bool, Float, Int

from audiojax.errors import AudiojaxError

NONE = -1  # in a list of what was retrieved: nothing more


def clap_scores(audio: Float[np.ndarray, "n d"], text: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """Cosine of each sound and its prompt, from vectors of any length but 0."""
    return np.einsum("nd,nd->n", _unit(audio), _unit(text, audio.shape))


def mismatched_clap_scores(audio: Float[np.ndarray, "n d"], text: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """The mean cosine of each sound and the prompts of all others, of which there must be one at least."""
    own, texts = _unit(audio), _unit(text, audio.shape)
    if len(own) < 2:
        raise AudiojaxError("one sound has no others")
    return (own @ texts.sum(axis=0) - np.einsum("nd,nd->n", own, texts)) / (len(own) - 1)


def retrieval_precision(
    wanted: Bool[np.ndarray, "n classes"], store: Bool[np.ndarray, "m classes"], retrieved: Int[np.ndarray, "n k"]
) -> Float[np.ndarray, " n"]:
    """The share of what was retrieved for each prompt that has a class of the prompt.

    Args:
      wanted: the classes of each prompt.
      store: the classes of each clip of the datastore.
      retrieved: rows of the datastore, NONE where fewer than k were found.

    Raises:
      AudiojaxError: a prompt without any retrieved clip, or rows that the datastore does not have.
    """
    found = _found(retrieved, len(store))
    relevant = np.einsum("nc,nkc->nk", wanted.astype(np.int64), store[retrieved].astype(np.int64)) > 0
    return np.sum(relevant & found, axis=1) / found.sum(axis=1)


def copy_scores(
    generated: Float[np.ndarray, "n d"],
    store: Float[np.ndarray, "m d"],
    retrieved: Int[np.ndarray, "n k"],
    alike: Bool[np.ndarray, "n m"],
) -> Float[np.ndarray, " n"]:
    """How much closer each generated sound is to the clips that it was given than to other clips of the same class.

    It is the probability that a retrieved clip has a higher cosine than another one, ties counted half: 1 where every retrieved clip is
    nearer than all others, 0.5 where they are no nearer than any. Retrieved clips fit the prompt better than others do, so 0.5 is not
    quite what a model that does not copy gets: the score of the real sound, in place of the generated one, is.

    Args:
      generated: vectors of the generated sounds, of any length but 0.
      store: vectors of the datastore, by the same model.
      retrieved: rows of the datastore that each sound was made with, NONE where fewer than k were found.
      alike: which clips of the datastore are of the class; those retrieved are not counted among the others, and the target clip, where the
        datastore has it, must be False.

    Raises:
      AudiojaxError: a sound without any retrieved clip or without others of its class, or shapes that do not fit.
    """
    found = _found(retrieved, len(store))
    if alike.shape != (len(generated), len(store)) or len(retrieved) != len(generated):
        raise AudiojaxError(
            f"retrieved {retrieved.shape} and alike {alike.shape} do not go with {len(generated)} sounds and {len(store)} clips"
        )
    cosine = _unit(generated) @ _unit(store).T  # [n, m]
    scores = np.empty(len(generated))
    for i, (row, kept) in enumerate(zip(retrieved, found, strict=True)):
        given = row[kept]
        others = alike[i].copy()
        others[given] = False
        if not others.any():
            raise AudiojaxError(f"sound {i}: the datastore has no clip of its class but those that were retrieved")
        difference = cosine[i, given, None] - cosine[i, others]
        scores[i] = np.mean((difference > 0) + 0.5 * (difference == 0))
    return scores


def _found(retrieved: np.ndarray, rows: int) -> Bool[np.ndarray, "n k"]:
    found = retrieved != NONE
    if np.any((retrieved < NONE) | (retrieved >= rows)):
        raise AudiojaxError(f"the datastore has {rows} clips; row {int(np.abs(retrieved).max())} is none of them")
    if not found.any(axis=1).all():
        raise AudiojaxError(f"nothing was retrieved for {(~found.any(axis=1)).sum()} of {len(found)} prompts")
    return found


def _unit(rows: np.ndarray, shape: tuple[int, ...] | None = None) -> Float[np.ndarray, "n d"]:
    """The rows at length 1. AudiojaxError where one cannot be, or they have another than the given shape."""
    rows = np.asarray(rows, np.float64)
    if rows.ndim != 2 or (shape is not None and rows.shape != shape):
        raise AudiojaxError(f"vectors of the shape {rows.shape}: {shape or '[n, d]'} is needed")
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (np.isfinite(norm).all() and norm.all()):
        raise AudiojaxError(f"{np.sum(~np.isfinite(norm) | (norm == 0))} of {len(rows)} vectors are 0 or not finite")
    return rows / norm
