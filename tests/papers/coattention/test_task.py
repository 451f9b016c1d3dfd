"""Co-attention as a task: losses by hand, layouts, stored states beside live towers, the search of a split, bad config (note, check 8)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.config import to_dict
from audiojax.errors import UsageError
from audiojax.losses.contrastive import nt_xent
from audiojax.metrics.retrieval import text_to_audio
from audiojax.models.co_attention import States, pair_scores
from audiojax.papers.coattention import Split, make_settings, make_task, search_split
from audiojax.papers.coattention.ranking import best, lifted
from audiojax.papers.coattention.task import PAPER, check, encoders, hand_over
from audiojax.partition import flat_paths, unmatched_rules
from tests.encoders.filling import fill
from tests.papers.coattention.towers import config_of, shrink

VOCAB, CLIPS, TOKENS = 60, 8, 8
scores_of = jax.jit(pair_scores, static_argnums=0)


@pytest.fixture(scope="module", autouse=True)
def small_towers():
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        yield


def plain(*overrides, words="debug"):
    return to_dict(config_of("data.windows=2", *overrides, words=words))


@pytest.fixture(scope="module")
def batch():
    """Eight clips of one or two windows, each with a caption."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, TOKENS + 1, size=CLIPS)
    return {
        "waveform": rng.normal(size=(CLIPS, 2, 61_440)).astype(np.float32) * 0.1,
        "windows": np.arange(2)[None] <= np.arange(CLIPS)[:, None] % 2,
        "text_ids": rng.integers(0, VOCAB, size=(CLIPS, TOKENS)).astype(np.int32),
        "text_mask": np.arange(TOKENS)[None] < lengths[:, None],
        "clip_index": np.array([0, 1, 2, 2, 4, 5, 6, 7], np.int32),
    }


@pytest.fixture(scope="module")
def variables(batch):
    return fill(jax.eval_shape(make_task(plain(), "pairs", vocab_size=VOCAB).init, jax.random.key(0), batch))


@pytest.fixture(scope="module")
def stored(variables, batch):
    """The batch with the towers' states in place of what they take."""
    both = encoders(plain(), vocab_size=VOCAB)
    towers = ({"towers": variables["params"]["towers"]}, variables["model_state"])
    return jax.jit(both.audio)(*towers, batch) | jax.jit(both.text)(*towers, batch) | {"clip_index": batch["clip_index"]}


def value(phase, variables, batch, *overrides):
    task = make_task(plain(*overrides), phase, vocab_size=VOCAB)
    return jax.jit(task.loss)(variables["params"], variables["model_state"], batch, jax.random.key(5))[0]


def states_of(batch):
    return States(batch["text_values"], batch["text_mask"]), States(batch["audio_values"], batch["audio_mask"])


def test_states_are_segments_of_windows_and_words(stored):
    assert stored["audio_values"].shape == (CLIPS, 2 * 8, 8)
    np.testing.assert_array_equal(stored["audio_mask"].sum(1), np.where(np.arange(CLIPS) % 2, 16, 8))
    assert stored["text_values"].shape == (CLIPS, TOKENS, 8)


def test_the_loss_of_pairs_is_nt_xent_of_all_scores(variables, stored):
    settings = make_settings(plain(), VOCAB)
    scores = np.asarray(scores_of(settings.cascade, variables["params"]["cascade"], *states_of(stored)), np.float64)
    logits = scores / 0.07
    logits[2, 3] = logits[3, 2] = -np.inf  # captions of one clip are no negatives of each other
    rows, columns = (np.mean(np.log(np.exp(x).sum(1)) - np.diag(x)) for x in (logits, logits.T))
    np.testing.assert_allclose(value("pairs", variables, stored), 0.5 * (rows + columns), rtol=1e-5)


def test_the_loss_of_the_dual_encoder_uses_its_cosines(variables, stored):
    settings = make_settings(plain(), VOCAB)
    text, audio = settings.dual.apply({"params": variables["params"]["dual"]}, *states_of(stored), train=False)
    both = [np.mean(nt_xent(x)) for x in (text @ audio.T, audio @ text.T)]
    np.testing.assert_allclose(value("contrastive", variables, stored, "loss.mask_same_audio=False"), np.mean(both), rtol=1e-5)


