"""What the fields of a page may hold, which files may be named, and how errors are said."""

import os

import pytest

from audiojax.audio.reasons import AudioFileError, Reason
from audiojax.errors import UsageError
from audiojax.page.fields import answered, given, number, whole


@pytest.mark.parametrize(("value", "found"), [(3, 3), (3.0, 3), (0, 0), (2**70, 2**70)])
def test_whole_numbers_come_in_both_kinds(value, found):
    assert (whole("seed", value), type(whole("seed", value))) == (found, int)


@pytest.mark.parametrize("value", [None, "", "3", 2.5, -1, True, float("nan"), float("inf"), [1]])
def test_what_is_no_whole_number_is_named(value):
    with pytest.raises(UsageError, match=r"^seed is .*; a whole number from 0 up is needed$"):
        whole("seed", value)


def test_whole_numbers_have_bounds():
    assert whole("steps", 500, 1, 500) == 500
    for value in (0, 501):
        with pytest.raises(UsageError, match=rf"^steps is {value}; a whole number from 1 to 500 is needed$"):
            whole("steps", value, 1, 500)


@pytest.mark.parametrize(("value", "found"), [(3, 3.0), ("2.5", 2.5), (" 1e-1 ", 0.1), (-1, -1.0)])
def test_numbers_may_be_text(value, found):
    assert number("seconds", value) == found


@pytest.mark.parametrize(
    ("value", "said"), [(None, "empty"), ("", "empty"), ("ten", "'ten'"), ("nan", "'nan'"), (True, "True"), ([], r"\[\]")]
)
def test_what_is_no_number_is_named(value, said):
    with pytest.raises(UsageError, match=rf"^seconds is {said}; a number is needed$"):
        number("seconds", value)


def test_only_files_of_the_page_are_opened(tmp_path):
    folder, secret = tmp_path / "page", tmp_path / "secret.wav"
    (folder / "ab12").mkdir(parents=True)
    for path in (folder / "ab12" / "a.wav", secret):
        path.write_bytes(b"x")
    os.symlink(secret, folder / "ab12" / "link.wav")
    assert given(folder, str(folder / "ab12" / "a.wav")) == (folder / "ab12" / "a.wav").resolve()
    for path in (secret, folder / ".." / "secret.wav", folder / "ab12" / "link.wav", folder / "none.wav", folder, "/etc/passwd"):
        with pytest.raises(UsageError, match="was not dropped on this page"):
            given(folder, path)


def test_errors_are_lines_that_name_the_file_alone(tmp_path, capsys):
    def work(what):
        if what == "bad file":
            raise AudioFileError(tmp_path / "ab12" / "my dog.wav", Reason.TRUNCATED, "1 of 2")
        if what == "misuse":
            raise UsageError("seed is -1")
        if what == "fault":
            raise ZeroDivisionError("by zero\nand more")
        return what, 1, "fine"

    ask = answered(work, (None, []), tmp_path)
    assert ask("a") == ("a", 1, "fine")
    assert ask("bad file") == (None, [], "my dog.wav: truncated (1 of 2)")
    assert ask("misuse") == (None, [], "seed is -1")
    assert capsys.readouterr().err == ""
    *nothing, said = ask("fault")
    assert nothing == [None, []]
    assert said.splitlines()[0] == "internal error, ZeroDivisionError: by zero"
    assert "Traceback" not in said
    assert "Traceback" in capsys.readouterr().err


def test_a_page_that_is_served_for_long_keeps_what_is_new(tmp_path):
    old, new = tmp_path / "a" / "old.wav", tmp_path / "b" / "new.wav"
    for path in (old, new):
        path.parent.mkdir()
        path.write_bytes(b"x")
    for path in (old, old.parent):  # the second time what held it is old too
        os.utime(path, (0, 0))
        assert answered(lambda: ("fine",), (), tmp_path)() == ("fine",)
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["b", "new.wav"]
