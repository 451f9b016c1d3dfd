"""Scene specifications: what sounds, when, how, for every split. Cheap, exact, a pure function of (seed, split, index).

A scene is one to three events in time-ordered groups; the members of a group sound together, and a backdrop sounds under everything.
Specs know nothing of the domain: `studio` and `field` render and word the same scenes.

Splits at size `base`: pretrain 8,000 (every class equally), train 6,000 (Zipf-like; tail classes in 5 to 20 clips; no unseen class),
val 500 (seen classes equally), test 1,000 (every class equally; every second clip holds a class x attribute x relation that occurs
nowhere else), unseen 320 (40 clips of each unseen class; datastore = train + unseen) and three splits of minimal pairs.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from jaxtyping import Float

from audiojax.data.soundworld import classes
from audiojax.data.soundworld.classes import HEAD, MIDDLE, TAIL, UNSEEN
from audiojax.errors import UsageError

BASE = {"pretrain": 8000, "train": 6000, "val": 500, "test": 1000, "unseen": 320}
PROBES = {"probe_order": 200, "probe_count": 200, "probe_binding": 200}
SPLITS = (*BASE, *PROBES)
SIZES = {"mini": 0.1, "base": 1.0, "large": 10.0}
STRUCTURES = {  # groups of event slots in order of time, "/" before a backdrop, and their share
    "A": 0.28,
    "A>B": 0.27,
    "A&B": 0.17,
    "A>B>C": 0.08,
    "A&B>C": 0.07,
    "A>B&C": 0.06,
    "B>C/A": 0.07,
}
ACTIVITY_STEP = 0.16  # s, of the labels that say when a class sounds
HELD_OUT_PERCENT = 18  # of class x attribute x relation combinations
ZIPF = 0.75


@dataclass(frozen=True)
class Event:
    """One sounding thing; times in s; `attributes` holds the marked ones only, `count` is 1 unless a countable sound repeats."""

    name: str
    onset: float
    offset: float
    count: int
    attributes: dict[str, str]
    seed: int


@dataclass(frozen=True)
class Scene:
    """Truth of one clip. `groups` are tuples of event numbers in order of time; `backdrop` is an event number or None."""

    split: str
    index: int
    seed: int
    seconds: float
    events: tuple[Event, ...]
    groups: tuple[tuple[int, ...], ...]
    backdrop: int | None = None
    novel: bool = False

    def to_json(self) -> str:
        """The stored truth: the fields above and the pairwise relations [kind, i, j] with kind before | overlap."""
        return json.dumps(dataclasses.asdict(self) | {"relations": relations(self)}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Scene":
        """Inverse of `to_json`."""
        raw = json.loads(text)
        raw.pop("relations")
        raw["events"] = tuple(Event(**event) for event in raw["events"])
        raw["groups"] = tuple(tuple(group) for group in raw["groups"])
        return cls(**raw)

    @classmethod
    def parse(cls, text: str) -> "Scene | None":
        """The scene where the text is one, as `to_json` writes it; None for anything else."""
        try:
            return cls.from_json(text)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


def class_activity(record: Mapping[str, Any]) -> Float[np.ndarray, "steps classes"]:
    """1 for every class of `classes.CLASSES`, in their order, and every `ACTIVITY_STEP` of the clip in which it sounds; 0 elsewhere.

    Raises:
      UsageError: the record does not hold SoundWorld's truth.
    """
    scene = Scene.parse(record["scene"])
    if scene is None:
        raise UsageError(f"clip '{record['id']}' has no SoundWorld scene: data.labels takes SoundWorld alone")
    places = {row.name: number for number, row in enumerate(classes.CLASSES)}
    steps = round(scene.seconds / ACTIVITY_STEP)
    activity = np.zeros((steps, len(places)), np.float32)
    for event in scene.events:
        first = min(int(event.onset / ACTIVITY_STEP), steps - 1)
        activity[first : max(first + 1, ceil(event.offset / ACTIVITY_STEP)), places[event.name]] = 1
    return activity


def relations(scene: Scene) -> list[list]:
    """[kind, i, j] for every pair of events: `before` (i ends, then j starts) or `overlap`."""
    pairs = [["overlap", i, j] for group in scene.groups for n, i in enumerate(group) for j in group[n + 1 :]]
    for n, early in enumerate(scene.groups):
        pairs += [["before", i, j] for late in scene.groups[n + 1 :] for i in early for j in late]
    if scene.backdrop is not None:
        pairs += [["overlap", scene.backdrop, i] for group in scene.groups for i in group]
    return pairs


def stable_hash(*parts: object) -> int:
    """63-bit integer that depends on the parts alone, on every machine."""
    return int.from_bytes(hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest(), "big") >> 1


def role(scene_groups: tuple, backdrop: int | None, number: int) -> str:
    """Relation in which an event stands: alone | first | later | overlap."""
    if backdrop == number or any(number in group and len(group) > 1 for group in scene_groups):
        return "overlap"
    if len(scene_groups) == 1:
        return "overlap" if backdrop is not None else "alone"
    return "first" if number in scene_groups[0] else "later"


def held_out(name: str, attribute: str, value: str, relation: str) -> bool:
    """True for the combinations of seen classes that only novel test clips hold; a fixed law of the world."""
    seen = classes.BY_NAME[name].tier != UNSEEN
    return seen and stable_hash("held out", name, attribute, value, relation) % 100 < HELD_OUT_PERCENT


def held_out_facts(events: tuple | list, groups: tuple, backdrop: int | None) -> int:
    """Number of held-out combinations among the marked attributes and repetitions of a scene."""
    total = 0
    for number, event in enumerate(events):
        relation = role(groups, backdrop, number)
        facts = list(event.attributes.items()) + ([("count", str(event.count))] if event.count > 1 else [])
        total += sum(held_out(event.name, attribute, value, relation) for attribute, value in facts if attribute != "loudness")
    return total


def split_sizes(size: str) -> dict[str, int]:
    """Clips in each split at `mini`, `base`, `large` or any multiple of base given as a number ("0.02", "40"). UsageError otherwise."""
    try:
        scale = SIZES[size] if size in SIZES else float(size)
    except ValueError:
        raise UsageError(f"SoundWorld size {size!r}: use mini, base, large or a multiple of base such as 0.5") from None
    if not 0 < scale <= 10_000:
        raise UsageError(f"SoundWorld size {size!r}: the multiple of base must lie in (0, 10000]")
    pairs = {name: 2 * max(5, round(count * min(scale, 1.0) / 2)) for name, count in PROBES.items()}
    return {name: max(1, round(count * scale)) for name, count in BASE.items()} | pairs


def tail_quotas(count: int) -> dict[str, int]:
    """Clips in `train` that each tail class gets: 5 to 20 at base (6,000 clips), in proportion elsewhere, never none."""
    tail = classes.names(TAIL)
    return {name: max(1, round(q * count / BASE["train"])) for name, q in zip(tail, np.linspace(20, 5, len(tail)), strict=True)}


def zipf_priors() -> tuple[tuple[str, ...], np.ndarray]:
    """Head and middle classes in order of rank and their Zipf-like shares of `train`."""
    pool = classes.names(HEAD) + classes.names(MIDDLE)
    weights = 1.0 / np.arange(1, len(pool) + 1) ** ZIPF
    return pool, weights / weights.sum()


def anchors(split: str, count: int, seed: int) -> np.ndarray:
    """Number in `classes.names()` of the class that each clip of a split is sure to hold, int16 [count]; -1 where all are drawn freely."""
    rng = np.random.default_rng(stable_hash(seed, "anchors", split))
    plan, number = np.full(count, -1, np.int16), {name: i for i, name in enumerate(classes.names())}
    if split == "train":
        quota = [number[name] for name, share in tail_quotas(count).items() for _ in range(share)]
        plan[rng.permutation(count)[: len(quota)]] = quota[:count]
        return plan
    pool = {"val": classes.names(HEAD, MIDDLE, TAIL), "unseen": classes.names(UNSEEN)}.get(split, classes.names())
    if split in PROBES:
        return plan
    return rng.permutation(np.resize(np.array([number[name] for name in pool], np.int16), count))


def scene_seed(seed: int, split: str, index: int) -> int:
    """Root of all randomness of one clip; different for every (seed, split, index)."""
    return stable_hash(seed, "scene", split, index)
