"""Captions as clean Unicode and label files of any encoding."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiojax.data.layouts.text import clean_text, decode_text, plain_name

CHARACTERS = st.characters()  # half surrogate pairs included, as JSON files bring them


@given(st.text(CHARACTERS))
def test_clean_text_is_idempotent_printable_nfc_and_says_something(text):
    cleaned = clean_text(text)
    assert clean_text(cleaned) == cleaned
    assert unicodedata.is_normalized("NFC", cleaned)
    assert cleaned == " ".join(cleaned.split())
    assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in cleaned)
    assert cleaned == "" or any(character.isalnum() for character in cleaned)
    cleaned.encode("utf-8")


@given(st.text(CHARACTERS), st.sampled_from(["\0", "\t", "\r\n", "\u200b", " ", "\ufeff", "\x85"]))
def test_what_surrounds_a_text_does_not_matter(text, around):
    assert clean_text(around + text + around) == clean_text(text)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  A dog\tbarks,\r\n twice. ", "A dog barks, twice."),
        ("cafe\u0301", "café"),
        ("zero\u200bwidth soft\u00adhyphen", "zerowidth softhyphen"),
        ("nul\0byte", "nul byte"),
        ("…", ""),
        ("\ud800", ""),
        ("", ""),
        ("雨の音", "雨の音"),
    ],
)
def test_clean_text_by_example(text, cleaned):
    assert clean_text(text) == cleaned


@given(st.text(CHARACTERS), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_unicode_files_read_as_they_were_written(text, encoding):
    text = "word" + text.encode("utf-8", "ignore").decode()
    assert decode_text(text.encode(encoding)) == (text, "")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_known_by_its_zeros(encoding):
    assert decode_text("file_name,caption\n".encode(encoding)) == ("file_name,caption\n", "")


def test_old_lines_are_read_as_windows_1252_and_their_neighbours_as_utf_8():
    data = "naïve\n".encode() + "“café”\n".encode("cp1252") + b"\x81 dog\n"
    text, remark = decode_text(data)
    assert text == "naïve\n“café”\n\x81 dog\n"
    assert "2 lines" in remark


def test_plain_names_survive_packing():
    assert plain_name("Grillons-d&#39;Italie: Ardèche") == plain_name("grillons_d'italie_ Arde\u0300che")
    assert plain_name("a1") != plain_name("a2")
