"""Decoding against searches written out in NumPy, on a language model that is a table; and the rules of drawing tokens."""

import itertools
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.errors import UsageError
from audiojax.models.decoding import Decoding, beam_search, decode

STATES = 97  # what the model remembers of a sequence: a number that every token changes


def table(vocab, seed=0):
    return (2 * np.random.RandomState(seed).standard_normal((STATES, vocab))).astype(np.float32)


def follow(state, token):
    return (state * 7 + token + 1) % STATES


def log_softmax(x):
    x = x.astype(np.float64)
    return x - x.max() - np.log(np.exp(x - x.max()).sum())


@partial(jax.jit, static_argnames=("decoding", "search"))
def run(scores, states, decoding, keys=None, seen=None, search=None):
    """What `decode` makes of the table; the cache is the state, so that a row that follows the wrong beam would show."""

    def step(tokens, cache, index):
        state = follow(cache["state"], tokens)
        return scores[state], {"state": state, "count": cache["count"] + 1}

    cache = {"state": states, "count": jnp.zeros((len(states), 3), jnp.int32)}
    if search is not None:
        return search(scores[states], cache, step, decoding)
    return decode(scores[states], cache, step, decoding, keys=keys, seen=seen)


def greedy(scores, state, d):
    tokens = []
    while len(tokens) < d.max_new_tokens and not set(tokens) & set(d.eos_ids):
        tokens.append(int(np.argmax(scores[state])))
        state = follow(state, tokens[-1])
    return tokens


def log_prob(scores, state, tokens):
    total = 0.0
    for token in tokens:
        total += log_softmax(scores[state])[token]
        state = follow(state, token)
    return total


def exhaustive(scores, state, d):
    """The best of all sequences."""
    vocab, sequences = scores.shape[1], []
    for length in range(1, d.max_new_tokens + 1):
        for tokens in itertools.product(range(vocab), repeat=length):
            ends = [token in d.eos_ids for token in tokens]
            if not any(ends[:-1]) and (ends[-1] or length == d.max_new_tokens):
                sequences.append(list(tokens))
    return max(sequences, key=lambda tokens: log_prob(scores, state, tokens) / len(tokens) ** d.length_penalty)


def plain_beams(scores, state, d):
    """Beam search by lists."""
    open_beams, ended, k = [([], 0.0, state)], [], d.num_beams
    for length in range(1, d.max_new_tokens + 1):
        grown = []
        for tokens, total, at in open_beams:
            chances = log_softmax(scores[at])
            grown += [([*tokens, t], total + chances[t], follow(at, t)) for t in range(scores.shape[1])]
        grown.sort(key=lambda beam: -beam[1])
        last = length == d.max_new_tokens
        for tokens, total, _ in grown[:k]:
            if last or tokens[-1] in d.eos_ids:
                ended.append((tokens, total / length**d.length_penalty))
        ended = sorted(ended, key=lambda beam: -beam[1])[:k]
        open_beams = [beam for beam in grown[: (1 + len(d.eos_ids)) * k] if beam[0][-1] not in d.eos_ids][:k]
        if len(ended) == k:
            reach = d.max_new_tokens if d.early_stopping == "never" and d.length_penalty > 0 else length
            if d.early_stopping is True or open_beams[0][1] / reach**d.length_penalty <= ended[-1][1]:
                break
    return ended[0][0]


def rows(made):
    return [row[:n].tolist() for row, n in zip(np.asarray(made.tokens), made.lengths, strict=True)]


STARTS = np.arange(12, dtype=np.int32)
GREEDY = Decoding(7, eos_ids=(2,), pad_id=5)  # settings are shared by tests: each compiles once
BEAMS = replace(GREEDY, num_beams=3)
DRAWN = replace(GREEDY, temperature=1.0, top_p=0.9)
KEYS = jax.random.split(jax.random.key(1), 12)


def test_greedy_follows_the_table():
    scores = table(6)
    made = run(scores, STARTS, GREEDY)
    expected = [greedy(scores, state, GREEDY) for state in STARTS]
    assert rows(made) == expected
    assert {len(row) for row in expected} > {7}  # some end early, some do not
    assert all((np.asarray(made.tokens)[i, n:] == 5).all() for i, n in enumerate(made.lengths))
    chances = [log_prob(scores, state, row) for state, row in zip(STARTS, expected, strict=True)]
    np.testing.assert_allclose(made.log_probs, chances, rtol=1e-5)


@pytest.mark.parametrize("length_penalty", [1.0, pytest.param(0.0, marks=pytest.mark.slow)])
def test_enough_beams_find_the_best_of_all_sequences(length_penalty):
    scores, d = table(3, seed=1), Decoding(4, eos_ids=(0,), num_beams=81, length_penalty=length_penalty)
    made = run(scores, STARTS, d)
    expected = [exhaustive(scores, state, d) for state in STARTS]
    assert rows(made) == expected
    chances = [log_prob(scores, state, row) for state, row in zip(STARTS, expected, strict=True)]
    np.testing.assert_allclose(made.log_probs, chances, rtol=1e-5)


