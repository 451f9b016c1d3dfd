"""What a retrieval system says about a whole split: the ranks and tables that `evaluate` prints, one function a system."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from audiojax.metrics.retrieval import Ranks
from audiojax.papers import coattention, diffatr
from audiojax.report.sections import Table

TITLES = {"t2a": "Text to audio", "a2t": "Audio to text"}
RIVALS = 32  # candidates of the generation loss in the report, as in a training batch


@dataclass(frozen=True, eq=False)
class Retrieval:
    """Both directions of a split.

    Attributes:
      system: its name in the report.
      ranks: "t2a", "t2a_cosine", "a2t", "a2t_cosine" -> ranks per query; the cosine is that of the dual encoder alone.
      scores: "t2a/R@1" and so on, flat.
      matrix: what ranks clips for texts, [texts, clips].
      card: facts of the protocol.
      reading: what a reader must know about the system's columns.
      tables: of the system alone.
      curves: further entries of the JSON file.
    """

    system: str
    ranks: Mapping[str, Ranks]
    scores: Mapping[str, float]
    matrix: Float[np.ndarray, "t a"]
    card: Mapping[str, Any]
    reading: str
    tables: Sequence[Table] = ()
    curves: Mapping[str, Any] = field(default_factory=dict)


def of_diffatr(finder: Any, predictions: Mapping[str, np.ndarray]) -> Retrieval:
    """DiffATR: the cosine, fused with what the diffusion says about the best candidates; and the generation loss by noise level."""
    directions = diffatr_directions(finder, predictions)
    loss_key = jax.random.fold_in(jax.random.key(finder.config["seed"]), 2)
    rivals = min(RIVALS, len(predictions["audio"]))
    losses = diffatr.generation_curve(finder.settings, finder.params, predictions, loss_key, candidates=rivals)
    fusion = {name: finder.fusion[name] if f"denoiser_{name}" in finder.params else None for name in directions}
    scores = {key: value for name, direction in directions.items() for key, value in direction.summary(fusion[name]).items()}
    ranks = {name: direction.ranks(fusion[name]) for name, direction in directions.items()}
    ranks |= {f"{name}_cosine": direction.ranks() for name, direction in directions.items()}
    inference, diffusion = finder.config["inference"], finder.config["diffusion"]
    return Retrieval(
        system="DiffATR",
        ranks=ranks,
        scores=scores,
        matrix=fused_matrix(finder, directions["t2a"]),
        card={"diffusion": f"{diffusion['schedule']}, K = {diffusion['steps']}, M = {inference['top_m'] or 'all'}"},
        reading=(
            "'Cosine' is the dual encoder alone; 'fused' adds what the diffusion over the best candidates says, with the weight and"
            " temperature that validation chose."
        ),
        tables=[fusion_table(ranks, scores), *loss_tables(losses, rivals)],
        curves={"generation_loss": losses},
    )


def diffatr_directions(finder: Any, predictions: Mapping[str, np.ndarray]) -> dict[str, diffatr.Direction]:
    """Both directions of a split, before fusion."""
    key = jax.random.fold_in(jax.random.key(finder.config["seed"]), 1)
    return diffatr.search_split(finder.settings, finder.params, predictions, key)


def fused_matrix(finder: Any, direction: diffatr.Direction) -> Float[np.ndarray, "q a"]:
    """The fused scores of a direction, or the cosine where there is no denoiser."""
    if f"denoiser_{direction.name}" not in finder.params:
        return np.asarray(direction.scores.similarity)
    return diffatr.fuse(direction.scores, finder.fusion[direction.name])


def of_coattention(finder: Any, predictions: Mapping[str, np.ndarray]) -> Retrieval:
    """Co-attention retrieval: the dual encoder's best candidates, scored again by the cascade."""
    top_m = finder.config["inference"]["top_m"]
    split = coattention.Split.from_predictions(predictions)
    directions = coattention.search_split(finder.settings.cascade, finder.params, split, top_m=top_m)
    ranks = {name: direction.ranks() for name, direction in directions.items()}
    ranks |= {f"{name}_cosine": direction.ranks(dual=True) for name, direction in directions.items()}
    cascade = finder.config["model"]["cascade"]
    trained = "cascade" in finder.params
    depth = 1 if cascade["cascade"] == "single" else cascade["depth"]
    return Retrieval(
        system="Co-attention",
        ranks=ranks,
        scores={key: value for direction in directions.values() for key, value in direction.summary().items()},
        matrix=directions["t2a"].scores,
        card={
            "cascade": f"{cascade['cascade']}, R = {depth}, best {top_m or 'all'} of a query" if trained else "none: the dual encoder alone"
        },
        reading="'Cosine' is the dual encoder alone; 're-ranked' is the cascade on its best candidates, which stay above all others.",
        tables=[plain_table("re-ranked", ranks)] if trained else [],
    )


def plain_table(name: str, ranks: Mapping[str, Ranks]) -> Table:
    """The dual encoder alone beside the whole system."""
    shown = ("R@1", "R@5", "R@10", "mAP@10")
    rows = [
        (TITLES[direction], label, *(f"{100 * ranks[direction + suffix].summary()[key]:.1f}" for key in shown))
        for direction in TITLES
        for label, suffix in (("cosine", "_cosine"), (name, ""))
    ]
    return Table(f"Cosine alone and {name}", ("direction", "score", *shown), rows)


def fusion_table(ranks: Mapping[str, Ranks], scores: Mapping[str, float]) -> Table:
    """`plain_table` with what the fusion did."""
    plain = plain_table("fused", ranks)
    rows = []
    for direction, label, *values in plain.rows:
        name = next(name for name, title in TITLES.items() if title == direction)
        if label == "cosine":
            rows.append((direction, label, *values, "", "", "", ""))
        elif f"{name}_fusion/alpha" in scores:
            of = {key: scores[f"{name}_fusion/{key}"] for key in ("alpha", "temperature", "pi_min", "pi_max", "top1_changed")}
            spread, changed = f"{of['pi_min']:.3f} to {of['pi_max']:.3f}", f"{100 * of['top1_changed']:.1f} %"
            rows.append((direction, label, *values, f"{of['alpha']:g}", f"{of['temperature']:g}", spread, changed))
    return Table(plain.title, (*plain.columns, "alpha", "temp", "pi", "top-1 changed"), rows)


def loss_tables(losses: Mapping[str, Mapping[int, float]], candidates: int) -> list[Table]:
    """The generation loss by noise level beside ln N, or nothing where there is no denoiser."""
    if not losses:
        return []
    title = f"Generation loss by noise level, N = {candidates}: knowing nothing costs ln N = {np.log(candidates):.2f}"
    columns = ("direction", *(f"k = {k}" for k in next(iter(losses.values()))))
    return [Table(title, columns, [(TITLES[name], *(f"{value:.2f}" for value in by_level.values())) for name, by_level in losses.items()])]
