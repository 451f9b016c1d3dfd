"""The caption that says what most captions say."""

import pytest

from audiojax.errors import AudiojaxError
from audiojax.metrics.captions.typical import most_typical


def test_the_caption_nearest_to_all_is_the_most_typical():
    captions = ["a dog barks", "a dog barks loudly", "a dog barks twice", "rain falls on a roof", "the dog barks"]
    assert most_typical(captions) == most_typical(captions[::-1]) == "a dog barks"


@pytest.mark.parametrize("captions", [["one"], ["same words", "same words"], ["", "."], ["", "a bell", "a bell rings"]])
def test_it_is_one_of_them_also_where_no_word_tells_them_apart(captions):
    assert most_typical(captions) in captions


def test_nothing_to_choose_from():
    with pytest.raises(AudiojaxError, match="no captions"):
        most_typical([])
