"""Cleaning of captions and queries, the same in training and in search. Host only: no jax."""

import re
import unicodedata

from audiojax.errors import UsageError

PUNCTUATION = re.compile(r'[,.!?;:"]')


def clean_caption(text: str) -> str:
    """Returns the text in Unicode NFKC, lower-cased, with , . ! ? ; : " turned into spaces and runs of white space into one.

    The rule of the audio-text baselines ("XinhaoMei/audio-text_retrieval code"); NFKC maps full-width and ligature characters to plain ones
    first. Idempotent. The result may be "".
    """
    return " ".join(PUNCTUATION.sub(" ", unicodedata.normalize("NFKC", text).lower()).split())


def clean_query(text: str) -> str:
    """`clean_caption` for text that a user typed; UsageError if it is not UTF-8 or nothing is left to search for."""
    try:
        text.encode()
    except UnicodeEncodeError as error:  # bytes that a terminal sent and Python could not read
        raise UsageError(f"the query {text!a} is not UTF-8 text: type it again in a terminal that sends UTF-8") from error
    cleaned = clean_caption(text)
    if not any(character.isalnum() for character in cleaned):
        raise UsageError(f"the query {text!r} is empty: describe the sound in a few words")
    return cleaned