def test_a_fresh_model_knows_nothing(batch, stored):
    made = jax.jit(make_task(plain(), "pairs", vocab_size=VOCAB).init)(jax.random.key(1), batch)
    spread = stored | {"clip_index": np.arange(CLIPS)}
    np.testing.assert_allclose(value("pairs", made, spread, "loss.temperature=1.0"), np.log(CLIPS), atol=0.2)


def test_stored_states_stand_for_live_towers(variables, batch, stored):
    """So running frozen towers once changes nothing but the time."""
    live = value("pairs", variables, batch, "data.states=False")
    np.testing.assert_allclose(value("pairs", variables, stored), live, rtol=1e-5)
    clips = {name: x[:, None] if name.startswith("text") else x for name, x in batch.items()}
    kept = {name: x[:, None] if name.startswith("text") else x for name, x in stored.items()}
    predict = jax.jit(make_task(plain(), "pairs", vocab_size=VOCAB).predict)
    found, again = (predict(variables["params"], variables["model_state"], x) for x in (clips, kept))
    assert found.keys() == {"audio", "text", "audio_values", "audio_mask", "text_values", "text_mask"}
    for name in found:
        np.testing.assert_allclose(found[name], again[name], rtol=2e-5, atol=1e-5)


@pytest.mark.slow
def test_devices_share_the_pairs(variables, stored):
    """pmap over 8 devices, one text on each, gives the loss and the gradients of one device."""
    loss = make_task(plain(), "pairs", vocab_size=VOCAB).loss
    towers, cascade = ({name: x for name, x in variables["params"].items() if (name == "cascade") == wanted} for wanted in (False, True))

    def objective(cascade, batch, axis_name=None):
        return loss({**towers, **cascade}, variables["model_state"], batch, jax.random.key(5), axis_name=axis_name)[0]

    alone = jax.jit(jax.value_and_grad(objective))(cascade, stored)
    rows = jax.tree.map(lambda x: np.asarray(x)[:, None], stored)
    step = jax.pmap(lambda *x: jax.lax.pmean(jax.value_and_grad(objective)(*x, "data"), "data"), axis_name="data", in_axes=(None, 0))
    shared = jax.tree.map(lambda x: x[0], step(cascade, rows))
    for ours, theirs in zip(jax.tree.leaves(shared), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5)


def test_the_cascade_starts_from_the_dual_encoder(batch):
    before = fill(jax.eval_shape(make_task(plain(), "contrastive", vocab_size=VOCAB).init, jax.random.key(0), batch))["params"]
    taken = flat_paths(hand_over("pairs", before)["cascade"])
    assert taken == flat_paths(before["dual"])
    whole = flat_paths(jax.eval_shape(make_task(plain(), "pairs", vocab_size=VOCAB).init, jax.random.key(0), batch)["params"]["cascade"])
    assert set(taken) < set(whole)
    assert all(path.startswith("unit_0/") for path in set(whole) - set(taken))
    assert hand_over("contrastive", before) is before


@pytest.fixture(scope="module")
def split(variables, stored):
    """Eight clips with two captions each, the second of another clip's words."""
    rng = np.random.default_rng(2)
    network = make_settings(plain(), VOCAB).dual
    text, audio = states_of(jax.tree.map(np.asarray, stored))
    text = jax.tree.map(lambda x: np.concatenate([x, x[rng.permutation(CLIPS)]]), text)
    encode = partial(network.apply, {"params": variables["params"]["dual"]}, train=False)
    vectors = (np.asarray(encode(states, method=f"encode_{side}")) for side, states in (("audio", audio), ("text", text)))
    return Split(*vectors, audio, text, np.tile(np.arange(CLIPS), 2))


def test_a_search_without_a_shortlist_is_all_pairs(variables, split):
    settings = make_settings(plain(), VOCAB)
    whole = np.asarray(scores_of(settings.cascade, variables["params"]["cascade"], split.text_states, split.audio_states))
    found = search_split(settings.cascade, variables["params"], split, top_m=0)
    np.testing.assert_allclose(found["t2a"].scores, whole, atol=1e-5)
    np.testing.assert_allclose(found["a2t"].scores, whole.T, atol=1e-5)
    assert found["t2a"].summary()["t2a/mAP@10"] == text_to_audio(whole, split.clip_index).summary()["mAP@10"]


