"""Files of further captions."""

import pytest

from audiojax.data.layouts.extra_captions import read_extra_captions
from audiojax.errors import UsageError


def test_captions_are_cleaned_and_faults_named(tmp_path):
    path = tmp_path / "extra.json"
    path.write_text('{"a.wav": ["A  dog", " "], "caf\\u0065\\u0301": "one", "b": [1], "a": ["again"], "c": []}')
    captions, faults = read_extra_captions(path)
    assert captions == {"a": ("A dog",), "café": ("one",), "c": ()}
    assert [(fault.kind, fault.where.removeprefix(f"{path}: ")) for fault in faults] == [
        ("empty_caption", "'a.wav'"),
        ("bad_row", "'b'"),
        ("duplicate_id", "'a'"),
    ]


@pytest.mark.parametrize("text", ["[]", '["a"]', "1", "{", "[" * 100_000, ""])
def test_what_is_no_such_file(tmp_path, text):
    (tmp_path / "extra.json").write_text(text)
    with pytest.raises(UsageError, match="extra.json"):
        read_extra_captions(tmp_path / "extra.json")
    with pytest.raises(UsageError, match="cannot be read"):
        read_extra_captions(tmp_path)
