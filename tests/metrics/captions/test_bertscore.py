"""BERTScore of vectors that are laid out by hand: who is matched with whom, what counts, and what rescaling does."""

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiojax.errors import UsageError
from audiojax.metrics.captions import bertscore
from audiojax.metrics.captions.bertscore import Text

EAST, NORTH, BETWEEN = [1.0, 0.0], [0.0, 1.0], [0.6, 0.8]
ROWS = st.lists(st.integers(0, 9), min_size=1, max_size=6)


def text(states, weights=None):
    return Text(np.array(states, np.float32), np.ones(len(states)) if weights is None else np.array(weights, float))


def drawn(row):
    """A text whose tokens have fixed vectors."""
    return text([np.random.RandomState(token).standard_normal(5) for token in row])


def unit(one):
    return Text(bertscore.unit_states(one.states), one.weights)


def test_every_token_takes_the_nearest_one_of_the_other_text():
    found = bertscore.match(text([EAST, BETWEEN]), text([NORTH]))
    precision, recall = (0 + 0.8) / 2, 0.8
    np.testing.assert_allclose(found, [precision, recall, 2 * precision * recall / (precision + recall)], rtol=1e-6)


def test_a_token_without_weight_is_matched_and_does_not_count():
    framed = bertscore.match(text([EAST, BETWEEN], [0, 1]), text([NORTH, EAST], [1, 0]))
    np.testing.assert_allclose(framed, [0.8, 0.8, 0.8], rtol=1e-6)
    assert bertscore.match(text([EAST], [0]), text([EAST])).tolist() == [0, 0, 0]
    assert bertscore.match(text([EAST]), text([EAST], [0])).tolist() == [0, 0, 0]


def test_weights_are_shares():
    found = bertscore.match(text([EAST, NORTH], [3, 1]), text([EAST]))
    np.testing.assert_allclose(found[:2], [0.75, 1])


def test_the_best_reference_counts_in_each_number_by_itself():
    precise, whole = text([EAST, NORTH, BETWEEN]), text([EAST])
    candidate = text([EAST, NORTH])
    each = np.stack([bertscore.match(candidate, one) for one in (precise, whole)])
    np.testing.assert_array_equal(bertscore.best_match(candidate, [precise, whole]), each.max(axis=0))
    assert each.argmax(axis=0).tolist() == [0, 1, 0]


@given(ROWS, ROWS)
def test_precision_is_the_recall_of_the_other_way_round(a, b):
    there, back = (bertscore.match(unit(drawn(x)), unit(drawn(y))) for x, y in ((a, b), (b, a)))
    np.testing.assert_allclose(there, back[[1, 0, 2]], rtol=1e-6, atol=1e-9)
    assert there[:2].max() < 1 + 1e-6
    np.testing.assert_allclose(bertscore.match(unit(drawn(a)), unit(drawn(a[::-1]))), 1, rtol=1e-6)


def test_rare_tokens_weigh_more_and_special_ones_nothing():
    idf = bertscore.inverse_frequencies([[0, 5, 5, 2], [0, 5, 6, 2], [0, 7, 2]])
    weights = bertscore.token_weights([0, 5, 6, 9, 2], {0, 2}, idf)
    np.testing.assert_allclose(weights, [0, log(4 / 3), log(4 / 2), log(4), 0])
    assert bertscore.token_weights([0, 5, 2], {0, 2}).tolist() == [0, 1, 0]


def test_layers_go_by_the_last_part_of_a_name():
    names = ("roberta-large", "FacebookAI/roberta-large", "/models/bert-base-uncased/", "roberta-base", "mine")
    assert [bertscore.layer_of(name) for name in names] == [17, 17, 9, 10, None]


def test_a_baseline_becomes_0_and_1_stays(tmp_path):
    file = tmp_path / "roberta-large.tsv"
    file.write_text("LAYER,P,R,F\n0,0.1,0.2,0.3\n1,0.5,0.6,0.8\n")
    baseline = bertscore.read_baseline(file, 1)
    np.testing.assert_allclose(baseline, [0.5, 0.6, 0.8])
    np.testing.assert_allclose(bertscore.rescaled(np.stack([baseline, np.ones(3), [0.75, 0.8, 0.6]]), baseline)[:, 0], [0, 1, 0.5])
    with pytest.raises(UsageError, match="has no layer 2; it has 0, 1"):
        bertscore.read_baseline(file, 2)


@pytest.mark.parametrize("content", ["", "LAYER,P,R\n0,1,1\n", "LAYER,P,R,F\n0,a,b,c\n", "LAYER,P,R,F\n0,0.1\n", "LAYER,P,R,F\n0,1,1,1\n"])
def test_a_file_that_is_no_baseline(tmp_path, content):
    file = tmp_path / "b.tsv"
    file.write_text(content)
    with pytest.raises(UsageError, match="b.tsv"):
        bertscore.read_baseline(file, 0)
    with pytest.raises(UsageError, match="none.tsv"):
        bertscore.read_baseline(tmp_path / "none.tsv", 0)
