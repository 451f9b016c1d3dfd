"""Retrieval (note, check 11): brute force, never a clip itself, ties by id, controls, and examples that carry their neighbours."""

import pickle
from contextlib import closing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as runs
from hypothesis import strategies as st

from audiojax.data.pipeline import train_batches
from audiojax.data.transforms import StatesTransform
from audiojax.errors import UsageError
from audiojax.papers.re_audioldm.retrieval import (
    NONE,
    PairsTransform,
    Queries,
    RetrievalOptions,
    WithNeighbours,
    find_neighbours,
    make_keys,
    overlap,
)

WIDTH, DEPTH = 4, 5
AXES = np.concatenate([np.eye(WIDTH), -np.eye(WIDTH)]).astype(np.float32)  # their cosines are exact: 1, 0 and -1


def clips_of(captions, seed=0):
    """States of clips with so many captions each, whose embeddings have many ties."""
    rng = np.random.default_rng(seed)
    return [
        {"text_embedding": 3 * AXES[rng.integers(8, size=count)], "audio_embedding": 2 * AXES[rng.integers(8)], "captions": ["c"] * count}
        for count in captions
    ]


def queries_of(ids, seed=1, classes=None):
    rng = np.random.default_rng(seed)
    return Queries(AXES[rng.integers(8, size=len(ids))], np.array(ids), np.zeros(len(ids), int), classes)


def brute_force(clips, ids, query, own, key, depth):
    """(clip, caption) pairs by sorting everything."""
    found = []
    for number, clip in enumerate(clips):
        texts = clip["text_embedding"] / np.linalg.norm(clip["text_embedding"], axis=1, keepdims=True)
        audio = clip["audio_embedding"] / np.linalg.norm(clip["audio_embedding"])
        rows = {"text": texts, "audio": np.stack([audio] * len(texts)), "mean": texts + audio}[key]
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        scores = np.round((rows @ query).astype(np.float64), 5)
        found.append((-scores.max(), ids[number], number, int(np.argmax(scores))))
    found = [row for row in sorted(found) if row[1] != own][:depth]
    return [row[2:] for row in found] + [(NONE, NONE)] * (depth - len(found))


@runs(max_examples=25)
@given(
    captions=st.lists(st.integers(1, 3), min_size=1, max_size=9), key=st.sampled_from(["text", "audio", "mean"]), seed=st.integers(0, 99)
)
def test_the_neighbours_are_those_of_brute_force_and_never_the_clip_itself(captions, key, seed):
    clips = clips_of(captions, seed)
    ids = [f"clip {(7 * i + seed) % 31:02d}" for i in range(len(clips))]
    asked = queries_of([*ids, "another"], seed)
    found = find_neighbours(RetrievalOptions(key=key, depth=DEPTH), make_keys(clips, ids, key), asked)
    assert found.shape == (len(ids) + 1, DEPTH, 2)
    for row, query, own in zip(found, asked.vectors, asked.ids, strict=True):
        assert [tuple(pair) for pair in row.tolist()] == brute_force(clips, ids, query, own, key, DEPTH)
        assert own not in [ids[clip] for clip, _ in row if clip != NONE]


def test_clips_of_one_name_leave_no_gaps():
    """As many neighbours as are asked for, though several clips are alike by name; and all of them for a caption of no clip."""
    clips, ids = clips_of([1] * 9), [f"{i} of a set" for i in range(9)]
    keys = make_keys(clips, ids, "text", ["mine"] * 4 + ids[4:])
    asked = queries_of(["mine", "", "4 of a set"])
    found = find_neighbours(RetrievalOptions(depth=DEPTH, count=3), keys, asked)[..., 0]
    assert sorted(found[0].tolist()) == [4, 5, 6, 7, 8]
    assert NONE not in found
    assert 4 not in found[2]
    everything = find_neighbours(RetrievalOptions(depth=9, count=3), keys, asked)[..., 0]
    assert sorted(everything[1].tolist()) == list(range(9))


