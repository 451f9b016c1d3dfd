"""BERT's masks: how many, of what, and what stands in their place."""

import jax
import numpy as np
import pytest

from audiojax.papers.towers.masked_lm import hidden_counts, hide_tokens
from audiojax.text.tokenizer import CLS, MASK, PAD, SEP, SPECIAL, UNK

VOCAB, LENGTH, ROWS = 1_000, 40, 3_000


HIDE = jax.jit(lambda keys, ids, mask: hide_tokens(keys, ids, mask, vocab_size=VOCAB))


@pytest.fixture(scope="module")
def hidden():
    """(ids, mask, what is hidden of them); captions have 0 to 38 words."""
    rng = np.random.default_rng(0)
    words = rng.integers(0, LENGTH - 1, size=ROWS)
    mask = np.arange(LENGTH)[None, :] < words[:, None] + 2
    ids = np.where(mask, rng.integers(len(SPECIAL), VOCAB, size=mask.shape), PAD).astype(np.int32)
    ids[:, 0] = CLS
    ids[np.arange(ROWS), words + 1] = SEP
    ids[words > 3, 2] = UNK
    keys = jax.random.split(jax.random.key(0), ROWS)
    return ids, mask, jax.tree.map(np.asarray, HIDE(keys, ids, mask))


def test_fifteen_per_cent_of_the_words_are_hidden_and_nothing_else(hidden):
    ids, mask, out = hidden
    words = (mask & (ids >= len(SPECIAL))).sum(axis=1)
    np.testing.assert_array_equal(out.scored.sum(axis=1), hidden_counts(LENGTH)[words])
    assert out.scored.sum() / words.sum() == pytest.approx(0.15, abs=0.01)
    np.testing.assert_array_equal(np.take_along_axis(ids, out.positions, axis=1), out.targets)
    assert (out.targets[out.scored] >= len(SPECIAL)).all()
    assert np.take_along_axis(mask, out.positions, axis=1)[out.scored].all()
    untouched = np.ones_like(mask)
    for row in range(ROWS):
        chosen = out.positions[row, out.scored[row]]
        assert len(set(chosen)) == len(chosen)
        untouched[row, chosen] = False
    np.testing.assert_array_equal(out.ids[untouched], ids[untouched])


def test_eighty_ten_ten(hidden):
    _, _, out = hidden
    seen, true = np.take_along_axis(out.ids, out.positions, axis=1)[out.scored], out.targets[out.scored]
    assert np.mean(seen == MASK) == pytest.approx(0.8, abs=0.02)
    assert np.mean(seen == true) == pytest.approx(0.1, abs=0.015)
    others = seen[(seen != MASK) & (seen != true)]
    assert others.min() >= len(SPECIAL)
    assert others.max() > VOCAB - 50


def test_every_word_is_hidden_equally_often(hidden):
    ids, mask, out = hidden
    long = mask.sum(axis=1) >= 30
    share = np.bincount(out.positions[long][out.scored[long]], minlength=LENGTH)[3:29] / long.sum()
    assert share.min() > 0.1
    assert share.max() < 0.2


def test_counts():
    assert hidden_counts(40)[[0, 1, 6, 10, 20, 40]].tolist() == [0, 1, 1, 2, 3, 6]


def test_a_row_depends_on_its_key_alone(hidden):
    ids, mask, out = hidden
    keys, order = jax.random.split(jax.random.key(0), ROWS), np.random.default_rng(1).permutation(ROWS)
    for a, b in zip(HIDE(keys[order], ids[order], mask[order]), out, strict=True):
        np.testing.assert_array_equal(a, b[order])
