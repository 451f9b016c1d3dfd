"""Several sources as one, and sources with more captions."""

import pickle

import pytest

from audiojax.data.sources import ExtraCaptions, JoinedRecords


class Letters(tuple):
    def facts(self, index):
        return {"captions": [self[index] * 2]}


def test_joined_records_come_one_source_after_the_other():
    joined = JoinedRecords([Letters("ab"), Letters(""), Letters("cde")])
    assert len(joined) == 5
    assert [joined[i] for i in range(5)] == list("abcde")
    assert [joined.facts(i)["captions"] for i in (1, 2)] == [["bb"], ["cc"]]
    assert pickle.loads(pickle.dumps(joined))[4] == "e"


@pytest.mark.parametrize("index", [-1, 5])
def test_a_record_that_is_not_there(index):
    with pytest.raises(IndexError, match="has no record"):
        JoinedRecords([Letters("ab"), Letters("cde")])[index]


class Clips(list):
    def identity(self):
        return "clips"


def test_extra_captions_come_after_their_own():
    clips = Clips({"id": name, "captions": [name * 2]} for name in "abc")
    more = ExtraCaptions(clips, {"b": ("one", "two"), "x": ("nobody's",)})
    assert [more[i]["captions"] for i in range(3)] == [["aa"], ["bb", "one", "two"], ["cc"]]
    assert [more.facts(i)["captions"] for i in range(3)] == [more[i]["captions"] for i in range(3)]
    assert more.matched == 1
    assert clips[1]["captions"] == ["bb"]
    assert more.identity() != ExtraCaptions(clips, {"b": ("one",)}).identity()
