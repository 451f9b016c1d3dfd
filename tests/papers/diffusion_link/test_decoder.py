"""The decoder: what it reads, what trains, what its sentences are, and that captions depend on clip, key and options alone."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.errors import UsageError
from audiojax.losses.tokens import token_cross_entropy
from audiojax.models import llama
from audiojax.models.decoding import Decoding
from audiojax.models.llama import LlamaConfig
from audiojax.papers import diffusion_link
from audiojax.papers.diffusion_link import decoder
from audiojax.papers.diffusion_link.writer import adapted, make_writer, next_token_logits, soft_prefix, write
from audiojax.partition import flat_paths, split_params
from tests.encoders.filling import fill
from tests.papers.diffusion_link.small import VOCAB, pairs, plain

CLIPS, LENGTH, NEW, END = 4, 10, 6, 3
SMALL = LlamaConfig(VOCAB, width=16, layers=1, heads=2, kv_heads=1, head_width=8, hidden=16, max_positions=40)
SIZES = (f"caption.max_tokens={LENGTH}", f"caption.max_new_tokens={NEW}", "model.prefix.hidden=12", "model.prefix.tokens=3")
KEYS = jax.vmap(jax.random.key)(np.arange(CLIPS))


@pytest.fixture(scope="module", autouse=True)
def small_llama():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(llama.PRESETS, "soundworld", SMALL)
        yield


def config_of(*overrides, words="debug,decoder"):
    return plain(*SIZES, *overrides, words=words)


def made(*overrides, words="debug,decoder"):
    """(writer, its variables)."""
    writer = make_writer(config_of(*overrides, words=words), VOCAB)
    return writer, fill(jax.eval_shape(lambda: decoder.init(writer, jax.random.key(0), {})))


def batch_of(captions=0, seed=0):
    """Pairs with sentences: the first token, a prompt of one, 2 to 7 words, the end; with `captions`, so many a clip."""
    rng = np.random.default_rng(seed)
    shape = (CLIPS, captions) if captions else (CLIPS,)
    ends = rng.integers(4, LENGTH, size=(*shape, 1))
    places = np.broadcast_to(np.arange(LENGTH), (*shape, LENGTH))
    ids = rng.integers(5, VOCAB, size=places.shape)
    ids[..., 0], ids[..., 1] = 2, 7
    ids = np.where(places == ends, END, np.where(places < ends, ids, 0)).astype(np.int32)
    found = {"sentence_ids": ids, "sentence_mask": places <= ends, "sentence_scored": (places >= 2) & (places <= ends)}
    stored = pairs(CLIPS)
    if captions:
        stored["text_embedding"] = np.repeat(stored["text_embedding"][:, None], captions, axis=1)
    return stored | found


@pytest.fixture(scope="module")
def model():
    return made()


def test_a_prefix_is_a_row_of_embeddings_of_the_direction_alone(model):
    """Note, check 10."""
    writer, variables = model
    e = pairs(CLIPS)["audio_embedding"]
    prefix = soft_prefix(writer, variables["params"], e)
    assert prefix.shape == (CLIPS, 3, SMALL.width)
    np.testing.assert_allclose(soft_prefix(writer, variables["params"], 7 * e), prefix, atol=1e-5)


def test_prefix_and_prompt_carry_no_loss(model):
    """Note, check 10: the loss is the mean cross entropy of the words and the end after the logits of a sentence with its prefix."""
    writer, variables = model
    batch, read = batch_of(), pairs(CLIPS)["text_embedding"]
    ids, mask, scored = (batch[f"sentence_{name}"] for name in ("ids", "mask", "scored"))
    prefix = soft_prefix(writer, variables["params"], read)
    embeds = writer.llama.apply(adapted(variables["params"]), ids, method="embed")
    whole = jnp.concatenate([embeds[:, :1], prefix, embeds[:, 1:]], axis=1)
    seen = np.concatenate([mask[:, :1], np.ones((CLIPS, 3), bool), mask[:, 1:]], axis=1)
    chances = jax.nn.log_softmax(writer.llama.apply(adapted(variables["params"]), whole, seen, train=False))
    total = sum(-float(chances[i, 3 + j - 1, ids[i, j]]) for i in range(CLIPS) for j in range(LENGTH) if scored[i, j])
    logits = next_token_logits(writer, variables["params"], read, ids, mask, train=False)
    each = np.asarray(token_cross_entropy(logits, ids[:, 1:]))
    assert each[scored[:, 1:]].sum() == pytest.approx(total, rel=1e-4)

    quiet, _ = made("caption.text_path=raw", "model.lora.dropout=0.0")
    value, _ = decoder.loss(quiet, variables["params"], variables["model_state"], batch, jax.random.key(0))
    assert float(value) == pytest.approx(total / scored.sum(), rel=1e-4)
    other = {**batch, "sentence_scored": scored & (np.arange(LENGTH) >= 3)[None]}
    assert float(decoder.loss(quiet, variables["params"], variables["model_state"], other, jax.random.key(0))[0]) != pytest.approx(
        float(value), rel=1e-3
    )


@pytest.mark.slow
def test_a_fresh_adapter_changes_nothing(model):
    """Note, check 11."""
    writer, _ = model
    fresh = jax.jit(lambda: decoder.init(writer, jax.random.key(0), {}))()["params"]
    ids, mask = (batch_of()[f"sentence_{name}"] for name in ("ids", "mask"))
    with_adapter = writer.llama.apply(adapted(fresh), ids, mask, train=False)
    plain_llama = writer.llama.clone(lora=None).apply({"params": fresh["llama"]}, ids, mask, train=False)
    np.testing.assert_allclose(with_adapter, plain_llama, atol=1e-5)
    trainable, frozen = split_params(fresh, config_of()["decoder"]["trainable"])
    assert set(trainable) == {"adapter", "head"}
    assert {path.rsplit("/", 1)[1] for path in flat_paths(trainable["adapter"])} == {"lora_a", "lora_b"}
    assert set(frozen) == {"towers", "bridge", "llama"}


@pytest.mark.parametrize("learn_from", ["text", pytest.param("audio", marks=pytest.mark.slow)])
def test_gradients_reach_adapter_and_head_alone(learn_from):
    """Note, check 11: the link has none at all; LLaMA and CLAP are frozen, see `tests.papers.test_frozen`."""
    writer, variables = made(f"caption.learn_from={learn_from}")

    def value(params):
        return decoder.loss(writer, params, variables["model_state"], batch_of(), jax.random.key(1))[0]

    gradients = jax.jit(jax.grad(value))(variables["params"])
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradients["bridge"]))
    for name in ("adapter", "head"):
        assert all(np.isfinite(leaf).all() and np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients[name]))


@pytest.mark.parametrize("text_path", ["link", "raw", "gaussian"])
def test_learning_from_texts_reads_no_sound(text_path):
    """Note, check 12: batches without any array of sounds are enough, and noise is another one for every key but raw's."""
    writer, variables = made(f"caption.text_path={text_path}")
    batch = {name: x for name, x in batch_of().items() if not name.startswith(("audio_", "waveform"))}
    first, same, other = (
        decoder.lesson(writer, variables["params"], variables["model_state"], batch, jax.random.key(seed), None) for seed in (0, 0, 1)
    )
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(first, same)
    assert np.array_equal(first, other) == (text_path == "raw")
    value, _ = decoder.loss(writer, variables["params"], variables["model_state"], batch, jax.random.key(0))
    assert np.isfinite(value)


