"""Captions: written from truth, parsed back to it, in both wordings."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiojax.data.soundworld import classes, grammar, lexicon, oracle, scenes
from audiojax.data.soundworld.grammar import Facts, Mention
from audiojax.data.soundworld.scenes import Event, Scene
from audiojax.data.soundworld.source import SceneSource

STRUCTURES = [(((0,),), None), (((0,), (1,)), None), (((0, 1),), None), (((0, 1), (2,)), None), (((0,), (1, 2)), None), (((1,), (2,)), 0)]


@st.composite
def any_scene(draw) -> Scene:
    """A scene of any classes, attributes and counts, far beyond what the splits draw."""
    groups, backdrop = draw(st.sampled_from(STRUCTURES))
    size = sum(map(len, groups)) + (backdrop is not None)
    names = draw(st.lists(st.sampled_from(classes.names()), min_size=size, max_size=size, unique=True))
    events = []
    for number, name in enumerate(names):
        row = classes.BY_NAME[name]
        marked = draw(st.sets(st.sampled_from([*row.attributes, "loudness"])))
        attributes = {attribute: draw(st.sampled_from(classes.VALUES[attribute])) for attribute in sorted(marked)}
        count = draw(st.integers(1, 3)) if row.kind == "single" else 1
        events.append(Event(name, float(number), number + 0.5, count, attributes, 0))
    return Scene("any", 0, draw(st.integers(0, 2**40)), 9.0, tuple(events), groups, backdrop)


@settings(max_examples=150, deadline=None)
@given(any_scene(), st.sampled_from(lexicon.DOMAINS), st.integers(0, 2**32))
def test_what_is_written_is_read_back(scene, domain, seed):
    facts = grammar.parse(grammar.write(scene, domain, np.random.default_rng(seed), complete=1.0))
    assert facts is not None
    assert oracle.consistent(facts, scene)
    assert oracle.relevance(facts, scene) == 1.0
    for mention in facts.mentions():
        event = next(e for e in scene.events if e.name == mention.name)
        assert {a: v for a, v in mention.attributes.items() if a != "count"} == event.attributes
        assert mention.attributes.get("count", "1") == str(event.count)


@settings(max_examples=100, deadline=None)
@given(any_scene(), st.sampled_from(lexicon.DOMAINS), st.integers(0, 2**32))
def test_incomplete_captions_leave_out_but_never_lie(scene, domain, seed):
    facts = grammar.parse(grammar.write(scene, domain, np.random.default_rng(seed), complete=0.0))
    assert oracle.consistent(facts, scene)


def test_parse_reads_english_as_meant():
    assert grammar.parse("A dog barks twice, then rain falls.") == Facts(((Mention("dog_bark", {"count": "2"}),), (Mention("rain"),)))
    assert grammar.parse("rain falls after a distant dog barking") == Facts(
        ((Mention("dog_bark", {"distance": "far"}),), (Mention("rain"),))
    )
    assert grammar.parse("the sound of a cat meowing while a shrill siren wails") == Facts(
        ((Mention("cat_meow"), Mention("siren", {"pitch": "high"})),)
    )
    under = grammar.parse("a bell tolls, before an owl hoots, with wind blowing throughout")
    assert under == Facts(((Mention("church_bell"),), (Mention("owl"),)), Mention("wind"))


@pytest.mark.parametrize("text", ["", "hello world", "a dog", "a dog rings", "a dog barks then", "barks a dog", "a purple dog barks"])
def test_other_text_does_not_parse(text):
    assert grammar.parse(text) is None


def test_every_class_has_phrases_in_both_domains_and_no_pair_is_ambiguous():
    assert set(lexicon.PHRASES) == set(classes.names())
    assert set(grammar.pairs().values()) == set(classes.names())  # raises on an ambiguous pair
    for name in classes.names():
        for domain in lexicon.DOMAINS:
            assert len(lexicon.phrases(name, domain)) == 2


def test_five_different_captions_for_every_clip_with_correct_articles():
    for domain in lexicon.DOMAINS:
        source = SceneSource("train", "mini", domain)
        for index in range(150):
            captions = source.facts(index)["captions"]
            assert len(set(captions)) == 5
            for caption in captions:
                assert not re.search(r"\ba [aeiou]|\ban [^aeiou ]|  | ,", caption), caption
                assert caption == caption.lower()
                assert len(caption.split()) <= 40


def test_field_words_mostly_occur_in_studio():
    texts = {d: [c for i in range(600) for c in SceneSource("train", "mini", d).facts(i)["captions"]] for d in lexicon.DOMAINS}
    share = oracle.vocabulary_overlap(texts["studio"], texts["field"])
    assert 0.7 <= share < 0.95  # shared enough to transfer, different enough to be another domain


@pytest.mark.parametrize("split", list(scenes.PROBES))
def test_captions_of_a_minimal_pair_differ_in_the_probed_words_only(split):
    source = SceneSource(split, "base")
    for pair in range(0, 40, 2):
        for one, two in zip(source.facts(pair)["captions"], source.facts(pair + 1)["captions"], strict=True):
            assert one != two
            if split == "probe_count":
                split_words = [set(grammar.normalise(t).split()) for t in (one, two)]
                assert split_words[0] ^ split_words[1] <= {"once", "twice", "two", "three", "times"}
