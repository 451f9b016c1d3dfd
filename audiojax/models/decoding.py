"""Generation of token sequences: greedy, sampled, or by beam search, as one `lax.while_loop` with static shapes.

Nothing here knows the network. It is given as logits of the first new token, a cache, and a function `step` from (tokens, cache, index)
to the logits after these tokens and the new cache; every array of the cache has the row as its first axis. Row i of the result depends on
row i of the inputs alone, so that rows may be batched in any way. Scores are float32.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Bool, Float, Int, Key

from audiojax.errors import UsageError
from audiojax.typing import Array

Step = Callable[[Int[Array, "b"], Any, Int[Array, ""]], tuple[Float[Array, "b v"], Any]]
NEVER = -1e9  # score of a hypothesis that must not win


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen.

    Attributes:
      max_new_tokens: at most so many, the end token included.
      min_new_tokens: no end token before so many others.
      eos_ids: tokens that end a sequence; none means that all have `max_new_tokens`.
      pad_id: what follows the end.
      temperature: 0 takes the most likely token; above 0 tokens are drawn from softmax(logits / temperature).
      top_k: draw from the k most likely tokens; 0 for all.
      top_p: draw from the fewest most likely tokens that hold this share of the probability, and those as likely as the last of them.
      repetition_penalty: logits of tokens that were seen, in the prompt or since, are divided by it where positive and multiplied
        elsewhere (arXiv 1909.05858, section 4.1); beam search does so with log-probabilities, as transformers does.
      num_beams: hypotheses of beam search; 1 for none.
      length_penalty: finished hypotheses are ranked by log-probability / length^length_penalty, the length without the prompt.
      early_stopping: when a row is done, once `num_beams` hypotheses have ended. True: at once. False (transformers' default): when the
        best open one, divided by its present length^length_penalty, is no better than the worst finished one. "never": the same, with
        the largest possible length where the penalty is positive, so that no open hypothesis could still win.
    """

    max_new_tokens: int = 32
    min_new_tokens: int = 0
    eos_ids: tuple[int, ...] = ()
    pad_id: int = 0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False

    def __post_init__(self):
        object.__setattr__(self, "eos_ids", tuple(self.eos_ids))  # jit needs a value with a hash, and config files have lists
        checks = (
            (self.max_new_tokens >= 1, f"max_new_tokens {self.max_new_tokens}: at least 1"),
            (0 <= self.min_new_tokens <= self.max_new_tokens, f"min_new_tokens {self.min_new_tokens}: 0 to {self.max_new_tokens}"),
            (self.temperature >= 0, f"temperature {self.temperature}: 0 (most likely token) or above"),
            (self.top_k >= 0, f"top_k {self.top_k}: 0 (all) or above"),
            (0 < self.top_p <= 1, f"top_p {self.top_p}: above 0, at most 1"),
            (self.repetition_penalty > 0, f"repetition_penalty {self.repetition_penalty}: above 0"),
            (self.num_beams >= 1, f"num_beams {self.num_beams}: at least 1"),
            (self.early_stopping in (True, False, "never"), f"early_stopping {self.early_stopping!r}: True, False or 'never'"),
            (self.temperature > 0 or (not self.top_k and self.top_p == 1), "top_k and top_p choose what is drawn: set a temperature"),
            (self.temperature == 0 or self.num_beams == 1, "beam search draws nothing: leave temperature at 0 or num_beams at 1"),
        )
        for good, words in checks:
            if not good:
                raise UsageError(words)


class Generated(NamedTuple):
    """What was generated.

    Attributes:
      tokens: [b, max_new_tokens], `pad_id` after the end.
      lengths: [b], tokens of each row, the end token included.
      log_probs: [b], sum of the log-probabilities of these tokens; in beam search, after the repetition penalty.
    """

    tokens: Array
    lengths: Array
    log_probs: Array


def seen_tokens(ids: Int[Array, "b l"], mask: Bool[Array, "b l"], vocab_size: int) -> Bool[Array, "b v"]:
    """Which tokens a prompt holds, for the repetition penalty."""
    rows = jnp.arange(ids.shape[0])[:, None]
    return jnp.zeros((ids.shape[0], vocab_size), bool).at[rows, ids].max(mask)


def decode(
    logits: Float[Array, "b v"],
    cache: Any,
    step: Step,
    decoding: Decoding,
    *,
    keys: Key[Array, "b"] | None = None,
    seen: Bool[Array, "b v"] | None = None,
) -> Generated:
    """Generates one sequence a row.

    Args:
      logits: of the first new token.
      step: is called with index 0, 1, ...: how many tokens were generated before those it is given.
      keys: one a row, where temperature > 0; row i is a function of key i.
      seen: tokens of the prompt; None where the repetition penalty is for generated tokens alone.
    """
    if decoding.temperature > 0 and keys is None:
        raise ValueError("drawing tokens (temperature > 0) takes one key a row")
    if decoding.repetition_penalty == 1:
        seen = None
    elif seen is None:
        seen = jnp.zeros(logits.shape, bool)
    if decoding.num_beams > 1:
        return beam_search(logits, cache, step, decoding, seen)
    return _one_by_one(logits, cache, step, decoding, keys, seen)


