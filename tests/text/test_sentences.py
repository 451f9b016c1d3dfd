"""Sentences of a language model: what stands where, what is scored, and what is cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiojax.errors import UsageError
from audiojax.text.sentences import Sentences
from audiojax.text.tokenizer import CLS, PAD, SEP, Tokenizer

WORDS = ["a", "dog", "barks", "rain", "falls", "low-pitched", "describe"]
TOKENIZER = Tokenizer.train([" ".join(WORDS)] * 3, 200)


def ids_of(*words):
    return TOKENIZER.backend.convert_tokens_to_ids(list(words))


def test_a_sentence_is_opening_caption_end():
    rows = Sentences(TOKENIZER, "describe", 7, str.lower)(["A dog barks", "rain"])
    dog = [CLS, *ids_of("describe", "a", "dog", "barks"), SEP, PAD]
    np.testing.assert_array_equal(rows["sentence_ids"], [dog, [CLS, *ids_of("describe", "rain"), SEP, PAD, PAD, PAD]])
    np.testing.assert_array_equal(rows["sentence_mask"].sum(axis=1), [6, 4])
    np.testing.assert_array_equal(rows["sentence_scored"], [[0, 0, 1, 1, 1, 1, 0], [0, 0, 1, 1, 0, 0, 0]])


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12), st.sampled_from(["", "describe"]), st.integers(4, 12))
def test_every_sentence_ends_and_what_is_scored_is_the_caption(words, prompt, length):
    sentences = Sentences(TOKENIZER, prompt, length)
    rows = sentences([" ".join(words)])
    ids, mask, scored = (rows[f"sentence_{name}"][0] for name in ("ids", "mask", "scored"))
    assert ids[mask][-1] == SEP
    np.testing.assert_array_equal(ids[mask & ~scored], sentences.opening)
    whole = TOKENIZER.rows([" ".join(words)])[0][1:-1]
    assert ids[scored][:-1].tolist() == whole[: length - len(sentences.opening) - 1]
    prompts, there = sentences.prompts(2)
    np.testing.assert_array_equal(prompts, [sentences.opening] * 2)
    assert there.all()


def test_hyphens_come_back():
    assert TOKENIZER.decode(TOKENIZER.rows(["a low-pitched dog"])) == ["a low-pitched dog"]


def test_no_room_for_a_caption():
    with pytest.raises(UsageError, match="leave no room for a caption in 2 tokens"):
        Sentences(TOKENIZER, "", 2)(["a dog"])
