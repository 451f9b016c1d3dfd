"""Captions and names as clean Unicode, and label files of any common encoding as text. Host only, standard library alone."""

import codecs
import html
import unicodedata

INVISIBLE = {"\u00ad", "\u200b", "\u2060", "\ufeff"}  # soft hyphen, zero-width space, word joiner, byte order mark


def clean_text(text: str) -> str:
    """Returns the text in Unicode NFC, without control and invisible characters, with runs of white space as one space.

    "" where no letter or digit is left: such a caption says nothing. Idempotent. Case and punctuation stay; what a model makes of them is
    for `audiojax.text.normalise`.
    """
    kept = text if text.isascii() and text.isprintable() else "".join(_printable(character) for character in text)
    cleaned = " ".join(unicodedata.normalize("NFC", kept).split())
    return cleaned if any(character.isalnum() for character in cleaned) else ""


def decode_text(data: bytes) -> tuple[str, str]:
    """(text, what had to be done): UTF-8 with or without a byte order mark and UTF-16 need no remark, "".

    In other files the lines that are not UTF-8 are read as Windows-1252, the superset of Latin-1 that old spreadsheets write, so that one
    such line does not spoil its neighbours.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace"), ""
    if data[:4].count(0) == 2 and (data[0] == 0) != (data[1] == 0):  # two letters and two zeros, in turn
        return data.decode("utf-16-be" if data[0] == 0 else "utf-16-le", "replace"), ""
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode("utf-8"), ""
    except UnicodeDecodeError:
        pass
    lines, old = [], 0
    for line in data.split(b"\n"):
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            lines.append(_decode_windows(line))
            old += 1
    return "\n".join(lines), f"not UTF-8 and read as Latin-1 (Windows-1252): {old} lines"


def plain_name(name: str) -> str:
    """The letters and digits of a file name, folded: what survives however it was packed and unpacked ("d&#39;Italie" is "d_Italie")."""
    folded = unicodedata.normalize("NFKC", html.unescape(name)).casefold()
    return "".join(character for character in folded if character.isalnum())


def _printable(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cs" or character in INVISIBLE:  # half a surrogate pair is no character
        return ""
    return " " if category == "Cc" else character


def _decode_windows(line: bytes) -> str:
    try:
        return line.decode("cp1252")
    except UnicodeDecodeError:  # five bytes have no meaning there
        return line.decode("latin-1")