def captions(model, keys=KEYS, rows=slice(None), **options):
    writer, variables = model
    sounds = {"audio_embedding": pairs(CLIPS)["audio_embedding"][rows]}
    prompt = np.tile(np.array([[2, 7]], np.int32), (len(keys), 1))
    how = Decoding(NEW, eos_ids=(END,), pad_id=END, **options)
    return write(writer, variables["params"], variables["model_state"], sounds, prompt, np.ones_like(prompt, bool), keys, how)


def test_the_same_key_writes_the_same_caption(model):
    """Note, check 13, greedy and drawn; a row depends on its clip and key alone."""
    for options in ({}, {"temperature": 1.0}):
        first, again = captions(model, **options), captions(model, **options)
        np.testing.assert_array_equal(first.tokens, again.tokens)
        order = np.array([2, 0, 3, 1])
        np.testing.assert_array_equal(captions(model, KEYS[order], order, **options).tokens, np.asarray(first.tokens)[order])
    others = captions(model, jax.vmap(jax.random.key)(np.arange(CLIPS) + 9), temperature=1.0)
    assert not np.array_equal(others.tokens, captions(model, temperature=1.0).tokens)


def test_four_beams_find_no_worse_than_greedy(model):
    """Note, check 13: without a penalty of length the score of a beam is its log-probability. That a beam of one is greedy is a test of
    `tests.models.test_decoding`."""
    greedy, four = captions(model), captions(model, num_beams=4, length_penalty=0.0)
    lengths = [np.minimum(np.asarray(found.words).sum(axis=1) + 1, NEW) for found in (greedy, four)]
    scores = [np.log(np.asarray(found.confidence)) * n for found, n in zip((greedy, four), lengths, strict=True)]
    assert (scores[1] >= scores[0] - 1e-4).all()


