"""A system that bridges, on a split: the gap between sounds and texts in CLAP's space, before and after."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from audiojax.api.bridging.bridge import Bridge
from audiojax.api.evaluation import Evaluation, Tested, metric_card, save_arrays, training_curves
from audiojax.data.examples import facts_of
from audiojax.files import write_whole
from audiojax.metrics.bootstrap import mean_interval
from audiojax.metrics.gap import FOLDS, along_the_gap, clip_scores, gap_scores, plane, separability
from audiojax.report.html import write_report
from audiojax.report.sections import Card, Note, Scatter, Section, Table

GAPS = "gaps.npz"
TITLES = {
    "paired_cosine": "cosine of a sound and its captions (up)",
    "unpaired_cosine": "cosine of a sound and others' captions",
    "centroid_distance": "distance of the two means (down)",
    "pair_distance": "distance of a sound and its captions (down)",
    "R@1": "R@1, own caption for a sound (must not fall)",
    "R@10": "R@10, own caption for a sound (must not fall)",
    "separability": "sounds told from texts by a line (towards 0.5)",
}
CHARTS = (
    ("Training loss", ("train/loss", "train/error/text", "train/error/audio"), True),
    ("Training, topology loss", ("train/topology",), True),
    ("Validation, cosine of a sound and its captions", ("val/bridged/paired_cosine", "val_ema/bridged/paired_cosine"), False),
    ("Validation, R@10 of the own caption", ("val/bridged/R@10", "val_ema/bridged/R@10"), False),
)
PROTOCOL = "all captions of a clip; R@K: an own caption among the K nearest captions of all, pessimistic ties; one draw of the noise"


class Gap(NamedTuple):
    """The gap of raw and of bridged sounds of a split.

    Attributes:
      values: side ("raw", "bridged") -> measure -> number.
      per_clip: side -> measure -> [n], of those that are means over clips.
      sections: the table and the pictures.
      clips: n.
    """

    values: Mapping[str, Mapping[str, float]]
    per_clip: Mapping[str, Mapping[str, np.ndarray]]
    sections: list[Section]
    clips: int


def measure_gap(bridge: Bridge, source: Any) -> Gap:
    """The gap of a split before and after the bridge."""
    predictions = bridge.predictions(source)
    text, sides = predictions["text"], {"raw": predictions["audio"], "bridged": predictions["bridged"]}
    values = {name: measured(audio, text) for name, audio in sides.items()}
    per_clip = {name: clip_scores(audio, text) for name, audio in sides.items()}
    return Gap(values, per_clip, [gap_table(values, per_clip), *pictures(sides, text)], len(text))


def evaluate_bridge(bridge: Bridge, tested: Tested) -> Evaluation:
    """The gap of raw and of bridged sounds, as gaps.npz, scores.json and report.html in the folder of `tested`."""
    gap = measure_gap(bridge, tested.source)
    scores = {f"{name}/{key}": value for name, one in gap.values.items() for key, value in one.items()}
    card = metric_card(bridge, tested, PROTOCOL, [facts_of(tested.source, i)["id"] for i in range(gap.clips)]) | facts(bridge)
    sections: list[Section] = [gap.sections[0], Card("Metric card", card)]
    curves = training_curves(tested.workdir, CHARTS) if bridge.card["step"] else []  # one point is no curve
    report = write_report(
        tested.folder / "report.html",
        title=f"Diffusion-Link, the bridge '{card['bridge']}', on {tested.place}",
        subtitle=f"{gap.clips} clips; trained on {tested.trained_name}, tested on {tested.tested_name}",
        sections=[*gap.sections, *curves, sections[-1], READING],
    )
    kept = {name: gap.per_clip["bridged"].get(name, np.float64(value)) for name, value in gap.values["bridged"].items()}
    save_arrays(tested.folder / GAPS, kept)
    path = write_whole(tested.folder / "scores.json", json.dumps({"scores": scores, "card": card}, indent=2) + "\n")
    return Evaluation(scores, sections, report, path, gaps=kept)


def load_gaps(folder: Path) -> dict[str, np.ndarray] | None:
    """What an earlier evaluation saved in its folder, or None."""
    if not (folder / GAPS).is_file():
        return None
    with np.load(folder / GAPS, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def measured(audio: Float[np.ndarray, "n d"], text: Float[np.ndarray, "n c d"]) -> dict[str, float]:
    """All numbers of the gap; that of the classifier where there are enough clips, with the first caption of each."""
    enough = len(audio) >= FOLDS
    return gap_scores(audio, text) | ({"separability": separability(audio, text[:, 0])} if enough else {})


def gap_table(gaps: Mapping[str, Mapping[str, float]], per_clip: Mapping[str, Mapping[str, np.ndarray]]) -> Table:
    """Every measure, raw and bridged, with intervals where it is a mean over clips."""

    def cell(name: str, key: str) -> str:
        values = per_clip[name].get(key)
        return f"{gaps[name][key]:.3f}" if values is None else str(mean_interval(values))

    rows = [(title, *(cell(name, key) for name in gaps)) for key, title in TITLES.items() if key in gaps["raw"]]
    return Table("The gap between sounds and texts", ("", *gaps), rows, "Brackets are 95 % bootstrap intervals over clips.")


def pictures(sides: Mapping[str, Float[np.ndarray, "n d"]], text: Float[np.ndarray, "n c d"]) -> list[Scatter]:
    """Both clouds before and after: along the gap, on principal components, and by UMAP where that is installed."""
    shown = (sides["raw"], text[:, 0], sides["bridged"])
    clouds = {"along the gap": along_the_gap(*shown), "PCA": plane(*shown)}
    if umap := _umap():
        clouds["UMAP"] = np.split(umap(random_state=0).fit_transform(np.concatenate(shown)), 3)
    return [
        Scatter(
            f"Sounds and texts, {how}",
            {"before": {"sounds": before, "texts": texts}, "after": {"sounds": after, "texts": texts}},
            "The first caption of each clip. " + NOTES[how],
        )
        for how, (before, texts, after) in clouds.items()
    ]


def _umap() -> Any:
    """The class of umap-learn, None where that is not installed."""
    try:
        from umap import UMAP
    except ImportError:
        return None
    return UMAP


def facts(bridge: Bridge) -> dict[str, object]:
    """What the card says of the bridge itself."""
    options, noise = bridge.config["bridge"], bridge.config["noise"]
    found: dict[str, object] = {"bridge": options["form"]}
    if options["form"] in ("diffusion", "text_only"):
        path = " ".join(map(str, bridge.settings.grid)) if options["start"] else "none"
        found |= {"noise": f"{noise['schedule']}, T = {noise['steps']}, s* = {options['start']}", "path": path}
        found |= {"scale": f"kappa = {bridge.settings.kappa:.3g} at d = {bridge.width}", "centre": options["centre"]}
    start = bridge.card.get("started from", {}).get("clap", {})
    return found | {"clap": start.get("source", "not known"), "clap's hash": start.get("digest", "not known")[:16]}


NOTES = {
    "along the gap": "Across: the line between the means of raw sounds and texts. Upwards: what both spread most along besides.",
    "PCA": "The two largest principal components of raw sounds and texts together, which need not hold the gap.",
    "UMAP": "Neighbours stay neighbours; distances between groups mean little.",
}
READING = Note(
    "How to read this",
    (
        "CLAP puts sounds and their captions near each other by angle, and yet in two separate clouds. A bridge moves a sound's embedding"
        " to where the texts are, so that what was made for texts can read it. The cosine with the own captions should rise and the"
        " distance of the means fall; where the cosine with other clips' captions rises as fast, everything has only moved to the middle."
        " R@K says whether a sound is still told from others.",
        "The classifier is a logistic regression that is judged on pairs it has not seen; 0.5 is guessing, 1.0 two clouds that a plane"
        " parts. Where it is near 0.5 for raw sounds already, there is no gap to bridge. The bridge is trained on pairs of sounds and"
        " captions: what reads its output may have seen no sound, but the bridge has.",
    ),
)
