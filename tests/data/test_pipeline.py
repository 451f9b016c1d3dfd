"""Batches: the global order is a pure function of the step, on any number of processes."""

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from audiojax.data import pipeline
from audiojax.data.examples import MemorySource, captions_of_each, example_source
from audiojax.errors import UsageError
from tests.data.test_transforms import make


class Clips:
    """Records of 12..16 samples with two captions each (clip 3 has three, if asked)."""

    def __init__(self, size=7, odd=False):
        self.size, self.odd, self.reads = size, odd, 0

    def __len__(self):
        return self.size

    def __repr__(self):
        return f"Clips({self.size})"

    def __getitem__(self, index):
        self.reads += 1
        captions = [f"{index}a", f"{index}b"] + (["x"] if self.odd and index == 3 else [])
        audio = np.full(12 + index % 5, index + 1, np.int16) + np.arange(12 + index % 5, dtype=np.int16) * 100
        return {"audio": audio, "sample_rate": 100, "id": f"c{index}", "captions": captions, "scene": ""}


def train(steps=9, source=None, **settings):
    batches = pipeline.train_batches(Clips() if source is None else source, make(), **{"batch_size": 4, "seed": 5, **settings})
    return [next(batches) for _ in range(steps)]


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def joined(parts):
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def pairs(batch):
    """(clip, number of its caption) of every row: caption 1 of clip 3 is "3b"."""
    return [(int(clip), int(ids[1]) - ord("a")) for clip, ids in zip(batch["clip_index"], batch["text_ids"], strict=True)]


@pytest.fixture(scope="module")
def expected():
    return train()


@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_one_global_order(expected, count):
    shares = [train(process_index=i, process_count=count) for i in range(count)]
    for step, whole in enumerate(expected):
        assert_same(joined([share[step] for share in shares]), whole)


@pytest.mark.parametrize("count", [1, 2])
def test_start_step_continues_the_order(expected, count):
    shares = [train(steps=4, start_step=5, process_index=i, process_count=count) for i in range(count)]
    for step in range(4):
        assert_same(joined([share[step] for share in shares]), expected[5 + step])


def test_saved_place_continues_the_order(expected):
    def fresh(start):
        return pipeline.train_batches(Clips(), make(), batch_size=4, seed=5, start_step=start)

    first = fresh(1)
    for _ in range(2):
        next(first)
    state = json.loads(json.dumps(first.get_state()))
    assert state == {"step": 3}  # and nothing of the threads, processes and first step, which may all be others next time
    for start in (0, 1, 6):
        second = fresh(start)
        next(second)
        second.set_state(state)
        for step in range(3, 6):
            assert_same(next(second), expected[step])
    with pytest.raises(KeyError):
        second.set_state({"iterators_in_use_states": []})


def test_every_pair_once_an_epoch_in_a_new_order_each_time(expected):
    seen = [pair for batch in train(steps=7) for pair in pairs(batch)]  # 28 = 2 epochs of 14 pairs
    assert set(seen[:14]) == set(seen[14:]) == {(clip, caption) for clip in range(7) for caption in range(2)}
    assert seen[:14] != seen[14:]
    assert [pairs(b) for b in train(steps=3, seed=6)] != [pairs(b) for b in expected[:3]]


def test_the_next_seed_does_not_repeat_the_order_of_the_next_epoch(expected):
    second = [pair for batch in train(steps=7) for pair in pairs(batch)][14:]
    assert second != [pair for batch in train(steps=7, seed=6) for pair in pairs(batch)][:14]


@pytest.mark.parametrize("draws", [True, False])
def test_only_what_draws_gets_a_generator(draws):
    def transform(item, rng):
        return {"drawn": np.bool_(rng is not None), "item": np.int32(item)}

    with closing(pipeline.batches_of(range(5), transform, batch_size=5, seed=0, draws=draws)) as batches:
        batch = next(batches)
    assert batch["drawn"].tolist() == [draws] * 5
    assert sorted(batch["item"].tolist()) == list(range(5))


def test_crops_change_between_epochs_but_not_between_runs():
    batches = train(steps=70)
    crops = {}
    for batch in batches:
        for row, identity in enumerate(pairs(batch)):
            crops.setdefault(identity, set()).add(float(batch["waveform"][row, 0]))
    assert max(len(starts) for starts in crops.values()) > 2
    for a, b in zip(batches, train(steps=70, threads=1), strict=True):
        assert_same(a, b)


def test_random_mode_draws_one_caption_of_each_clip():
    batches = train(steps=7, mode="random")
    clips = np.concatenate([batch["clip_index"] for batch in batches])
    assert sorted(clips[:7].tolist()) == list(range(7))
    assert {caption for batch in batches for _, caption in pairs(batch)} == {0, 1}


def test_worker_processes_give_the_same_batches_whatever_signal_reaches_them(expected):
    with closing(pipeline.train_batches(Clips(), make(), batch_size=4, seed=5, workers=1)) as batches:
        for step, batch in enumerate(expected):
            assert_same({name: np.asarray(value) for name, value in next(batches).items()}, batch)
            if step == 0:
                (worker,) = multiprocessing.active_children()
                for number in (signal.SIGINT, signal.SIGTERM):
                    os.kill(worker.pid, number)
    worker.join(timeout=10)
    assert not worker.is_alive()