def test_without_noise_it_is_the_raw_baseline(model):
    """Note, check 14."""
    _, variables = model
    still, _ = made("bridge.start=0")
    raw, _ = made(words="debug,none,decoder")
    without = {**variables, "params": {name: tree for name, tree in variables["params"].items() if name != "bridge"}}
    np.testing.assert_array_equal(captions((still, variables)).tokens, captions((raw, without)).tokens)
    moved = captions(model)
    assert np.abs(np.asarray(moved.confidence) - np.asarray(captions((raw, without)).confidence)).max() > 1e-6


def test_predictions_are_scored_against_all_captions(model):
    writer, variables = model
    task = decoder.make(replace(writer, validation=replace(writer.validation, max_new_tokens=4)))
    found = jax.tree.map(np.asarray, jax.jit(task.predict)(variables["params"], variables["model_state"], batch_of(captions=2)))
    assert found["targets"].shape == found["words"].shape == (CLIPS, 2, LENGTH)
    assert not (found["words"] & (found["targets"] == END)).any()
    perfect = {**found, "tokens": found["targets"][:, 0], "written": found["words"][:, 0]}
    assert task.metrics({}, perfect, None)["captions/cider_d"] > 1 > task.metrics({}, found, None)["captions/cider_d"]
    assert np.isfinite(list(task.metrics({}, found, None).values())).all()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["caption.learn_from=sound"], "caption.learn_from' is 'sound'; it takes one of text, audio"),
        (["caption.text_path=blur"], "caption.text_path' is 'blur'; it takes one of link, raw, gaussian"),
        (["caption.variance=-1.0"], "caption.variance' is -1.0"),
        (["model.prefix.tokens=0"], "model.prefix.tokens' is 0"),
        (["phases=('decoder',)"], "'phases' has no 'link'"),
        (["init.llama="], "init.llama' is empty"),
    ],
)
def test_mistakes_that_would_show_late(overrides, words):
    with pytest.raises(UsageError, match=words):
        diffusion_link.PAPER.check(config_of(*overrides))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.llama_preset=gpt", "model.llama_preset' is 'gpt'"),
        ("caption.max_tokens=40", "49 positions in all.*has 40"),
        ("model.end=60", "model.end' is 60; the LLaMA has ids 0 to 59"),
        ("inference.num_beams=0", "num_beams 0: at least 1"),
    ],
)
def test_sizes_that_do_not_fit(override, words):
    with pytest.raises(UsageError, match=words):
        make_writer(config_of(override), VOCAB)
