"""From states to scores of a split: the dual encoder orders everything, the cascade scores the best `top_m` of each query anew.

Pairs go through in blocks inside one jit, spread over the devices that hold the parameters: a query with some of its candidates is alive at
once on each of them, however large the split.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Float, Int

from audiojax.metrics.retrieval import Ranks, audio_to_text, text_to_audio
from audiojax.models.co_attention import PAIRS, CoAttention, States, pair_score
from audiojax.partition import mesh_of
from audiojax.typing import Params

DIRECTIONS = ("t2a", "a2t")  # text query over clips, clip query over texts
BELOW = 4.0  # what a candidate that was not scored again loses: cosines differ by 2 at most


@dataclass(frozen=True)
class Split:
    """A split as `predict` gives it, texts in one row; the states are empty where only the dual encoder is trained.

    Attributes:
      audio, text: unit vectors of the dual encoder, [a, d] and [t, d].
      audio_states, text_states: what the cascade reads, or None.
      clip_index: clip of each text.
    """

    audio: Float[np.ndarray, "a d"]
    text: Float[np.ndarray, "t d"]
    audio_states: States | None
    text_states: States | None
    clip_index: Int[np.ndarray, " t"]

    @classmethod
    def from_predictions(cls, predictions: Mapping[str, np.ndarray], captions: int | None = None) -> "Split":
        """Of `predict`, with the first `captions` captions of each clip; None = all."""
        chosen = {name: x[:, :captions] if name.startswith("text") else x for name, x in predictions.items()}
        count = chosen["text"].shape[1]
        flat = {name: x.reshape(-1, *x.shape[2:]) if name.startswith("text") else x for name, x in chosen.items()}
        states = [States(flat[f"{side}_values"], flat[f"{side}_mask"]) if f"{side}_values" in flat else None for side in ("audio", "text")]
        return cls(flat["audio"], flat["text"], *states, np.repeat(np.arange(len(flat["audio"])), count))


@dataclass(frozen=True)
class Direction:
    """One direction's search over a split.

    Attributes:
      name: "t2a" | "a2t".
      similarity: cosine of the dual encoder, [queries, candidates].
      scores: the same, with the scores of the cascade above them where it scored a pair.
      clip_index: clip of each text.
    """

    name: str
    similarity: Float[np.ndarray, "q n"]
    scores: Float[np.ndarray, "q n"]
    clip_index: Int[np.ndarray, " t"]

    def ranks(self, *, dual: bool = False) -> Ranks:
        """Ranks by the cascade, or by the dual encoder alone."""
        matrix = self.similarity if dual else self.scores
        return text_to_audio(matrix, self.clip_index) if self.name == "t2a" else audio_to_text(matrix.T, self.clip_index)

    def summary(self) -> dict[str, float]:
        """Scores under "<name>/..."; where the cascade scored, the dual encoder's under "<name>_cosine/..."."""
        found = {f"{self.name}/{key}": value for key, value in self.ranks().summary().items()}
        if self.scores is self.similarity:
            return found
        return found | {f"{self.name}_cosine/{key}": value for key, value in self.ranks(dual=True).summary().items()}


def search_split(
    network: CoAttention, params: Params, split: Split, *, top_m: int, directions: tuple[str, ...] = DIRECTIONS
) -> dict[str, Direction]:
    """The directions of a split.

    Args:
      params: the whole tree; without "cascade" the dual encoder alone ranks.
      top_m: candidates of a query that the cascade scores; 0 = all of them.
    """
    found = {}
    for name in directions:
        queries, candidates = (split.text, split.audio) if name == "t2a" else (split.audio, split.text)
        similarity = queries @ candidates.T
        scores = similarity
        if "cascade" in params:
            top = best(similarity, top_m)
            again = rescore(network, params["cascade"], split.text_states, split.audio_states, top, text_queries=name == "t2a")
            scores = lifted(similarity, top, again)
        found[name] = Direction(name, similarity, scores, split.clip_index)
    return found


def best(similarity: Float[np.ndarray, "q n"], top_m: int) -> Int[np.ndarray, "q m"]:
    """The top m candidates of each query, 0 = all; at equal similarity the earlier one."""
    m = min(top_m or similarity.shape[1], similarity.shape[1])
    return np.argsort(-similarity, axis=1, kind="stable")[:, :m].astype(np.int32)


def lifted(similarity: Float[np.ndarray, "q n"], top: Int[np.ndarray, "q m"], scores: Float[np.ndarray, "q m"]) -> Float[np.ndarray, "q n"]:
    """The scores at `top`, and below all of them the others in the order of their similarity."""
    out = similarity - BELOW
    np.put_along_axis(out, top, np.asarray(scores, out.dtype), axis=1)
    return out


def rescore(
    network: CoAttention, params: Params, text: States, audio: States, top: Int[np.ndarray, "q m"], *, text_queries: bool
) -> Float[np.ndarray, "q m"]:
    """s of query i with each of its candidates top[i], float32.

    Args:
      params: of the network; where they lie on a mesh, the blocks are shared out over its devices.
      text, audio: states of all texts and all sounds; the queries are one of them, in order.
      top: numbers of the other ones.
    """
    queries, m = top.shape
    together = min(PAIRS, m)
    padded = np.take(top, np.arange(-(-m // together) * together) % m, axis=1)
    chosen = padded.reshape(-1, together)  # [items, together]: a query with some of its candidates
    mesh = mesh_of(params)
    devices = mesh.size if mesh else 1
    owner = np.repeat(np.arange(queries, dtype=np.int32), len(chosen) // queries)
    extra = -len(chosen) % devices
    owner, chosen = (np.concatenate([x, np.repeat(x[:1], extra, axis=0)]) for x in (owner, chosen))
    items = (owner.reshape(-1, devices), chosen.reshape(-1, devices, together))
    scores = _rescore(network, params, text, audio, items, text_queries=text_queries, mesh=mesh)
    return np.asarray(scores).reshape(-1, together)[: len(owner) - extra].reshape(queries, -1)[:, :m]


@partial(jax.jit, static_argnames=("network", "text_queries", "mesh"))
def _rescore(network: CoAttention, params: Params, text: States, audio: States, items: Any, *, text_queries: bool, mesh: Any) -> Any:
    queries, gallery = (text, audio) if text_queries else (audio, text)

    def row(states: States, number: Any) -> States:
        return jax.tree.map(lambda x: jnp.take(x, number, axis=0), states)

    def of_item(query: Any, candidates: Any) -> Any:
        one = row(queries, query)

        def of_pair(candidate: Any) -> Any:
            pair = (one, row(gallery, candidate)) if text_queries else (row(gallery, candidate), one)
            return pair_score(network, params, *pair)

        return jax.vmap(of_pair)(candidates)

    if mesh is not None:
        items = jax.lax.with_sharding_constraint(items, NamedSharding(mesh, PartitionSpec(None, mesh.axis_names)))
    return jax.lax.map(lambda item: jax.vmap(of_item)(*item), items)  # [blocks, devices, together]
