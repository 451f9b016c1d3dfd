"""CLAP's tower: transformers' unit vectors of whole clips, the same bits for a clip in any company, long clips, texts, misuse."""

from dataclasses import replace

import numpy as np
import pytest

from audiojax.audio.io import resample
from audiojax.encoders.clap import ClapText
from audiojax.errors import UsageError
from audiojax.text.tokenizer import Tokenizer
from audiojax.towers.clap import Batches, ClapTextTower, token_rows
from tests.encoders.filling import relative_error
from tests.encoders.test_bert import roberta_batch
from tests.encoders.test_clap import GOLDEN, PLAIN
from tests.towers.clap_cases import RATE, clips, tower

CAPTIONS = ["a dog barks", "rain", "", "a dog barks twice while rain falls", "a bell"]


@pytest.fixture(scope="module")
def plain():
    return tower("plain", tokenizer=Tokenizer.train(CAPTIONS, 50), max_tokens=12)


@pytest.fixture(scope="module")
def fused():
    return tower("fused")


def test_unit_vectors_of_transformers(plain, fused):
    """Those of ClapFeatureExtractor and ClapModel, clip by clip, in a golden file; see tests/golden/make_clap.py."""
    golden = np.load(GOLDEN)
    short = [clip for clip in clips() if len(clip) <= RATE]
    assert relative_error(plain.embed_audio(short, RATE), golden["plain/embedded"]) < 1e-4
    assert relative_error(fused.embed_audio(clips(), RATE), golden["fused/embedded"]) < 1e-4


@pytest.mark.parametrize("name", ["plain", "fused"])
def test_neighbours_change_no_bit_of_a_clip(name, request):
    made = request.getfixturevalue(name)
    sounds = clips()
    together = made.embed_audio(sounds, RATE)
    assert together.shape == (len(sounds), 12)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-6)
    for i, clip in enumerate(sounds):
        np.testing.assert_array_equal(made.embed_audio(clip, RATE), together[i : i + 1])
    np.testing.assert_array_equal(made.embed_audio(sounds[::-1], RATE), together[::-1])


def test_a_long_clip_is_the_mean_of_its_windows(plain):
    clip = clips([20_011])[0]
    parts = plain.embed_audio([clip[:8_000], clip[8_000:16_000], clip[-8_000:]], RATE)
    mean = parts.astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(plain.embed_audio(clip, RATE)[0], mean / np.linalg.norm(mean), rtol=1e-6)


def test_random_crops_follow_their_seed(plain, fused):
    short, long = clips([4_000, 20_011])
    for made in (plain, fused):
        fixed = made.embed_audio([short, long], RATE)
        one, two = (made.embed_audio([short, long], RATE, crops="random", seed=seed) for seed in (1, 2))
        np.testing.assert_array_equal(made.embed_audio(long, RATE, crops="random", seed=1), one[1:])
        np.testing.assert_array_equal(one[0], fixed[0])  # nothing to crop
        assert not np.allclose(one[1], two[1], atol=1e-5)
        assert not np.allclose(one[1], fixed[1], atol=1e-5)


def test_sixteen_bits_and_another_rate(plain):
    clip = clips([8_000])[0]
    steps = np.trunc(clip * 32767) / np.float32(32767)
    rough = plain.embed_audio(clip, RATE, quantise=True)
    np.testing.assert_allclose(rough, plain.embed_audio(steps, RATE), atol=1e-5)
    np.testing.assert_array_equal(plain.embed_audio(resample(clip, 11_025, RATE), RATE), plain.embed_audio(clip, 11_025))
    quiet = clip * np.float32(0.9 / 32767 / np.abs(clip).max())  # below one step
    assert not np.allclose(plain.embed_audio(quiet, RATE, quantise=True), plain.embed_audio(quiet, RATE), atol=1e-3)


def test_texts(plain):
    rows = plain.embed_text(CAPTIONS)
    assert rows.shape == (5, 12)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-6)
    for i, text in enumerate(CAPTIONS):
        np.testing.assert_array_equal(plain.embed_text([text]), rows[i : i + 1])
    ids, mask = plain.tokenizer.encode(CAPTIONS, 12, allow_empty=True)
    assert mask[2].sum() == 2  # the special tokens of ""
    np.testing.assert_allclose(plain.text_features(ids.tolist(), mask.astype(int).tolist()), rows, atol=1e-6)