class _Rows(NamedTuple):
    index: Array  # tokens so far
    tokens: Array  # [b, max_new_tokens]
    log_probs: Array  # [b]
    done: Array  # [b]
    seen: Array | None  # [b, v]
    cache: Any


def _one_by_one(logits, cache, step, decoding, keys, seen):
    rows = jnp.arange(logits.shape[0])

    def choose(state, logits):
        scores = _processed(logits, state.seen, state.index, decoding)
        if decoding.temperature == 0:
            token = jnp.argmax(scores, axis=-1)
        else:
            drawn = jax.vmap(lambda key, row: jax.random.categorical(jax.random.fold_in(key, state.index), row))
            token = drawn(keys, _narrowed(scores / decoding.temperature, decoding))
        chance = jnp.take_along_axis(jax.nn.log_softmax(logits), token[:, None], axis=1)[:, 0]
        token = jnp.where(state.done, decoding.pad_id, token).astype(jnp.int32)
        return _Rows(
            state.index + 1,
            state.tokens.at[:, state.index].set(token),
            state.log_probs + jnp.where(state.done, 0.0, chance),
            state.done | _ends(token, decoding),
            None if state.seen is None else state.seen.at[rows, token].max(~state.done),
            state.cache,
        )

    def advance(state):
        logits, cache = step(state.tokens[:, state.index - 1], state.cache, state.index - 1)
        return choose(state._replace(cache=cache), logits)

    empty = jnp.full((len(rows), decoding.max_new_tokens), decoding.pad_id, jnp.int32)
    start = _Rows(jnp.int32(0), empty, jnp.zeros(len(rows)), jnp.zeros(len(rows), bool), seen, cache)
    end = lax.while_loop(lambda s: (s.index < decoding.max_new_tokens) & ~jnp.all(s.done), advance, choose(start, logits))
    return Generated(end.tokens, _lengths(end.tokens, decoding), end.log_probs)


class _Beams(NamedTuple):
    index: Array
    tokens: Array  # [b, k, max_new_tokens], open hypotheses, best first
    log_probs: Array  # [b, k]
    ended: Array  # [b, k, max_new_tokens], finished hypotheses, best first
    ended_scores: Array  # [b, k]
    full: Array  # [b, k], which of them there are
    hopeful: Array  # [b], whether an open one may still be better
    seen: Array | None  # [b, k, v]
    cache: Any  # rows of all beams, [b * k, ...]