MORE = [(2, (1,), 1.0, False), (3, (1, 4), 1.0, True), (4, (1,), -1.0, False), (3, (), 1.0, False), (4, (1,), 2.0, False)]


@pytest.mark.parametrize(
    ("beams", "eos_ids", "length_penalty", "early_stopping"),
    [(3, (2,), 1.0, False), (4, (1, 4), 2.0, "never"), *(pytest.param(*case, marks=pytest.mark.slow) for case in MORE)],
)
def test_beam_search_by_lists(beams, eos_ids, length_penalty, early_stopping):
    changes = {"num_beams": beams, "eos_ids": eos_ids, "length_penalty": length_penalty, "early_stopping": early_stopping}
    scores, d = table(6, seed=2), replace(GREEDY, **changes)
    assert rows(run(scores, STARTS, d)) == [plain_beams(scores, state, d) for state in STARTS]


def test_one_beam_is_greedy():
    scores = table(6, seed=3)
    simple, single = run(scores, STARTS, GREEDY), run(scores, STARTS, GREEDY, search=beam_search)
    assert rows(single) == rows(simple)
    np.testing.assert_allclose(single.log_probs, simple.log_probs, rtol=1e-5)


@pytest.mark.parametrize("d", [GREEDY, BEAMS, DRAWN])
def test_a_row_does_not_know_its_batch(d):
    scores, keys = table(6, seed=4), KEYS if d.temperature else None
    order = np.roll(np.arange(12), 5)
    moved = run(scores, STARTS[order], d, keys=None if keys is None else keys[order])
    here = rows(run(scores, STARTS, d, keys=keys))
    assert rows(moved) == [here[i] for i in order]
    others = np.where(STARTS == 3, STARTS, STARTS + 40)
    assert rows(run(scores, others, d, keys=keys))[3] == here[3]


def test_the_end_may_have_to_wait():
    scores = table(6, seed=5)
    scores[:, 2] += 4  # it is nearly always the most likely
    made = rows(run(scores, STARTS, replace(GREEDY, min_new_tokens=3)))
    assert all(2 not in row[:3] for row in made)
    assert any(len(row) == 4 for row in made)


@pytest.mark.parametrize("beams", [1, 3])
def test_repeated_tokens_are_penalised(beams):
    scores = table(6, seed=6) - 20  # logits below 0: the penalty is a ban
    seen = np.zeros((12, 6), bool)
    seen[:, 3] = True  # in the prompt
    made = rows(run(scores, STARTS, Decoding(5, repetition_penalty=1e6, num_beams=beams), seen=seen))
    assert all(sorted(row) == [0, 1, 2, 4, 5] for row in made)


def drawn(d, logits, n=4000):
    scores = np.tile(np.asarray(logits, np.float32), (STATES, 1))
    made = run(scores, np.zeros(n, np.int32), d, keys=jax.random.split(jax.random.key(7), n))
    return np.bincount(np.asarray(made.tokens)[:, 0], minlength=len(logits)) / n


def test_draws_follow_the_distribution():
    chances = np.array([0.5, 0.3, 0.15, 0.05])
    cooled = chances**2 / (chances**2).sum()
    np.testing.assert_allclose(drawn(Decoding(1, temperature=0.5), np.log(chances)), cooled, atol=0.03)
    np.testing.assert_allclose(drawn(Decoding(1, temperature=1.0, top_k=2), np.log(chances)), [0.625, 0.375, 0, 0], atol=0.03)
    cut = Decoding(1, temperature=1.0, top_p=0.79)
    np.testing.assert_allclose(drawn(cut, np.log(chances)), [0.625, 0.375, 0, 0], atol=0.03)
    level = np.array([0.4, 0.38, 0.17, 0.05])  # the first two hold 0.78, so that a third is needed
    np.testing.assert_allclose(drawn(cut, np.log(level)), level * [1, 1, 1, 0] / 0.95, atol=0.03)


def test_keys_decide_draws():
    scores = table(6)
    a, again, b = (rows(run(scores, STARTS, DRAWN, keys=jax.random.split(jax.random.key(seed), 12))) for seed in (1, 1, 2))
    assert a == again
    assert a != b
    with pytest.raises(ValueError, match="one key a row"):
        run(scores, STARTS, DRAWN)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens 0"),
        ({"min_new_tokens": 40}, "min_new_tokens 40: 0 to 32"),
        ({"temperature": -1.0}, "temperature -1.0"),
        ({"top_p": 0.5}, "set a temperature"),
        ({"temperature": 1.0, "top_p": 0.0}, "top_p 0.0"),
        ({"temperature": 1.0, "top_k": -1}, "top_k -1"),
        ({"temperature": 1.0, "num_beams": 2}, "beam search draws nothing"),
        ({"num_beams": 0}, "num_beams 0"),
        ({"repetition_penalty": 0.0}, "repetition_penalty 0.0"),
        ({"early_stopping": "always"}, "early_stopping 'always'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, words):
    with pytest.raises(UsageError, match=words):
        Decoding(**options)
