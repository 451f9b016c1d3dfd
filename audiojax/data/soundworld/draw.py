"""Draw scenes from their seeds: classes, structure, attributes, times; and the minimal pairs of the probes.

Clips longer than 3.84 s stretch trains and sustained sounds in proportion; countable sounds keep their length.
"""

from dataclasses import dataclass, replace

import numpy as np

from audiojax.data.soundworld import classes, scenes
from audiojax.data.soundworld.classes import BY_NAME, HEAD, MIDDLE, TAIL, VALUES
from audiojax.data.soundworld.scenes import Event, Scene
from audiojax.errors import UsageError

SECONDS = 3.84
LEAD, GAP = 0.1, 0.1  # s of silence kept around a clip's sounds and between its groups
TRIES = 400


@dataclass(frozen=True)
class Draft:
    """An event before it has a place: class, length in s, count, marked attributes, synthesis seed."""

    name: str
    length: float
    count: int
    attributes: dict[str, str]
    seed: int


def draw(split: str, index: int, seed: int, seconds: float, anchor: str = "") -> Scene:
    """The scene of one clip; `anchor` is a class that it must hold (see `scenes.anchors`).

    Held-out combinations occur only where they must: in every second clip of `test`.
    """
    if split in scenes.PROBES:
        return _probe(split, index, seed, seconds)
    root = scenes.scene_seed(seed, split, index)
    rng = np.random.default_rng(root)
    novel = split == "test" and index % 2 == 1
    structure, names = "", None
    for attempt in range(TRIES):
        if names is None or attempt % 20 == 19:
            structure = _structure(rng)
            names = _names(rng, split, structure, anchor)
        groups, backdrop = parse_structure(structure)
        if backdrop is not None and BY_NAME[names[backdrop]].kind == "single":
            names = None
            continue
        drafts = _drafts(rng, names, groups, backdrop, seconds)
        if (scenes.held_out_facts(drafts, groups, backdrop) > 0) != novel:
            continue
        events = _arrange(rng, drafts, groups, backdrop, seconds)
        if events:
            return Scene(split, index, root, seconds, events, groups, backdrop, novel)
    raise UsageError(f"SoundWorld: no scene fits into {seconds} s; use clips of at least {SECONDS} s")


def parse_structure(text: str) -> tuple[tuple[tuple[int, ...], ...], int | None]:
    """("A&B>C") -> groups of event numbers, backdrop number: ((0, 1), (2,)), None; "B>C/A" -> ((1,), (2,)), 0."""
    body, _, under = text.partition("/")
    groups = tuple(tuple(ord(slot) - ord("A") for slot in group.split("&")) for group in body.split(">"))
    return groups, (ord(under) - ord("A") if under else None)


def _structure(rng: np.random.Generator) -> str:
    shares = np.array(list(scenes.STRUCTURES.values()))
    return str(rng.choice(list(scenes.STRUCTURES), p=shares / shares.sum()))


def _names(rng: np.random.Generator, split: str, structure: str, anchor: str) -> list[str]:
    """Distinct classes for the slots of a structure, the anchor in a random one of them."""
    size = sum(slot.isalpha() for slot in structure)
    pool, shares = classes.names(), None
    if split == "train":
        pool, shares = scenes.zipf_priors()
    elif split == "val" or split in scenes.PROBES:
        pool = classes.names(HEAD, MIDDLE, TAIL)
    elif split == "unseen":
        pool = classes.names(HEAD, MIDDLE)
    drawn = [str(name) for name in rng.choice(pool, size + 1, replace=False, p=shares) if name != anchor][:size]
    if anchor:
        drawn[rng.integers(size)] = anchor
    return drawn


def _drafts(rng, names: list[str], groups: tuple, backdrop: int | None, seconds: float) -> list[Draft]:
    """Attributes, counts and lengths for the classes of a scene."""
    stretch = seconds / SECONDS
    drafts = []
    for number, name in enumerate(names):
        row = BY_NAME[name]
        under = number == backdrop
        allowed = [a for a in row.attributes if not (a == "duration" and under)]
        marked = _mark(rng, allowed, int(rng.choice(3, p=(0.15, 0.45, 0.4))))
        count = int(rng.choice((1, 2, 3), p=(0.5, 0.3, 0.2))) if row.kind == "single" else 1
        length = event_length(rng, name, count, marked.get("duration"), len(groups), stretch)
        drafts.append(Draft(name, seconds - 2 * LEAD if under else length, count, marked, int(rng.integers(2**62))))
    if len(drafts) > 1 and rng.random() < 0.2:
        chosen = int(rng.integers(len(drafts)))
        value = str(rng.choice(VALUES["loudness"]))
        drafts[chosen] = replace(drafts[chosen], attributes=drafts[chosen].attributes | {"loudness": value})
    return drafts


def _mark(rng: np.random.Generator, allowed: list[str], count: int) -> dict[str, str]:
    """Up to `count` marked attributes; brightness and distance both colour the highs, so never both."""
    marked: dict[str, str] = {}
    for attribute in rng.permutation(allowed):
        clash = {"brightness": "distance", "distance": "brightness"}.get(attribute)
        if len(marked) < count and clash not in marked:
            marked[str(attribute)] = str(rng.choice(VALUES[attribute]))
    return marked