def test_a_whole_training_list_never_finds_itself():
    rng = np.random.default_rng(0)
    clips = [{"text_embedding": rng.normal(size=(2, WIDTH)).astype(np.float32)} for _ in range(300)]
    ids = [f"{i:03d}" for i in range(300)]
    vectors = np.concatenate([clip["text_embedding"] for clip in clips])
    asked = Queries(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.repeat(ids, 2), np.tile([0, 1], 300))
    for mode in ("clap", "random"):
        found = find_neighbours(RetrievalOptions(mode=mode, depth=50), make_keys(clips, ids, "text"), asked)
        assert (found[:, :, 0] != NONE).all()
        assert (np.array(ids)[found[:, :, 0]] != asked.ids[:, None]).all()
        assert all(len(set(row)) == 50 for row in found[:, :, 0].tolist())


def test_controls_go_by_the_truth():
    """Three pairs of clips with a class each, and one with two of the classes."""
    clips, ids = clips_of([1] * 7), list("abcdefg")
    classes = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1], [1, 1, 0]], bool)
    asked = queries_of(ids, classes=classes)
    keys = make_keys(clips, ids, "text")
    oracle = find_neighbours(RetrievalOptions(mode="oracle", depth=2), keys, asked, classes)
    assert [row[0, 0] for row in oracle[:6]] == [1, 0, 3, 2, 5, 4]
    assert [row[1, 0] for row in oracle[:4]] == [6, 6, 6, 6]  # half of whose classes are the right one
    wrong = find_neighbours(RetrievalOptions(mode="wrong_class", depth=6), keys, asked, classes)
    for row, own in zip(wrong[:, :, 0], classes, strict=True):
        there = row[row != NONE]
        assert not (classes[there] & own).any()
        assert len(there) == int((~(classes & own).any(1)).sum())
    np.testing.assert_array_equal(wrong, find_neighbours(RetrievalOptions(mode="wrong_class", depth=6), keys, asked, classes))
    other = find_neighbours(RetrievalOptions(mode="wrong_class", depth=6, seed=1), keys, asked, classes)
    assert (other != wrong).any()


def test_what_a_caption_draws_depends_on_itself_alone():
    clips, ids = clips_of([2] * 30), [f"{i:02d}" for i in range(30)]
    keys, options, asked = make_keys(clips, ids, "text"), RetrievalOptions(mode="random", depth=4), queries_of(ids)
    whole = find_neighbours(options, keys, asked)
    part = find_neighbours(options, keys, Queries(*(x[5:9] if x is not None else None for x in asked)))
    np.testing.assert_array_equal(whole[5:9], part)
    of_none = asked._replace(ids=np.full(len(ids), ""), draws=asked.ids)
    alone = find_neighbours(options, keys, of_none)
    assert (alone == whole).all(axis=(1, 2)).mean() > 0.5  # but where the clip itself was drawn
    assert len(np.unique(alone, axis=0)) > 20


def test_overlap():
    a, b = np.array([[1, 1, 0], [0, 0, 0]], bool), np.array([[1, 0, 0], [1, 1, 1]], bool)
    np.testing.assert_allclose(overlap(a, b), [[0.5, 2 / 3], [0, 0]])


def test_datastores_that_make_no_sense_are_refused():
    clips = clips_of([1, 1])
    with pytest.raises(UsageError, match="the datastore is empty"):
        make_keys([], [], "text")
    with pytest.raises(UsageError, match="two clips have the id 'x'"):
        make_keys(clips, ["x", "x"], "text")
    with pytest.raises(UsageError, match="clip 'x' has no caption"):
        make_keys([{**clips[0], "text_embedding": np.zeros((0, WIDTH), np.float32)}], ["x"], "text")
    keys = make_keys(clips, ["x", "y"], "text")
    with pytest.raises(UsageError, match="3 dimensions and the datastore in 4: they come from different CLAPs"):
        find_neighbours(RetrievalOptions(), keys, Queries(np.zeros((1, 3), np.float32), np.array(["z"]), np.array([0])))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "best"}, "'retrieval.mode' is 'best'"),
        ({"key": "video"}, "'retrieval.key' is 'video'"),
        ({"count": 0}, "'retrieval.count' is 0"),
        ({"count": 51}, "it takes 1 to retrieval.depth, which is 50"),
        ({"datastore": ""}, "'retrieval.datastore' is empty"),
    ],
)
def test_options_that_make_no_retrieval_are_refused(options, words):
    with pytest.raises(UsageError, match=words):
        RetrievalOptions(**options).check()


