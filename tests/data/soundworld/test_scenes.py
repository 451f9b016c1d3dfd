"""Splits, priors, held-out combinations and minimal pairs, all read off the specifications: no audio is made."""

from collections import Counter
from functools import cache

import numpy as np
import pytest

from audiojax.data.soundworld import classes, draw, scenes
from audiojax.data.soundworld.classes import BY_NAME
from audiojax.data.soundworld.scenes import Scene
from audiojax.data.soundworld.source import SceneSource
from audiojax.errors import UsageError


@cache
def scenes_of(size: str) -> dict[str, list[Scene]]:
    """Split -> its scenes."""
    sources = {split: SceneSource(split, size) for split in scenes.SPLITS}
    return {split: [source.scene(index) for index in range(len(source))] for split, source in sources.items()}


@pytest.fixture(params=["mini", pytest.param("base", marks=pytest.mark.slow)])
def world(request) -> dict[str, list[Scene]]:
    return scenes_of(request.param)


@pytest.fixture
def base() -> dict[str, list[Scene]]:
    return scenes_of("base")


def clips_with(truths: list[Scene]) -> Counter:
    return Counter(name for scene in truths for name in {event.name for event in scene.events})


def combinations(scene: Scene) -> set[tuple]:
    out = set()
    for number, event in enumerate(scene.events):
        marks = [*event.attributes.items(), *([("count", str(event.count))] if event.count > 1 else [])]
        out |= {(event.name, *mark, scenes.role(scene.groups, scene.backdrop, number)) for mark in marks if mark[0] != "loudness"}
    return out


def test_sizes_and_tiers():
    sizes = scenes.split_sizes("base")
    assert {name: sizes[name] for name in ("pretrain", "train", "val", "test")} == {
        "pretrain": 8000,
        "train": 6000,
        "val": 500,
        "test": 1000,
    }
    assert sizes["unseen"] == 40 * len(classes.names("unseen"))
    mini = scenes.split_sizes("mini")
    assert (mini["pretrain"], mini["train"], mini["val"], mini["test"]) == (800, 600, 50, 100)
    assert scenes.split_sizes("0.02")["train"] == 120
    assert [len(classes.names(tier)) for tier in ("head", "middle", "tail", "unseen")] == [12, 22, 10, 8]
    for bad in ("huge", "-1", "0", "nan"):
        with pytest.raises(UsageError, match="size"):
            scenes.split_sizes(bad)


@pytest.mark.slow
def test_train_is_long_tailed(base):
    counts = clips_with(base["train"])
    assert all(counts[name] == 0 for name in classes.names("unseen"))
    assert all(5 <= counts[name] <= 20 for name in classes.names("tail"))
    ranked = [counts[name] for name in classes.names("head", "middle")]
    assert min(ranked) > 80
    slope = np.polyfit(np.log(np.arange(1, len(ranked) + 1)), np.log(ranked), 1)[0]
    assert -0.95 < slope < -0.5
    assert min(counts[name] for name in classes.names("head")) > 2 * max(counts[name] for name in classes.names("tail"))


@pytest.mark.slow
def test_balanced_splits_hold_every_class(base):
    for split, pool in (("pretrain", classes.names()), ("test", classes.names()), ("val", classes.names("head", "middle", "tail"))):
        counts = clips_with(base[split])
        assert set(counts) == set(pool)
        assert min(counts.values()) > 0.6 * max(counts.values()) * (0.7 if split == "val" else 0.95)
    extra = clips_with(base["unseen"])
    assert all(extra[name] == 40 for name in classes.names("unseen"))