def event_length(rng: np.random.Generator, name: str, count: int, duration: str | None, groups: int, stretch: float) -> float:
    """Length in s of an event in a scene of so many consecutive groups."""
    row = BY_NAME[name]
    if row.kind == "single":
        return row.spacing * (count - 1) + row.unit
    if row.kind == "train":
        return stretch * rng.uniform(*((1.0, 1.15) if groups > 2 else (1.2, 1.6) if groups > 1 else (1.7, 2.4)))
    low, high = {"short": (0.4, 0.55), "long": (2.1, 2.6)}.get(duration, (1.0, 1.2))
    return rng.uniform(low, high) * (stretch if duration != "short" else 1.0)


def _arrange(rng, drafts: list[Draft], groups: tuple, backdrop: int | None, seconds: float) -> tuple[Event, ...]:
    """Events with times; () where they do not fit. Members of a group share their time, the shorter inside the longer."""
    spans = [max(drafts[i].length for i in group) for group in groups]
    room = seconds - 2 * LEAD - sum(spans) - GAP * (len(groups) - 1)
    if room < 0:
        return ()
    gaps = rng.dirichlet(np.full(len(groups) + 1, 2.0)) * room
    onsets, clock = {}, LEAD
    for group, span, gap in zip(groups, spans, gaps, strict=False):
        clock += gap
        for number in group:
            onsets[number] = clock + rng.uniform(0, 1) * (span - drafts[number].length)
        clock += span + GAP
    if backdrop is not None:
        onsets[backdrop] = LEAD
    return tuple(_event(draft, onsets[number]) for number, draft in enumerate(drafts))


def _event(draft: Draft, onset: float) -> Event:
    return Event(draft.name, round(onset, 4), round(onset + draft.length, 4), draft.count, draft.attributes, draft.seed)


def _probe(split: str, index: int, seed: int, seconds: float) -> Scene:
    """One side (index % 2) of minimal pair index // 2. Both sides share every draw but the probed fact."""
    pair, side = divmod(index, 2)
    rng = np.random.default_rng(scenes.stable_hash(seed, "pair", split, pair))
    for _ in range(TRIES):
        sides = _PAIRS[split](rng, seconds)
        if sides is None:
            continue
        groups, drafts = sides[0][0], sides[0][1]
        if any(scenes.held_out_facts(d, g, None) for g, d in sides):
            continue
        state = rng.bit_generator.state
        made = []
        for groups, drafts in sides:
            rng.bit_generator.state = state
            made.append((groups, _arrange(rng, drafts, groups, None, seconds)))
        if all(events for _, events in made):
            groups, events = made[side]
            return Scene(split, index, scenes.stable_hash(seed, "room", split, pair), seconds, events, groups)
    raise UsageError(f"SoundWorld: no {split} scene fits into {seconds} s; use clips of at least {SECONDS} s")


def _order_pair(rng: np.random.Generator, seconds: float):
    """A then B | B then A."""
    first, second = parse_structure("A>B")[0], ((1,), (0,))
    drafts = _drafts(rng, _names(rng, "probe_order", "A>B", ""), first, None, seconds)
    return (first, drafts), (second, drafts)


def _count_pair(rng: np.random.Generator, seconds: float):
    """n times | n + 1 times, alone or before another sound."""
    structure = str(rng.choice(("A", "A>B")))
    groups, names = parse_structure(structure)[0], _names(rng, "probe_count", structure, "")
    if BY_NAME[names[0]].kind != "single":
        return None
    few = int(rng.integers(1, 3))
    drafts = _drafts(rng, names, groups, None, seconds)
    sides = []
    for count in (few, few + 1):
        length = event_length(rng, names[0], count, None, len(groups), 1.0)
        sides.append((groups, [replace(drafts[0], count=count, length=length), *drafts[1:]]))
    return tuple(sides)


def _binding_pair(rng: np.random.Generator, seconds: float):
    """Low A then high B | high A then low B, for any attribute that both classes share."""
    groups, names = parse_structure("A>B")[0], _names(rng, "probe_binding", "A>B", "")
    shared = [a for a in BY_NAME[names[0]].attributes if a in BY_NAME[names[1]].attributes and a != "duration"]
    if not shared:
        return None
    attribute = str(rng.choice(shared))
    values = [str(value) for value in rng.permutation(VALUES[attribute])]
    drafts = _drafts(rng, names, groups, None, seconds)
    plain = [replace(draft, length=event_length(rng, draft.name, draft.count, None, 2, seconds / SECONDS)) for draft in drafts]
    return tuple(
        (groups, [replace(d, attributes={attribute: v}) for d, v in zip(plain, order, strict=True)]) for order in (values, values[::-1])
    )


_PAIRS = {"probe_order": _order_pair, "probe_count": _count_pair, "probe_binding": _binding_pair}
