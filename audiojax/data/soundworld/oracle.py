"""What a perfect listener and a perfect reader would score: event F1, share that parses, accuracy of what is said of the events, graded
relevance, retrieval ceilings.

A caption is matched with a scene as a closed world of events (it names all of them) and an open world of attributes.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from math import comb

import numpy as np
from jaxtyping import Int

from audiojax.data.soundworld import grammar, scenes
from audiojax.data.soundworld.grammar import Facts, Mention
from audiojax.data.soundworld.scenes import Event, Scene

EVENT_WEIGHT = 2.0  # of a named event in graded relevance; attributes and relations weigh one


def named_classes(caption: str) -> Counter:
    """Class names that a caption mentions; one outside the grammar is read by its (noun, verb) phrases alone."""
    facts = grammar.parse(caption)
    if facts is not None:
        return Counter(mention.name for mention in facts.mentions())
    found, text = Counter(), f" {grammar.normalise(caption)} "
    for (noun, verb), name in sorted(grammar.pairs().items(), key=lambda item: -len(" ".join(item[0]))):
        phrase = f" {noun} {verb} "
        found[name] += text.count(phrase)
        text = text.replace(phrase, " | ")
    return +found


def event_f1(captions: Sequence[str], truths: Sequence[Scene]) -> float:
    """Micro-averaged F1 in [0, 1] of the events named by one caption per scene; counts and attributes do not matter."""
    hits = named = present = 0
    for caption, scene in zip(captions, truths, strict=True):
        said, true = named_classes(caption), Counter(event.name for event in scene.events)
        hits, named, present = hits + (said & true).total(), named + said.total(), present + true.total()
    return 2 * hits / max(1, named + present)


def parse_share(captions: Sequence[str]) -> float:
    """Share in [0, 1] of captions that the grammar parses."""
    return sum(grammar.parse(caption) is not None for caption in captions) / max(1, len(captions))


@dataclass(frozen=True, eq=False)
class Claims:
    """How many things captions state of the events that they name rightly, and how many of them are true, caption by caption."""

    true: Int[np.ndarray, " captions"]
    stated: Int[np.ndarray, " captions"]

    @property
    def accuracy(self) -> float:
        """Share in [0, 1] of all that is stated; NaN where nothing is."""
        return float(self.true.sum() / self.stated.sum()) if self.stated.any() else float("nan")


def attribute_claims(captions: Sequence[str], truths: Sequence[Scene]) -> Claims:
    """The attributes (count among them) that one caption per scene states of the events it names rightly.

    An attribute is true where the event has that very value. A caption outside the grammar states none; nor does what it says of an event
    that the scene has not: that is event F1's to punish.
    """
    counts = []
    for facts, scene in zip(map(grammar.parse, captions), truths, strict=True):
        claims = [
            _truth(scene.events[number]).get(attribute) == value
            for mention, number in _named_rightly(facts, scene)
            for attribute, value in mention.attributes.items()
        ]
        counts.append((sum(claims), len(claims)))
    return Claims(*np.array(counts, np.int64).reshape(-1, 2).T)


def order_claims(captions: Sequence[str], truths: Sequence[Scene]) -> Claims:
    """The pairs of rightly named events whose order one caption per scene states: one before the other, or both at the same time.

    Every caption of the grammar states the order of all its pairs; one outside it states none.
    """
    counts = []
    for facts, scene in zip(map(grammar.parse, captions), truths, strict=True):
        said = {id(mention): place for place, group in enumerate(facts.groups) for mention in group} if facts else {}
        true = {number: place for place, group in enumerate(scene.groups) for number in group}
        places = [(said.get(id(mention)), true.get(number)) for mention, number in _named_rightly(facts, scene)]
        claims = [_order(a[0], b[0]) == _order(a[1], b[1]) for a, b in combinations(places, 2)]
        counts.append((sum(claims), len(claims)))
    return Claims(*np.array(counts, np.int64).reshape(-1, 2).T)


def _order(a: int | None, b: int | None) -> int:
    """-1 where place a in time is before b, 1 behind it, 0 at the same time; None is the backdrop, which sounds throughout."""
    return 0 if a is None or b is None else (a > b) - (a < b)


def _named_rightly(facts: Facts | None, scene: Scene) -> list[tuple[Mention, int]]:
    """Mentions and the numbers of the events that they name: of one class, the first mention is the first event, and so on."""
    left = sorted(range(len(scene.events)), key=lambda number: scene.events[number].onset)
    found = []
    for mention in facts.mentions() if facts else ():
        number = next((number for number in left if scene.events[number].name == mention.name), None)
        if number is not None:
            left.remove(number)
            found.append((mention, number))
    return found


def _truth(event: Event) -> dict[str, str]:
    """The marked attributes of an event and its count, as captions state them."""
    return event.attributes | {"count": str(event.count)}


def consistent(facts: Facts, scene: Scene) -> bool:
    """True when the scene has exactly the named events in the named arrangement and contradicts no stated attribute."""
    if len(facts.groups) != len(scene.groups) or (facts.backdrop is None) != (scene.backdrop is None):
        return False
    if facts.backdrop is not None and not _fits(facts.backdrop, scene, scene.backdrop):
        return False
    return all(_group_fits(said, true, scene) for said, true in zip(facts.groups, scene.groups, strict=True))


def _fits(mention: Mention, scene: Scene, number: int) -> bool:
    event = scene.events[number]
    facts = _truth(event)
    return mention.name == event.name and all(facts.get(attribute) == value for attribute, value in mention.attributes.items())


def _group_fits(said: tuple[Mention, ...], true: tuple[int, ...], scene: Scene) -> bool:
    return len(said) == len(true) and any(all(_fits(m, scene, i) for m, i in zip(said, order, strict=True)) for order in permutations(true))


def relevance(facts: Facts, scene: Scene) -> float:
    """Graded relevance in [0, 1]: weight of the caption's facts that hold in the scene over all its facts and the scene's unnamed events.

    Named events weigh two, stated attributes and pairwise relations one. One exactly where `consistent`, zero without a common class.
    """
    mentions = facts.mentions()
    place = {event.name: number for number, event in enumerate(scene.events)}
    total, held = EVENT_WEIGHT * len(mentions), 0.0
    for mention in mentions:
        total += len(mention.attributes)
        if mention.name in place:
            event = scene.events[place[mention.name]]
            truth = _truth(event)
            held += EVENT_WEIGHT + sum(truth.get(attribute) == value for attribute, value in mention.attributes.items())
    said = _relations(facts)
    true = {(kind, scene.events[i].name, scene.events[j].name) for kind, i, j in scenes.relations(scene)}
    true |= {(kind, b, a) for kind, a, b in true if kind == "overlap"}
    held, total = held + len(said & true), total + len(said)
    missed = len(set(place) - {mention.name for mention in mentions})
    return held / (total + EVENT_WEIGHT * missed)


def _relations(facts: Facts) -> set[tuple[str, str, str]]:
    out = {("overlap", a.name, b.name) for group in facts.groups for n, a in enumerate(group) for b in group[n + 1 :]}
    for n, early in enumerate(facts.groups):
        out |= {("before", a.name, b.name) for late in facts.groups[n + 1 :] for a in early for b in late}
    if facts.backdrop is not None:
        out |= {("overlap", facts.backdrop.name, m.name) for group in facts.groups for m in group}
    return out


def retrieval(truths: Sequence[Scene], captions: Sequence[Sequence[str]], ks: tuple[int, ...] = (1, 5, 10)) -> dict[str, float]:
    """Ceilings of caption-to-clip and clip-to-caption retrieval, ties resolved by chance (expected values).

    Args: truths: one scene per clip. captions: the captions of each clip.
    Returns: "t2a_R@k", "t2a_mAP@10", "t2a_mean_rank", "a2t_R@k" in [0, 1] (ranks from 1) and "parsed".
    Raises: ValueError if a caption contradicts its own clip.
    """
    buckets: dict[tuple, list[int]] = defaultdict(list)
    for number, scene in enumerate(truths):
        buckets[tuple(sorted(event.name for event in scene.events))].append(number)
    ties, agreeing, parsed = [], Counter(), 0
    for number, texts in enumerate(captions):
        for text in texts:
            facts = grammar.parse(text)
            if facts is None:
                ties.append(len(truths))
                continue
            parsed += 1
            key = tuple(sorted(mention.name for mention in facts.mentions()))
            matches = [i for i in buckets[key] if consistent(facts, truths[i])]
            if number not in matches:
                raise ValueError(f"caption {text!r} contradicts its own clip {truths[number].split}-{truths[number].index}")
            ties.append(len(matches))
            agreeing.update(matches)
    own = [len(texts) for texts in captions]
    scores = {f"t2a_R@{k}": sum(min(1.0, k / n) for n in ties) / len(ties) for k in ks}
    scores["t2a_mAP@10"] = sum(sum(1 / rank for rank in range(1, min(10, n) + 1)) / n for n in ties) / len(ties)
    scores["t2a_mean_rank"] = sum((n + 1) / 2 for n in ties) / len(ties)
    for k in ks:
        scores[f"a2t_R@{k}"] = sum(_any_own(agreeing[i], own[i], k) for i in range(len(truths))) / len(truths)
    return scores | {"parsed": parsed / len(ties)}


def _any_own(candidates: int, own: int, k: int) -> float:
    """Chance that k draws without replacement from the agreeing captions hold at least one of the clip's own."""
    k = min(k, candidates)
    return 1 - comb(candidates - own, k) / comb(candidates, k) if candidates >= own else 0.0


def vocabulary_overlap(known: Sequence[str], other: Sequence[str]) -> float:
    """Share in [0, 1] of the word tokens of `other` captions that occur anywhere in `known` captions."""
    vocabulary = {word for text in known for word in grammar.normalise(text).split()}
    tokens = [word for text in other for word in grammar.normalise(text).split()]
    return sum(word in vocabulary for word in tokens) / max(1, len(tokens))
