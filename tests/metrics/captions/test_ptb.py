"""Words that show how the tokeniser reads, and that it reads anything. Equality with the Java one: test_golden."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiojax.metrics.captions.ptb import PUNCTUATION, tokenize


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("The dog's bark isn't loud.", "the dog 's bark is n't loud"),
        ("They cannot; we're gonna!", "they can not we 're gon na"),
        ("“don’t” – he’s…", "do n't he 's"),
        ("a (loud) dog", "a -lrb- loud -rrb- dog"),
        ("at 5 a.m. Mr. Smith's, etc.", "at 5 a.m. mr. smith 's etc."),
        ("plan b. Then no. 5, no. six", "plan b then no. 5 no six"),
        ("it barks., then stops", "it barks. then stops"),
        ("and/or 3.5kHz, 50% at $5", "and/or 3.5 khz 50 % at $ 5"),
        ("wait!! what?", "wait !! what"),
        ("x😀y café 狗叫 ½", "x y café 狗叫 1/2"),
        ("rock 'n' roll of the '90s", "rock 'n' roll of the '90s"),
        ("3 1/2 cups, <b class='x'>", "3 1/2 cups <b class='x'>"),  # words with spaces in them are several
        ("call 555 123 4567", "call 555 123 4567"),
    ],
)
def test_words(caption, words):
    assert tokenize(caption) == words.split()


@given(st.text())
def test_any_text_has_words_in_lower_case_without_spaces(text):
    words = tokenize(text)
    assert all(word and not any(character.isspace() for character in word) for word in words)
    assert not PUNCTUATION & set(words)
    assert [word.lower() for word in words] == words


@given(st.lists(st.from_regex(r"[a-z]{2,9}", fullmatch=True).filter(lambda word: len(tokenize(word)) == 1), max_size=8))
def test_plain_words_stay_whatever_stands_between(words):
    assert tokenize(" ".join(words)) == tokenize("  " + ", ".join(words) + " ") == tokenize("\t".join(words) + "!") == words


@given(st.text(), st.text())
def test_a_line_break_is_a_space(before, after):
    assert tokenize(f"{before}\n{after}") == tokenize(f"{before} {after}")