def test_held_out_combinations_occur_in_half_of_test_and_nowhere_else(world):
    for split, truths in world.items():
        has = [scenes.held_out_facts(s.events, s.groups, s.backdrop) > 0 for s in truths]
        assert has == [s.novel for s in truths]
        assert sum(has) == (len(truths) // 2 if split == "test" else 0)
    trained = set().union(*map(combinations, world["train"]), *map(combinations, world["pretrain"]))
    for scene in world["test"]:
        if scene.novel:
            assert any(c not in trained for c in combinations(scene) if BY_NAME[c[0]].tier != "unseen")


def test_splits_share_no_seed_and_no_scene(world):
    seeds = {split: {s.seed for s in truths} for split, truths in world.items()}
    events = {split: {e.seed for s in truths for e in s.events} for split, truths in world.items()}
    names = list(world)
    for i, first in enumerate(names):
        assert len(seeds[first]) == len(world[first]) // (2 if first in scenes.PROBES else 1)
        for second in names[i + 1 :]:
            assert not seeds[first] & seeds[second]
            assert not events[first] & events[second]


@pytest.mark.parametrize("size", ["0.02", pytest.param("mini", marks=pytest.mark.slow)])
def test_scene_and_caption_pairs_are_disjoint_between_splits(size):
    def pairs(split, domain):
        source = SceneSource(split, size, domain)
        truths = [source.scene(i) for i in range(len(source))]
        return {(str(s.events), caption) for i, s in enumerate(truths) for caption in source.facts(i)["captions"]}

    for domain in ("studio", "field"):
        found = [pairs(split, domain) for split in ("pretrain", "train", "val", "test", "unseen")]
        assert all(not a & b for n, a in enumerate(found) for b in found[n + 1 :])


def test_times_agree_with_the_stated_relations(world):
    structures = Counter()
    for truths in world.values():
        for scene in truths[:400]:
            structures[len(scene.events), len(scene.groups), scene.backdrop is not None] += 1
            for event in scene.events:
                assert 0 <= event.onset < event.offset <= scene.seconds
                assert len(event.attributes) <= 3
                assert all(value in classes.VALUES[attribute] for attribute, value in event.attributes.items())
                assert set(event.attributes) - {"loudness"} <= set(BY_NAME[event.name].attributes)
                assert event.count == 1 or BY_NAME[event.name].kind == "single"
            for kind, i, j in scenes.relations(scene):
                a, b = scene.events[i], scene.events[j]
                if kind == "before":
                    assert a.offset + 0.09 <= b.onset
                else:
                    assert min(a.offset, b.offset) - max(a.onset, b.onset) >= 0.99 * min(a.offset - a.onset, b.offset - b.onset)
    assert len(structures) == 6  # alone, pair in order, pair together, three in order, two groups of three, with backdrop


def test_specs_are_pure_functions_and_json_round_trips():
    first, second = SceneSource("test", "base"), SceneSource("test", "base", "field")
    for index in (17, 3, 999):
        scene = first.scene(index)
        assert scene == second.scene(index) == SceneSource("test", "base").scene(index)
        assert Scene.from_json(scene.to_json()) == scene
    assert SceneSource("test", "base", seed=1).scene(3).events != first.scene(3).events


def test_longer_clips_fit_too():
    source = SceneSource("train", "0.05", seconds=10.24)
    lengths = [event.offset for i in range(100) for event in source.scene(i).events]
    assert 8 < max(lengths) <= 10.24


def same_but(a, b, **changed) -> bool:
    """Events equal except for the named fields."""
    return all(getattr(a, f) == getattr(b, f) for f in ("name", "count", "attributes", "seed") if f not in changed)


def test_minimal_pairs_differ_in_exactly_one_fact(world):
    for split in scenes.PROBES:
        assert len(world[split]) == {800: 20, 8000: 200}[len(world["pretrain"])]
        for one, two in zip(world[split][::2], world[split][1::2], strict=True):
            assert one.seed == two.seed
            if split == "probe_order":
                assert one.groups == ((0,), (1,))
                assert two.groups == ((1,), (0,))
                assert all(same_but(a, b) for a, b in zip(one.events, two.events, strict=True))
            elif split == "probe_count":
                assert one.groups == two.groups
                assert one.events[0].count + 1 == two.events[0].count
                assert same_but(one.events[0], two.events[0], count=True)
                assert all(same_but(a, b) for a, b in zip(one.events[1:], two.events[1:], strict=True))
            else:
                a, b = one.events
                c, d = two.events
                assert a.attributes == d.attributes != b.attributes == c.attributes
                assert len(a.attributes) == 1
                assert set(a.attributes) == set(b.attributes)
                assert same_but(a, c, attributes=True)
                assert same_but(b, d, attributes=True)


def test_parse_structure():
    assert draw.parse_structure("A&B>C") == (((0, 1), (2,)), None)
    assert draw.parse_structure("B>C/A") == (((1,), (2,)), 0)