def beam_search(
    logits: Float[Array, "b v"], cache: Any, step: Step, decoding: Decoding, seen: Bool[Array, "b v"] | None = None
) -> Generated:
    """The best hypothesis of each row, with transformers' rules; `decode` calls it where num_beams > 1. The arguments are as there.

    From the (1 + end tokens) * k best continuations of k beams, the best k that have not ended go on, and those that have ended and are
    among the best k of all join the finished ones. At max_new_tokens every hypothesis ends.
    """
    batch, vocab = logits.shape
    k, longest = decoding.num_beams, decoding.max_new_tokens
    kept = min(max(2, 1 + len(decoding.eos_ids)) * k, k * vocab)

    def spread(x):
        return jnp.repeat(x, k, axis=0)  # [b, ...] -> [b * k, ...]

    def expand(state, logits):
        log_probs = jax.nn.log_softmax(logits.reshape(batch, k, vocab))
        log_probs = _processed(log_probs, state.seen, state.index, decoding) + state.log_probs[:, :, None]
        scores, flat = lax.top_k(log_probs.reshape(batch, k * vocab), kept)  # [b, kept]
        parents, token = flat // vocab, (flat % vocab).astype(jnp.int32)
        tokens = _gather(state.tokens, parents).at[:, :, state.index].set(token)
        ends = _ends(token, decoding) | (state.index + 1 == longest)

        open_scores, order = lax.top_k(jnp.where(ends, scores + NEVER, scores), k)
        parents = jnp.take_along_axis(parents, order, axis=1)
        rows = (jnp.arange(batch)[:, None] * k + parents).reshape(-1)

        finished = ends & (jnp.arange(kept) < k)[None]
        blocked = ~finished | ~state.hopeful[:, None]
        if decoding.early_stopping is True:
            blocked |= jnp.all(state.full, axis=1, keepdims=True)
        length = (state.index + 1).astype(jnp.float32)
        ranked = jnp.where(blocked, NEVER, scores / length**decoding.length_penalty)
        ended_scores, best = lax.top_k(jnp.concatenate([state.ended_scores, ranked], axis=1), k)
        full = jnp.take_along_axis(jnp.concatenate([state.full, ~blocked], axis=1), best, axis=1)

        reach = longest if decoding.early_stopping == "never" and decoding.length_penalty > 0 else length
        hope = open_scores[:, :1] / jnp.asarray(reach, jnp.float32) ** decoding.length_penalty
        worst = jnp.where(full, jnp.min(ended_scores, axis=1, keepdims=True), NEVER)
        hopeful = state.hopeful & jnp.any(hope > worst, axis=1)
        if decoding.early_stopping is True:
            hopeful &= ~jnp.all(full, axis=1)

        new = jnp.take_along_axis(token, order, axis=1)
        seen = None
        if state.seen is not None:
            seen = _gather(state.seen, parents).at[jnp.arange(batch)[:, None], jnp.arange(k)[None], new].set(True)
        return _Beams(
            state.index + 1,
            _gather(tokens, order),
            open_scores,
            _gather(jnp.concatenate([state.ended, tokens], axis=1), best),
            ended_scores,
            full,
            hopeful,
            seen,
            jax.tree.map(lambda x: x[rows], state.cache),
        )

    def advance(state):
        flat = state.tokens[:, :, state.index - 1].reshape(-1)
        logits, cache = step(flat, state.cache, state.index - 1)
        return expand(state._replace(cache=cache), logits)

    empty = jnp.full((batch, k, longest), decoding.pad_id, jnp.int32)
    first = jnp.where(jnp.arange(k) == 0, 0.0, NEVER)  # all beams are one at first
    start = _Beams(
        jnp.int32(0),
        empty,
        jnp.tile(first[None], (batch, 1)),
        empty,
        jnp.full((batch, k), NEVER),
        jnp.zeros((batch, k), bool),
        jnp.ones(batch, bool),
        None if seen is None else spread(seen).reshape(batch, k, vocab),
        jax.tree.map(spread, cache),
    )
    end = lax.while_loop(lambda s: (s.index < longest) & jnp.any(s.hopeful), advance, expand(start, spread(logits)))
    tokens = end.ended[:, 0]
    lengths = _lengths(tokens, decoding)
    return Generated(tokens, lengths, end.ended_scores[:, 0] * lengths.astype(jnp.float32) ** decoding.length_penalty)


def _processed(scores, seen, index, decoding):
    """Scores [..., v] after the repetition penalty, with no end token where it would come too early."""
    if seen is not None:
        penalty = decoding.repetition_penalty
        scores = jnp.where(seen, jnp.where(scores < 0, scores * penalty, scores / penalty), scores)
    if decoding.min_new_tokens and decoding.eos_ids:
        ends = jnp.zeros(scores.shape[-1], bool).at[jnp.array(decoding.eos_ids)].set(True)
        early = jnp.expand_dims(ends, range(scores.ndim - 1)) & (index < decoding.min_new_tokens)
        scores = jnp.where(early, -jnp.inf, scores)
    return scores


def _narrowed(scores, decoding):
    """Scores [b, v] with minus infinity for the tokens that `top_k` and `top_p` leave out."""
    if 0 < decoding.top_k < scores.shape[-1]:
        scores = jnp.where(scores < lax.top_k(scores, decoding.top_k)[0][:, -1:], -jnp.inf, scores)
    if decoding.top_p < 1:
        falling = -jnp.sort(-scores, axis=-1)
        chances = jax.nn.softmax(falling, axis=-1)
        before = jnp.cumsum(chances, axis=-1) - chances
        least = jnp.min(jnp.where(before < decoding.top_p, falling, jnp.inf), axis=-1, keepdims=True)
        scores = jnp.where(scores < least, -jnp.inf, scores)
    return scores


def _ends(token, decoding):
    """Whether each token is an end token."""
    if not decoding.eos_ids:
        return jnp.zeros(token.shape, bool)
    ids = jnp.expand_dims(jnp.array(decoding.eos_ids), range(token.ndim))
    return jnp.any(token[..., None] == ids, axis=-1)


def _lengths(tokens, decoding):
    """Tokens of each row [b, t] up to the first end token, itself included."""
    ends = _ends(tokens, decoding)
    return jnp.where(jnp.any(ends, axis=1), jnp.argmax(ends, axis=1) + 1, tokens.shape[1]).astype(jnp.int32)


def _gather(x, index):
    """x [b, n, ...] at `index` [b, m] along its second axis."""
    return jnp.take_along_axis(x, jnp.expand_dims(index, range(2, x.ndim)), axis=1)