def test_a_shortlist_stays_above_the_rest(variables, split):
    settings = make_settings(plain(), VOCAB)
    whole, short = (search_split(settings.cascade, variables["params"], split, top_m=m, directions=("t2a",))["t2a"] for m in (0, 3))
    top = best(short.similarity, 3)
    np.testing.assert_allclose(np.take_along_axis(short.scores, top, 1), np.take_along_axis(whole.scores, top, 1), atol=1e-5)
    order = np.argsort(-short.scores, axis=1)
    np.testing.assert_array_equal(np.sort(order[:, :3], axis=1), np.sort(top, axis=1))
    rest = np.array([[j for j in row if j not in some] for row, some in zip(best(short.similarity, 0), top, strict=True)])
    np.testing.assert_array_equal(order[:, 3:], rest)


def test_devices_share_a_search(variables, split):
    settings = make_settings(plain(), VOCAB)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.device_put(variables["params"], jax.NamedSharding(mesh, jax.P()))
    one, eight = (search_split(settings.cascade, params, split, top_m=3)["t2a"] for params in (variables["params"], spread))
    np.testing.assert_allclose(eight.scores, one.scores, atol=1e-6)


def test_without_a_cascade_the_dual_encoder_ranks(variables, split):
    params = {name: x for name, x in variables["params"].items() if name != "cascade"}
    found = search_split(make_settings(plain(), VOCAB).cascade, params, split, top_m=3)["a2t"]
    assert found.scores is found.similarity
    assert not any("cosine" in key for key in found.summary())


def test_equal_candidates_keep_their_order():
    np.testing.assert_array_equal(best(np.array([[1.0, 2.0, 2.0, 0.0]]), 2), [[1, 2]])
    np.testing.assert_array_equal(lifted(np.array([[0.5, -1.0, 1.0]]), np.array([[2]]), np.array([[-1.0]])), [[-3.5, -5.0, -1.0]])


def test_widths_of_the_cascade_are_split_by_rule(variables):
    assert not unmatched_rules(make_task(plain(), "pairs", vocab_size=VOCAB).partition_rules, variables["params"])


@pytest.mark.parametrize("words", ["single", "stack", "iterate", "dual"])
def test_arguments_name_the_cascade(words):
    config = plain(words=f"debug,{words}")
    assert config["phases"] == (("contrastive",) if words == "dual" else ("contrastive", "pairs"))
    assert words in ("dual", config["model"]["cascade"]["cascade"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("init.audio=", "'init.audio' is empty, and the towers are frozen"),
        ("contrastive.trainable=.*", "'contrastive.trainable' trains the towers, and data.states runs them once"),
        ("model.cascade.depth=0", "'model.cascade.depth' is 0; it takes 1 or more"),
        ("inference.top_m=-1", "'inference.top_m' is -1; it takes 0 or more"),
    ],
)
def test_what_cannot_work_is_named(override, message):
    with pytest.raises(UsageError, match=message):
        check(plain(override))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.front_end=fusion", "the segments of a fused CLAP have no place in time"),
        ("data.seconds=5.0", "takes windows of 61440 samples at 16000 Hz; data.seconds and data.sample_rate give 80000 at 16000 Hz"),
        ("model.cascade.unit=other", "'model.cascade.unit' is 'other'; it takes one of guided, affinity"),
        ("model.cascade.cascade=loop", "it takes one of single, stack, iterate, encdec"),
    ],
)
def test_what_cannot_be_built_is_named(override, message):
    with pytest.raises(UsageError, match=message):
        PAPER.make_task(plain(override), "pairs", vocab_size=VOCAB)


@pytest.mark.slow
@pytest.mark.parametrize("cascade", ["single", "stack", "iterate"])
def test_sixteen_random_pairs_are_learned_by_heart(cascade):
    """Note, check 11."""
    import optax

    rng = np.random.default_rng(0)
    network = make_settings(plain("model.cascade.width=32", "model.cascade.hidden=64", f"model.cascade.cascade={cascade}"), VOCAB).cascade
    text, audio = (States(rng.normal(size=(16, 4, 8)).astype(np.float32), np.ones((16, 4), bool)) for _ in range(2))
    params = network.init(jax.random.key(0), text, audio, train=False)["params"]
    optimizer = optax.adam(2e-3)

    @jax.jit
    def step(params, state):
        def objective(params):
            scores = pair_scores(network, params, text, audio)
            return jnp.mean(nt_xent(scores) + nt_xent(scores.T))

        gradient = jax.grad(objective)(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for _ in range(150):
        params, state = step(params, state)
    ranks = text_to_audio(np.asarray(pair_scores(network, params, text, audio)), np.arange(16))
    assert ranks.summary()["mAP@10"] == 1.0
