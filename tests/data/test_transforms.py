"""Records to examples: length policy, rates, captions, and no randomness but the generator's."""

import numpy as np
import pytest

from audiojax.data.transforms import ClipTransform, StatesTransform, to_float
from audiojax.errors import UsageError


class Letters:
    """A tokenizer: one token a letter."""

    def encode(self, texts, max_length):
        ids = np.zeros((len(texts), max_length), np.int32)
        for i, text in enumerate(texts):
            codes = [ord(letter) for letter in text[:max_length]]
            ids[i, : len(codes)] = codes
        return ids, ids > 0


def record(samples, rate=100, captions=("ab", "cde")):
    audio = np.arange(1, samples + 1, dtype=np.int16)
    return {"audio": audio, "sample_rate": rate, "id": "clip", "captions": list(captions), "scene": ""}


def make(**settings):
    return ClipTransform(**{"tokenizer": Letters(), "sample_rate": 100, "seconds": 0.1, "max_tokens": 4, **settings})


def samples(example):
    return np.round(example["waveform"] * 32768).astype(int).tolist()


def test_example_has_the_contract_of_a_batch_row():
    example = make()(record(10), 3, 1)
    assert {name: (value.dtype.name, value.shape) for name, value in example.items()} == {
        "waveform": ("float32", (10,)),
        "text_ids": ("int32", (4,)),
        "text_mask": ("bool", (4,)),
        "clip_index": ("int32", ()),
    }
    assert example["text_ids"].tolist() == [99, 100, 101, 0]
    assert example["text_mask"].tolist() == [True, True, True, False]
    assert example["clip_index"] == 3


def test_labels_come_from_the_record():
    labelled = make(labels=lambda record: np.array([len(record["captions"]), 0], np.float32))
    assert labelled(record(10), 0, 0)["labels"].tolist() == [2, 0]
    assert labelled.collate([labelled(record(10), 0, 0)] * 3)["labels"].shape == (3, 2)
    with pytest.raises(UsageError, match="longer than data.seconds"):
        labelled(record(100_000), 0, 0)


def test_a_longer_clip_lies_in_windows():
    windows = make(windows=3)
    for length, starts, heard in (
        (4, [0], [1]),
        (10, [0], [1]),
        (15, [0, 5], [1, 1]),
        (30, [0, 10, 20], [1, 1, 1]),
        (45, [0, 10, 20], [1, 1, 1]),
    ):
        example = windows(record(length), 0, 0)
        assert example["windows"].tolist() == [bool(x) for x in heard + [0] * (3 - len(heard))]
        assert example["waveform"].shape == (3, 10)
        for i, start in enumerate(starts):
            assert samples({"waveform": example["waveform"][i, : min(length, 10)]}) == list(range(start + 1, start + 1 + min(length, 10)))
        assert not example["waveform"][len(starts) :].any()
    assert windows.collate([windows(record(4), 0, 0), windows(record(45), 1, 0)])["waveform"].shape == (2, 3, 10)
    with pytest.raises(UsageError, match="data.windows=2: windows have one length"):
        make(windows=2, seconds=(0.1, 0.2))


def test_states_become_examples():
    record = {
        "id": "clip",
        "captions": ["a", "b"],
        "audio_values": np.arange(6.0).reshape(3, 2),
        "text_values": np.arange(8.0).reshape(2, 2, 2),
    }
    transform = StatesTransform()
    one = transform(record, 5, 1)
    assert one.keys() == {"audio_values", "text_values", "clip_index"}
    np.testing.assert_array_equal(one["text_values"], record["text_values"][1])
    np.testing.assert_array_equal(transform(record, 5, -1)["text_values"], record["text_values"])
    drawn = {float(transform(record, 5, None, np.random.default_rng(seed))["text_values"][0, 0]) for seed in range(9)}
    assert drawn == {0.0, 4.0}
    assert transform.collate([one, one])["audio_values"].shape == (2, 3, 2)


def test_without_sound_the_text_alone_is_an_example():
    whole, alone = make()(record(10), 3, -1), make()({"captions": ["ab", "cde"]}, 3, -1)
    assert whole.keys() - alone.keys() == {"waveform"}
    batch = make().collate([alone, alone])
    assert batch.keys() == alone.keys()
    for name, value in alone.items():
        np.testing.assert_array_equal(value, whole[name])
        np.testing.assert_array_equal(batch[name], [value, value])


@pytest.mark.parametrize(
    ("padding", "expected"),
    [("zero", [1, 2, 3, 4, 0, 0, 0, 0, 0, 0]), ("repeat", [1, 2, 3, 4, 1, 2, 3, 4, 0, 0]), ("repeat_cut", [1, 2, 3, 4, 1, 2, 3, 4, 1, 2])],
)
def test_short_clips_are_padded(padding, expected):
    assert samples(make(padding=padding)(record(4), 0, 0)) == expected


def test_long_clips_are_cropped_at_the_start_or_where_the_generator_says():
    assert samples(make()(record(15), 0, 0)) == list(range(1, 11))
    starts = {samples(make()(record(15), 0, 0, np.random.default_rng(seed)))[0] for seed in range(50)}
    assert starts == {1, 2, 3, 4, 5, 6}
    once, again = (make()(record(15), 0, None, np.random.default_rng(4)) for _ in range(2))
    assert samples(once) == samples(again)
    assert once["text_ids"].tolist() == again["text_ids"].tolist()


def test_captions_are_named_drawn_or_all_taken():
    drawn = {int(make()(record(10), 0, None, np.random.default_rng(seed))["text_ids"][0]) for seed in range(20)}
    assert drawn == {97, 99}
    both = make()(record(10), 0, -1)
    assert both["text_ids"].tolist() == [[97, 98, 0, 0], [99, 100, 101, 0]]
    assert both["text_mask"].shape == (2, 4)


def test_other_rates_are_resampled():
    time = np.arange(1600) / 1600
    slow = record(0, rate=1600)
    slow["audio"] = np.round(20_000 * np.sin(2 * np.pi * 50 * time)).astype(np.int16)
    example = make(sample_rate=800, seconds=1.0)(slow, 0, 0)
    expected = 20_000 / 32768 * np.sin(2 * np.pi * 50 * np.arange(800) / 800)
    np.testing.assert_allclose(example["waveform"][100:700], expected[100:700], atol=2e-3)


def test_buckets_give_a_batch_the_smallest_length_that_holds_its_longest_clip():
    transform = make(seconds=(0.2, 0.05, 0.1))
    assert transform.lengths == (5, 10, 20)
    assert not transform.fixed_length
    examples = [transform(record(n), 0, 0) for n in (3, 7)]
    assert [len(e["waveform"]) for e in examples] == [5, 10]
    batch = transform.collate(examples)
    assert batch["waveform"].shape == (2, 10)
    assert samples({"waveform": batch["waveform"][0]}) == [1, 2, 3, 0, 0, 0, 0, 0, 0, 0]
    assert len(transform(record(50), 0, 0)["waveform"]) == 20


def test_int16_becomes_float_in_one():
    np.testing.assert_array_equal(to_float(np.int16([-32768, 0, 16384])), np.float32([-1, 0, 0.5]))


def test_bad_settings_and_empty_clips():
    with pytest.raises(UsageError, match="takes zero, repeat"):
        make(padding="mirror")
    with pytest.raises(UsageError, match="less than a sample"):
        make(seconds=0.0)
    with pytest.raises(UsageError, match="clip 'clip' has no samples"):
        make()(record(0), 0, 0)
