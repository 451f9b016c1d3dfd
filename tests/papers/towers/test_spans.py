"""Span corruption: input and target together are the text, whatever it is; shares, order, padding and keys."""

import jax
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from audiojax.papers.towers.spans import corrupt_spans, restore, sentinels, span_counts, target_length
from audiojax.text.tokenizer import CLS, PAD, SEP, SPECIAL

VOCAB, LENGTH, ROWS = 40, 30, 600
CORRUPT = jax.jit(lambda keys, ids, mask: corrupt_spans(keys, ids, mask, vocab_size=VOCAB))


def rows_of(texts):
    """(ids, mask) of word lists as the tokenizer encodes them, and rows of padding after them: all tests share one compiled program."""
    ids, mask = np.full((ROWS, LENGTH), PAD, np.int32), np.zeros((ROWS, LENGTH), bool)
    for row, words in enumerate(texts):
        ids[row, : len(words) + 2] = [CLS, *words, SEP]
        mask[row, : len(words) + 2] = True
    return ids, mask


@settings(max_examples=40)
@given(st.lists(st.integers(len(SPECIAL), VOCAB - 1), max_size=LENGTH - 2), st.integers(0, 2**31 - 1))
def test_input_and_target_give_the_text_back(words, seed):
    ids, mask = rows_of([words])
    out = jax.tree.map(np.asarray, CORRUPT(jax.random.split(jax.random.key(seed), ROWS), ids, mask))
    inputs, targets = out.ids[0, out.mask[0]], out.targets[0, out.target_mask[0]]
    assert restore(inputs, targets, VOCAB) == [CLS, *words, SEP]
    cut, spans = (int(table[len(words)]) for table in span_counts(LENGTH))
    marks = [token for token in inputs if token >= VOCAB]
    assert marks == [VOCAB + i for i in range(spans)]
    assert [token for token in targets if token >= VOCAB] == marks
    assert len(targets) == cut + spans + 1
    assert targets[-1] == SEP
    assert inputs[0] == CLS
    assert not any(a >= VOCAB and b >= VOCAB for a, b in zip(inputs, inputs[1:], strict=False))  # spans do not touch
    assert (out.ids[0, ~out.mask[0]] == PAD).all()
    assert (out.targets[0, ~out.target_mask[0]] == PAD).all()


def test_as_many_words_go_as_t5_cuts_out():
    """15 %, rounded, at least one, in spans of three on average; a text of one word has none to spare."""
    cut, spans = span_counts(100)
    assert cut[[0, 1, 2, 9, 11, 20, 30, 100]].tolist() == [0, 0, 1, 1, 2, 3, 4, 15]
    assert spans[[0, 1, 2, 9, 20, 30, 100]].tolist() == [0, 0, 1, 1, 1, 1, 5]
    assert (sentinels(100), target_length(100)) == (5, 21)


def test_every_word_goes_about_equally_often():
    """One span of three among twenty words starts at each of 18 places equally often, so the ends go less often than the middle."""
    words = list(range(5, 5 + 20))
    out = CORRUPT(jax.random.split(jax.random.key(0), ROWS), *rows_of([words] * ROWS))
    gone = np.stack([(np.asarray(out.ids) != word).all(axis=1) for word in words], axis=1).mean(axis=0)
    np.testing.assert_allclose(gone, np.minimum(np.minimum(np.arange(20) + 1, 20 - np.arange(20)), 3) / 18, atol=0.06)


def test_a_row_depends_on_its_key_alone():
    ids, mask = rows_of([list(range(5, 5 + n)) for n in (3, 10, 20, 28)])
    keys, order = jax.random.split(jax.random.key(1), ROWS), np.random.default_rng(0).permutation(ROWS)
    whole, moved = CORRUPT(keys, ids, mask), CORRUPT(keys[order], ids[order], mask[order])
    for a, b in zip(whole, moved, strict=True):
        np.testing.assert_array_equal(np.asarray(a)[order], b)
    other = CORRUPT(jax.random.split(jax.random.key(2), ROWS), ids, mask)
    assert np.any(np.asarray(other.ids)[:4] != np.asarray(whole.ids)[:4])
