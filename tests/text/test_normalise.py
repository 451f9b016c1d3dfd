"""Caption cleaning: the rule of the note on hand-made lines, and what must hold for any text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiojax.errors import UsageError
from audiojax.text.normalise import clean_caption, clean_query


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("A dog barks, then a BELL rings.", "a dog barks then a bell rings"),
        ('  "Rain"; wind:  and\nthunder!? ', "rain wind and thunder"),
        ("rain,wind", "rain wind"),
        ("a man's don't - stay", "a man's don't - stay"),
        ("ＤＯＧ，ﬁre", "dog fire"),  # full-width letters and comma, fi ligature
        ("...", ""),
    ],
)
def test_hand_made_lines(raw, clean):
    assert clean_caption(raw) == clean


@given(st.text())
def test_cleaning_is_idempotent_and_leaves_no_punctuation(text):
    once = clean_caption(text)
    assert not set(once) & set(',.!?;:"')
    assert once == once.strip()
    assert "  " not in once
    assert clean_caption(once) == once


def test_query():
    assert clean_query("A dog, barking!") == "a dog barking"


@pytest.mark.parametrize("text", ["", "   ", "?!", "- -", "\u200b"])
def test_empty_query_is_misuse(text):
    with pytest.raises(UsageError, match="query"):
        clean_query(text)


def test_a_query_that_is_not_utf_8_is_misuse():
    with pytest.raises(UsageError, match=r"'glocke l\\udce4utet' is not UTF-8"):
        clean_query(b"glocke l\xe4utet".decode("utf-8", "surrogateescape"))
