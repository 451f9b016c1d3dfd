"""Captions of scenes, and their way back: `captions` writes five per clip, `parse` reads any of them as facts.

Every caption names every event and the order or overlap of all of them; most name every marked attribute too, some leave attributes out
(open world: what is not said is not known). Word choice depends on the domain, the facts do not.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from lark import Lark, Transformer
from lark.exceptions import LarkError

from audiojax.data.soundworld import lexicon, scenes
from audiojax.data.soundworld.classes import BY_NAME
from audiojax.data.soundworld.scenes import Event, Scene

CAPTIONS = 5
COMPLETE = 0.75  # share of captions that state every marked attribute
KEEP = 0.5  # chance of an attribute in the other captions
ONCE = 0.4  # chance that a countable sound which comes once is said to


@dataclass(frozen=True)
class Mention:
    """One event as a caption states it: class name and stated attributes (`count` among them, as text)."""

    name: str
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """What a caption says: groups of mentions in order of time and the mention that sounds throughout."""

    groups: tuple[tuple[Mention, ...], ...]
    backdrop: Mention | None = None

    def mentions(self) -> list[Mention]:
        """All mentions, the backdrop last."""
        return [mention for group in self.groups for mention in group] + ([self.backdrop] if self.backdrop else [])


def captions(scene: Scene, domain: str = "studio") -> list[str]:
    """Five different captions of a scene, a pure function of its seed and the domain; both sides of a minimal pair are worded alike."""
    rng = np.random.default_rng(scenes.stable_hash(scene.seed, "captions", domain))
    probe = scene.split in scenes.PROBES
    out: dict[str, str] = {}
    for _ in range(60):
        text = write(scene, domain, np.random.default_rng(rng.integers(2**62)), 1.0 if probe else COMPLETE)
        out.setdefault(_bare(text) if probe else text, text)
        if len(out) == CAPTIONS:
            break
    return (list(out.values()) * CAPTIONS)[:CAPTIONS]


def _bare(text: str) -> str:
    """The caption without attribute words: equal on both sides of a pair, so that both drop the same repeats."""
    return re.sub(rf"\b({_alternatives(list(_meanings()))})\b", "", text)


def write(scene: Scene, domain: str, rng: np.random.Generator, complete: float = COMPLETE) -> str:
    """One caption. Random draws come in the same order for scenes of the same shape, so minimal pairs differ in the probed words only."""
    keep = 1.0 if rng.random() < complete else KEEP
    opener = _choose(rng, lexicon.words(lexicon.CONNECTIVES, "opener", domain)) if rng.random() < 0.25 else ""
    voices = np.random.default_rng(rng.integers(2**62)).integers(2**62, size=len(scene.events))
    spoken = [_Clause(event, domain, int(voice), keep, complete == 1.0) for event, voice in zip(scene.events, voices, strict=True)]
    gerund = bool(opener)
    groups = [_group(rng, [spoken[i] for i in group], domain) for group in scene.groups]
    if len(groups) == 2 and scene.backdrop is None and all(len(group) == 1 for group in scene.groups) and rng.random() < 0.2:
        body = f"{groups[1](gerund)} {_choose(rng, lexicon.words(lexicon.CONNECTIVES, 'after', domain))} {groups[0](True)}"
    else:
        body = groups[0](gerund)
        for group in groups[1:]:
            link = _choose(rng, lexicon.words(lexicon.CONNECTIVES, "then", domain))
            body += f", {link.lstrip('+-')} {group(link[0] == '+' or (gerund and link[0] != '-'))}"
        body = f"first {body}" if len(groups) > 1 and not opener and rng.random() < 0.15 else body
    if scene.backdrop is not None:
        body += f", with {spoken[scene.backdrop](True)} {_choose(rng, lexicon.words(lexicon.CONNECTIVES, 'throughout', domain))}"
    return f"{opener} {body}".strip()


class _Clause:
    """An event with its words chosen; called with `gerund` it reads as text."""

    def __init__(self, event: Event, domain: str, voice: int, keep: float, always: bool):
        rng = np.random.default_rng(voice)
        self.determiner, noun, self.finite, self.gerund = _choose(rng, lexicon.phrases(event.name, domain))
        facts = dict(event.attributes)
        countable = BY_NAME[event.name].kind == "single"
        if rng.random() < ONCE + always * countable or event.count > 1:
            facts |= {"count": str(event.count)} if countable else {}
        before, behind = [], []
        for attribute, value in facts.items():
            adverbs, adjectives = (lexicon.words(t, (attribute, value), domain) for t in (lexicon.ADVERBS, lexicon.ADJECTIVES))
            stated, as_adverb, pick = rng.random() < keep, rng.random() < 0.5, rng.random()
            if not stated:
                continue
            choices, side = (adverbs, behind) if adverbs and (as_adverb or not adjectives) else (adjectives, before)
            side.append(choices[int(pick * len(choices))])
        self.noun = " ".join([*before, noun])
        self.tail = " ".join(["", *behind])
        if self.determiner in ("a", "an"):
            self.determiner = "an" if self.noun[0] in "aeiou" else "a"

    def __call__(self, gerund: bool) -> str:
        return f"{self.determiner} {self.noun} {self.gerund if gerund else self.finite}{self.tail}".strip()


def _choose(rng: np.random.Generator, choices: list):
    return choices[int(rng.random() * len(choices))]


def _group(rng: np.random.Generator, members: list, domain: str):
    """Text of one group as a function of `gerund`; who is named first in an overlap is random."""
    if len(members) == 1:
        return members[0]
    first, second = members if rng.random() < 0.5 else members[::-1]
    if rng.random() < 0.25:
        return lambda gerund: f"{first(gerund)} and {second(gerund)} {lexicon.SAME_TIME}"
    link = _choose(rng, lexicon.words(lexicon.CONNECTIVES, "while", domain))
    return lambda gerund: f"{first(gerund)} {link} {second(False)}"


@lru_cache(maxsize=1)
def parser() -> Lark:
    """The LALR parser: rules of grammar.lark, word terminals from the lexicon (both domains)."""
    rules = Path(__file__).with_name("grammar.lark").read_text(encoding="utf-8")
    roles = {role: _both(lexicon.CONNECTIVES[role]) for role in lexicon.CONNECTIVES}
    terminals = {
        "THEN.4": [word.lstrip("+-") for word in roles["then"]],
        "AFTER.2": roles["after"],
        "WHILE.3": roles["while"],
        "THROUGHOUT.3": roles["throughout"],
        "OPENER.3": roles["opener"],
        "SAME_TIME.3": [lexicon.SAME_TIME],
        "ADJ.2": [word for pair in lexicon.ADJECTIVES.values() for word in _both(pair)],
        "ADVERB.3": [word for pair in lexicon.ADVERBS.values() for word in _both(pair)],
        "NOUN.1": [noun for noun, _ in pairs()],
        "VERB.1": [verb for _, verb in pairs()],
    }
    lines = [f"{name}: /({_alternatives(choices)})\\b/" for name, choices in terminals.items()]
    return Lark(rules + "\n" + "\n".join(lines) + "\n", parser="lalr", transformer=_Reader())


def _both(pair: tuple[str, str]) -> list[str]:
    return pair[0].split("; ") + pair[1].split("; ")


def _alternatives(choices: list[str]) -> str:
    return "|".join(re.escape(word).replace("\\ ", " ") for word in sorted(set(choices), key=lambda w: (-len(w), w)))


@lru_cache(maxsize=1)
def pairs() -> dict[tuple[str, str], str]:
    """(noun, verb) -> class name for every phrase of both domains, finite verbs and gerunds."""
    table: dict[tuple[str, str], str] = {}
    for name in lexicon.PHRASES:
        for domain in lexicon.DOMAINS:
            for _, noun, finite, gerund in lexicon.phrases(name, domain):
                for verb in (finite, gerund):
                    if table.setdefault((noun, verb), name) != name:
                        raise ValueError(f"'{noun} {verb}' names both {table[noun, verb]} and {name}")
    return table


@lru_cache(maxsize=1)
def _meanings() -> dict[str, tuple[str, str]]:
    return {word: fact for table in (lexicon.ADJECTIVES, lexicon.ADVERBS) for fact, pair in table.items() for word in _both(pair)}


class _Reader(Transformer):
    """Turns the parse tree into Facts; an impossible (noun, verb) pair raises KeyError."""

    def clause(self, tokens):
        noun = next(str(t) for t in tokens if t.type == "NOUN")
        verb = next(str(t) for t in tokens if t.type == "VERB")
        stated = [_meanings()[str(t)] for t in tokens if t.type in ("ADJ", "ADVERB")]
        return Mention(pairs()[noun, verb], dict(stated))

    def alone(self, items):
        return (items[0],)

    def together(self, items):
        return tuple(item for item in items if isinstance(item, Mention))

    def forward(self, items):
        return tuple(item for item in items if isinstance(item, tuple))

    def backward(self, items):
        return self.forward(items)[::-1]

    def backdrop(self, items):
        return next(item for item in items if isinstance(item, Mention))

    def body(self, items):
        return Facts(items[0], items[1] if len(items) > 1 else None)

    def start(self, items):
        return items[-1]


def normalise(caption: str) -> str:
    """Lower case, punctuation out, single spaces."""
    return " ".join(re.sub(r"[^a-z\- ]", " ", caption.lower()).split())


def parse(caption: str) -> Facts | None:
    """Facts of a caption in either domain's words; None where it is no caption of this grammar."""
    try:
        return parser().parse(normalise(caption))
    except (LarkError, KeyError):
        return None
