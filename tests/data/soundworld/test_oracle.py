"""The oracle's ceilings on the real test split, and its scores on examples worked out by hand."""

import dataclasses
import math

import numpy as np
import pytest

from audiojax.data.soundworld import grammar, lexicon, oracle
from audiojax.data.soundworld.scenes import Event, Scene
from audiojax.data.soundworld.source import SceneSource


def scene(*names: str, together: bool = False, **attributes) -> Scene:
    events = tuple(Event(name, float(n), n + 0.5, 1, dict(attributes) if n == 0 else {}, 0) for n, name in enumerate(names))
    groups = (tuple(range(len(names))),) if together else tuple((n,) for n in range(len(names)))
    return Scene("x", 0, 0, 4.0, events, groups)


@pytest.mark.parametrize("domain", lexicon.DOMAINS)
def test_captions_are_specific_enough_on_the_test_split(domain):
    source = SceneSource("test", "base", domain)
    truths = [source.scene(index) for index in range(len(source))]
    scores = oracle.retrieval(truths, [grammar.captions(truth, domain) for truth in truths])
    assert scores["parsed"] == 1.0
    assert scores["t2a_R@1"] >= 0.7
    assert scores["t2a_R@10"] >= 0.95
    assert scores["a2t_R@1"] >= 0.7
    assert 1.0 <= scores["t2a_mean_rank"] < 2.0


def test_ties_are_expected_values():
    truths = [scene("rain"), scene("rain"), scene("wind")]
    scores = oracle.retrieval(truths, [["rain falls"], ["rain pours"], ["wind blows"]], ks=(1, 2))
    assert scores["t2a_R@1"] == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert scores["t2a_R@2"] == 1.0
    assert scores["t2a_mean_rank"] == pytest.approx((1.5 + 1.5 + 1) / 3)
    assert scores["a2t_R@1"] == pytest.approx((0.5 + 0.5 + 1) / 3)
    with pytest.raises(ValueError, match="contradicts"):
        oracle.retrieval(truths, [["rain falls"], ["wind blows"], ["wind blows"]])


def test_event_f1_and_parse_share():
    truths = [scene("rain", "dog_bark"), scene("wind")]
    assert oracle.event_f1(["rain falls, then a dog barks", "wind blows"], truths) == 1.0
    assert oracle.event_f1(["rain falls", "a siren wails"], truths) == pytest.approx(2 * 1 / (2 + 3))
    assert oracle.event_f1(["somewhere rain falls and a dog barks outside", ""], truths) == pytest.approx(2 * 2 / (2 + 3))
    assert oracle.parse_share(["rain falls", "rain rain", "a dog barks"]) == pytest.approx(2 / 3)


def told(claims: oracle.Claims) -> list[tuple[int, int]]:
    return list(zip(claims.true.tolist(), claims.stated.tolist(), strict=True))


def test_attributes_of_rightly_named_events_are_true_or_not():
    truth = scene("dog_bark", "rain", distance="far")
    said = {
        "a distant dog barks, then rain falls": (1, 1),
        "a nearby dog barks, then rain falls": (0, 1),
        "a distant dog barks once, then nearby rain falls": (2, 3),
        "a distant dog barks twice": (1, 2),
        "a dog barks, then rain falls": (0, 0),
        "a distant siren wails": (0, 0),  # there is no siren
        "a distant dog barks, then a nearby dog barks": (1, 1),  # there is one dog
        "distant distant dog": (0, 0),  # no caption of the grammar
    }
    claims = oracle.attribute_claims(list(said), [truth] * len(said))
    assert dict(zip(said, told(claims), strict=True)) == said
    assert claims.accuracy == pytest.approx(5 / 8)


def test_order_of_rightly_named_events_is_true_or_not():
    truth = scene("dog_bark", "rain", "wind")
    said = {
        "a dog barks, then rain falls, then wind blows": (3, 3),
        "a dog barks, then wind blows, then rain falls": (2, 3),
        "wind blows, then rain falls, then a dog barks": (0, 3),
        "rain falls after a dog barks": (1, 1),
        "rain falls while a dog barks": (0, 1),  # one after the other, and not together
        "a dog barks, then a siren wails": (0, 0),
        "a dog barks": (0, 0),
        "": (0, 0),
    }
    claims = oracle.order_claims(list(said), [truth] * len(said))
    assert dict(zip(said, told(claims), strict=True)) == said
    assert told(oracle.order_claims(["rain falls while a dog barks"], [scene("dog_bark", "rain", together=True)])) == [(1, 1)]


def test_a_backdrop_sounds_together_with_everything():
    truth = dataclasses.replace(scene("dog_bark", "siren", "rain"), groups=((0,), (1,)), backdrop=2)
    captions = grammar.captions(truth)
    assert told(oracle.order_claims(captions, [truth] * len(captions))) == [(3, 3)] * len(captions)
    assert told(oracle.order_claims(captions, [scene("dog_bark", "siren", "rain")] * len(captions))) == [(1, 3)] * len(captions)


@pytest.mark.parametrize("domain", lexicon.DOMAINS)
def test_what_the_truths_own_captions_state_is_true(domain):
    source = SceneSource("test", "0.06", domain)
    truths = [source.scene(index) for index in range(len(source))]
    captions = [grammar.captions(truth, domain)[0] for truth in truths]
    attributes, order = oracle.attribute_claims(captions, truths), oracle.order_claims(captions, truths)
    assert attributes.accuracy == order.accuracy == 1.0
    assert attributes.stated.sum() > len(truths) / 2
    np.testing.assert_array_equal(order.stated, [len(truth.events) * (len(truth.events) - 1) // 2 for truth in truths])
    others = oracle.attribute_claims(captions[1:] + captions[:1], truths)
    assert others.stated.sum() < attributes.stated.sum()


def test_nothing_stated_has_no_accuracy():
    assert math.isnan(oracle.order_claims(["a dog barks"], [scene("dog_bark")]).accuracy)
    assert math.isnan(oracle.attribute_claims([], []).accuracy)


def test_relevance_is_graded():
    truth = scene("dog_bark", "rain", distance="far")
    graded = [
        oracle.relevance(grammar.parse(text), truth)
        for text in (
            "a distant dog barks, then rain falls",
            "a nearby dog barks, then rain falls",
            "rain falls, then a nearby dog barks",
            "a dog barks",
            "wind blows",
        )
    ]
    assert graded == pytest.approx([1.0, 5 / 6, 4 / 6, 2 / 4, 0.0])


def test_overlap_is_symmetric_and_order_is_not():
    both = scene("dog_bark", "rain", together=True)
    assert oracle.consistent(grammar.parse("rain falls while a dog barks"), both)
    assert oracle.consistent(grammar.parse("a dog barks and rain falls at the same time"), both)
    assert not oracle.consistent(grammar.parse("a dog barks, then rain falls"), both)
    assert not oracle.consistent(grammar.parse("rain falls, then a dog barks"), scene("dog_bark", "rain"))