def test_nothing_to_embed(plain):
    assert plain.embed_text([]).shape == plain.embed_audio([], RATE).shape == (0, 12)


def test_the_text_half_gives_embeddings_of_any_length(plain):
    ids, mask = roberta_batch(3, 9)
    half = ClapTextTower(ClapText(PLAIN), PLAIN, {"params": plain.params["params"]["text"]}, None, plain.source, "")
    embedding = np.asarray(half(ids.tolist(), mask.tolist()))
    norm = np.linalg.norm(embedding, axis=1, keepdims=True)
    np.testing.assert_allclose(embedding / norm, plain.text_features(ids, mask), rtol=1e-4, atol=1e-6)
    with pytest.raises(UsageError, match="came without a tokenizer"):
        half.embed_text(["rain"])
    with pytest.raises(UsageError, match="a list of texts is needed"):
        replace(half, tokenizer=plain.tokenizer).embed_text("rain")
    assert (np.abs(norm - 1) > 0.05).all()


def test_batches_are_full_and_in_order():
    seen, taken = [], []

    def call(rows):
        seen.append(rows.copy())
        return rows * 10

    batches = Batches(call, 3, lambda owner, value: taken.append((owner, int(value))))
    for i in range(7):
        batches.put(i, (np.int64(i),))
    assert taken == [(0, 0), (1, 10), (2, 20)]  # one batch is still on its way
    batches.finish()
    assert [rows.tolist() for rows in seen] == [[0, 1, 2], [3, 4, 5], [6, 6, 6]]
    assert taken == [(i, 10 * i) for i in range(7)]


@pytest.mark.parametrize(
    ("waveform", "rate", "options", "words"),
    [
        (np.zeros((2, 3, 4), np.float32), RATE, {}, "one axis of samples"),
        ([np.zeros(5), np.zeros(0)], RATE, {}, "waveform 1 of 2 has the shape .0."),
        ([[0.0, 1.0], np.zeros((1, 2))], RATE, {}, "one axis of samples"),
        (np.zeros((9, 2), np.float32), RATE, {}, r"shape \[9, 2\] look like one clip \[n, channels\]: mix to mono, or transpose"),
        (np.float32(0.5), RATE, {}, "not one number"),
        (np.zeros(9, np.int16), RATE, {}, "holds int16"),
        (np.array([0.0, np.nan]), RATE, {}, "not finite"),
        (np.zeros(9), 0, {}, "sample rate 0"),
        (np.zeros(9), 44.1, {}, "sample rate 44.1"),
        (np.zeros(9), RATE, {"crops": "some"}, "crops 'some'"),
        (np.zeros(9), RATE, {"crops": "random"}, "'random' needs one"),
        (np.zeros(9), RATE, {"seed": 3}, "'fixed' takes no seed"),
    ],
)
def test_misuse_of_audio(plain, waveform, rate, options, words):
    with pytest.raises(UsageError, match=words):
        plain.embed_audio(waveform, rate, **options)


def test_misuse_of_texts(plain, fused):
    with pytest.raises(UsageError, match="came without a tokenizer"):
        fused.embed_text(["a dog"])
    with pytest.raises(UsageError, match="a list of texts"):
        plain.embed_text("a dog")
    with pytest.raises(UsageError, match="from 3 to 70, and the model has 50"):
        plain.text_features([[3, 70]], [[1, 1]])
    with pytest.raises(UsageError, match="with a mask"):
        plain.text_features([[3, 4]], [[1]])


def test_texts_are_padded_no_further_than_their_length_asks(plain):
    """And come back in their order, with the bits that each has alone, whatever is padded."""
    long = replace(plain, max_tokens=20)
    texts = ["a dog barks", "dog " * 16, "rain", "bell " * 12, "dog " * 31]
    found = long.embed_text(texts)
    assert sorted({len(ids) for ids, _ in token_rows(long, texts, 20)}) == [16, 20]
    for text, row in zip(texts, found, strict=True):
        np.testing.assert_array_equal(long.embed_text([text])[0], row)
    np.testing.assert_allclose(long.text_features(*long.tokenizer.encode(texts, 20)), found, atol=1e-5)


def test_a_longer_limit_than_the_model_has_is_cut(plain):
    long = replace(plain, max_tokens=10_000)
    assert long.embed_text(["dog " * 50]).shape == (1, 12)