LEAVE_WORKERS = """
import multiprocessing, os
from tests.data import test_pipeline
from audiojax.data import pipeline
if __name__ == "__main__":
    batches = pipeline.train_batches(test_pipeline.Clips(), test_pipeline.make(), batch_size=4, seed=5, workers=1)
    next(batches)
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
def test_workers_of_a_killed_process_end_soon(tmp_path):
    script = tmp_path / "leave.py"
    script.write_text(LEAVE_WORKERS)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    workers = [int(number) for number in process.stdout.readline().split()]
    assert workers
    process.communicate(timeout=60)  # returns when the last process that holds the pipe has ended


@pytest.mark.parametrize("count", [1, 2])
def test_evaluation_visits_every_pair_in_order_and_fills_the_end(count):
    shares = [list(pipeline.eval_batches(Clips(), make(), batch_size=4, process_index=i, process_count=count)) for i in range(count)]
    whole = [joined(parts) for parts in zip(*shares, strict=True)]
    assert [len(batch["valid"]) for batch in whole] == [4, 4, 4, 4]
    valid = np.concatenate([batch["valid"] for batch in whole])
    seen = [pair for batch in whole for pair in pairs(batch)]
    assert valid.tolist() == [True] * 14 + [False] * 2
    assert seen[:14] == [(clip, caption) for clip in range(7) for caption in range(2)]
    assert np.all(np.concatenate([b["waveform"] for b in whole])[:2, 0] * 32768 == 1)  # crops at the start


def test_clips_mode_has_all_captions_of_a_clip_in_a_row():
    batches = list(pipeline.eval_batches(Clips(), make(), batch_size=4, mode="clips", captions=2))
    assert batches[0]["text_ids"].shape == (4, 2, 4)
    assert [batch["clip_index"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 6]]
    assert batches[1]["valid"].tolist() == [True, True, True, False]


def test_clips_with_different_numbers_of_captions_are_named_before_the_first_batch():
    assert len(list(pipeline.eval_batches(Clips(), make(), batch_size=4, mode="clips"))) == 2
    with pytest.raises(UsageError, match=r"of these 7 clips 6 have 2 \('c0', 'c1', 'c2', \.\.\.\), 1 has 3 \('c3'\)$"):
        pipeline.eval_batches(Clips(odd=True), make(), batch_size=4, mode="clips")
    assert len(list(pipeline.eval_batches(Clips(odd=True), make(), batch_size=4))) == 4  # pairs need no such thing


def test_counting_captions_reads_no_record_where_the_source_can_tell():
    class Told(Clips):
        def facts(self, index):
            return {"id": f"c{index}", "captions": ["a"] * (1 + index % 6)}

    source = Told()
    source.size = 12
    with pytest.raises(UsageError, match=r"2 have 1 \('c0', 'c6'\), .*, others have other numbers$"):
        captions_of_each(source)
    assert source.reads == 0
    assert captions_of_each(Clips(1)) == 2


def test_captions_are_counted_or_checked():
    assert len(example_source(Clips(odd=True), "pairs")) == 15
    assert len(example_source(Clips(odd=True), "random")) == 7
    examples = example_source(Clips(odd=True), "pairs", captions=2)
    with pytest.raises(UsageError, match="clip 'c3' has 3 captions, 2 expected"):
        examples[6]


def test_memory_source_reads_each_record_once_and_pickles_light():
    source = Clips()
    kept = MemorySource(source)
    train(steps=8, source=kept, captions=2, threads=1)
    assert source.reads == 7
    assert len(kept.records) == 7
    copy = pickle.loads(pickle.dumps(kept))
    assert copy.records == {}
    assert len(copy) == 7


def test_memory_source_tells_captions_without_reading_where_its_source_can():
    class Told(Clips):
        def facts(self, index):
            return {"captions": [f"{index} of {self.size}"]}

    source = Told()
    kept = MemorySource(source)
    assert kept.facts(3)["captions"] == ["3 of 7"]
    assert source.reads == 0
    plain = Clips()
    kept = MemorySource(plain)
    assert kept.facts(3)["captions"] == kept[3]["captions"] == ["3a", "3b"]
    assert plain.reads == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 5, "process_count": 2}, "batch_size 5 is not divisible by 2 processes"),
        ({"mode": "triples"}, "takes pairs, random or clips"),
        ({"source": Clips(0)}, "the data source is empty"),
    ],
)
def test_bad_requests(settings, message):
    with pytest.raises(UsageError, match=message):
        train(**settings)


def test_buckets_need_one_process():
    settings = {"batch_size": 4, "seed": 0, "process_count": 2}
    with pytest.raises(UsageError, match="need one process"):
        pipeline.train_batches(Clips(), make(seconds=(0.1, 0.2)), **settings)
