"""Several sources as one."""

import pickle

import pytest

from audiojax.data.sources import JoinedRecords


class Letters(tuple):
    def captions(self, index):
        return [self[index] * 2]


def test_joined_records_come_one_source_after_the_other():
    joined = JoinedRecords([Letters("ab"), Letters(""), Letters("cde")])
    assert len(joined) == 5
    assert [joined[i] for i in range(5)] == list("abcde")
    assert [joined.captions(i) for i in (1, 2)] == [["bb"], ["cc"]]
    assert pickle.loads(pickle.dumps(joined))[4] == "e"


@pytest.mark.parametrize("index", [-1, 5])
def test_a_record_that_is_not_there(index):
    with pytest.raises(IndexError, match="has no record"):
        JoinedRecords([Letters("ab"), Letters("cde")])[index]