class States:
    """Stored states of five clips: every number tells its clip, and its caption."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        text = 10 * index + np.arange(2, dtype=np.float32)
        return {
            "id": str(index),
            "captions": ["a", "b"],
            "audio_moments": np.full((2, 2, 2), index, np.float16),
            "audio_tokens": np.full((3, 6), index, np.float16),
            "text_embedding": np.ones((2, WIDTH), np.float32),
            "text_tokens": np.broadcast_to(text[:, None, None], (2, 4, 7)).astype(np.float16),
            "text_tokens_mask": np.arange(4)[None] < np.array([[2], [3]]),
        }


def transform_of(datastore=True, **options):
    return PairsTransform(StatesTransform(), RetrievalOptions(**options), States() if datastore else None, (3, 6), (4, 7))


def test_an_example_has_the_features_of_its_neighbours():
    rows = np.full((10, 5, 2), NONE, np.int32)
    rows[2, :3] = [[4, 1], [0, 0], [2, 1]]  # of caption 0 of clip 1
    rows[3, :1] = [[3, 0]]
    source = WithNeighbours(States(), [2] * 5, rows)
    example = transform_of(count=2, depth=5)(source[1], 1, 0)
    assert example.keys() == {
        *("audio_moments", "text_embedding", "clip_index"),
        *("retrieved_valid", "retrieved_audio", "retrieved_text", "retrieved_text_mask"),
    }
    np.testing.assert_array_equal(example["retrieved_audio"][:, 0, 0], [4, 0])
    np.testing.assert_array_equal(example["retrieved_text"][:, 0, 0], [41, 0])
    np.testing.assert_array_equal(example["retrieved_text_mask"].sum(1), [3, 2])
    assert example["retrieved_valid"].all()
    fewer = transform_of(count=2, depth=5)(source[1], 1, 1)
    np.testing.assert_array_equal(fewer["retrieved_valid"], [True, False])
    assert not fewer["retrieved_audio"][1].any()
    whole = transform_of(count=2, depth=5)(source[1], 1, -1)
    np.testing.assert_array_equal(whole["retrieved_audio"], example["retrieved_audio"])  # those of the first caption
    assert pickle.loads(pickle.dumps(source))[1]["text_neighbours"].shape == (2, 5, 2)


def test_pairs_may_be_drawn_from_the_stored_ones():
    rows = np.full((10, 5, 2), NONE, np.int32)
    rows[2:4, :4] = [[4, 1], [0, 0], [2, 1], [3, 0]]  # both captions of clip 1
    record, transform = WithNeighbours(States(), [2] * 5, rows)[1], transform_of(count=2, depth=5, draw=True)
    found = {tuple(transform(record, 1, 0, np.random.default_rng(i))["retrieved_audio"][:, 0, 0].tolist()) for i in range(60)}
    assert len(found) == 6
    assert found <= {(a, b) for a in (4, 0, 2, 3) for b in (4, 0, 2, 3) if a != b}
    np.testing.assert_array_equal(transform(record, 1, 0)["retrieved_audio"][:, 0, 0], [4, 0])
    with closing(train_batches([record], transform, batch_size=60, seed=0)) as batches:
        assert {tuple(row[:, 0, 0].tolist()) for row in next(batches)["retrieved_audio"]} == found
    with closing(train_batches([record], transform_of(count=2, depth=5), batch_size=60, seed=0)) as batches:
        assert {tuple(row[:, 0, 0].tolist()) for row in next(batches)["retrieved_audio"]} == {(4.0, 0.0)}


def test_nothing_is_retrieved():
    example = transform_of(datastore=False, mode="none")(States()[1], 1, 0)
    assert example["retrieved_valid"].tolist() == [False]
    assert example["retrieved_audio"].shape == (1, 3, 6)
