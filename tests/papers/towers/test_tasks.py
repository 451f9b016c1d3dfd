"""Every tower's task, a few channels wide: it learns one batch, its predictions are of single rows, and bad configs are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from audiojax.audio.spectral import MelConfig
from audiojax.config import load_config, to_dict
from audiojax.data.soundworld.classes import CLASSES
from audiojax.encoders import audiomae, beats, bert, clap, panns, t5
from audiojax.encoders.audiomae import AudioMaeConfig
from audiojax.encoders.beats import BeatsConfig
from audiojax.encoders.bert import BertConfig
from audiojax.encoders.clap import ClapConfig
from audiojax.encoders.htsat import HtsatConfig
from audiojax.encoders.panns import PannsConfig
from audiojax.encoders.t5 import T5Config
from audiojax.errors import UsageError
from audiojax.metrics.retrieval import retrieval_scores
from audiojax.models import llama
from audiojax.models.llama import LlamaConfig
from audiojax.papers import PAPERS
from audiojax.papers.towers import contrastive, detection, reconstruction, tagging, words
from audiojax.papers.towers.task import PHASES_OF
from audiojax.partition import split_params
from audiojax.text.tokenizer import CLS, PAD, SEP, SPECIAL, Tokenizer
from audiojax.towers import clap_features
from audiojax.towers.clap_features import ClapFrontEnd
from tests.encoders.filling import fill

VOCAB, ROWS, LENGTH, SAMPLES, STEPS = 40, 8, 14, 7_680, 8
QUIET = ("model.spec_augment.time_stripes=0", "model.spec_augment.mel_stripes=0")
MEL = MelConfig(16_000, n_fft=512, win_length=512, hop=240, n_mels=16, f_min=50, f_max=8_000, padding="same")
TRAINED = {"clap/detection": load_config("towers/soundworld:clap,debug").detection.trainable}
TEXT = BertConfig(width=16, layers=1, heads=2, hidden=16, max_positions=20, padding_id=1, pooler=True)
AUDIO = HtsatConfig(image=32, mels=16, channels=8, depths=(1, 1), heads=(2, 2), window=4, sample_rate=16_000)


@pytest.fixture(scope="module", autouse=True)
def narrow():
    """The tiny presets with a few channels, on clips of half a second."""
    sizes = {"width": 20, "layers": 1, "heads": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(clap.PRESETS, "tiny", ClapConfig(text=TEXT, audio=AUDIO, projection=8))
        patch.setitem(clap_features.PRESETS, "tiny", ClapFrontEnd(MEL, SAMPLES))
        patch.setitem(audiomae.PRESETS, "tiny", AudioMaeConfig(frames=48, mels=32, **sizes))
        beats_sizes = {"embed": 8, "hidden": 16, "kernel": 4, "groups": 2, "buckets": 8, "max_distance": 8}
        patch.setitem(beats.PRESETS, "tiny", BeatsConfig(mels=32, **sizes, **beats_sizes))
        patch.setitem(bert.PRESETS, "tiny", BertConfig(hidden=16, max_positions=20, **sizes))
        patch.setitem(t5.PRESETS, "tiny", T5Config(hidden=16, gated=True, head_width=8, **sizes))
        speaker = LlamaConfig(width=16, layers=1, heads=2, kv_heads=1, head_width=8, hidden=16, max_positions=20)
        patch.setitem(llama.PRESETS, "soundworld", speaker)
        patch.setitem(panns.PRESETS["cnn14"], "tiny", PannsConfig(channels=(4, 8), input_pool=(8, 8), sample_rate=16_000))
        yield


def config(tower, *overrides):
    small = ["data.seconds=0.48", f"data.max_tokens={LENGTH}"]
    narrow_decoder = ["model.decoder.width=8", "model.decoder.layers=1", "model.decoder.heads=2"]
    small += {"audiomae": narrow_decoder, "llama": []}.get(tower, ["model.dropout=0.0"])
    small += QUIET if tower in ("clap", "beats", "tagger") else []
    return to_dict(load_config(f"towers/soundworld:{tower},debug", (*small, *overrides)))


def task(name, *overrides):
    """Of a tower's last phase, or of "tower/phase"."""
    tower, _, phase = name.partition("/")
    return PAPERS["towers"].make_task(config(tower, *overrides), phase or PHASES_OF[tower][0][-1], vocab_size=VOCAB)


def make_batch():
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, LENGTH + 1, size=ROWS)
    mask = np.arange(LENGTH)[None, :] < lengths[:, None]
    ids = np.where(mask, rng.integers(len(SPECIAL), VOCAB, size=mask.shape), PAD)
    ids[:, 0], ids[np.arange(ROWS), lengths - 1] = CLS, SEP
    return {
        "waveform": jnp.asarray(rng.normal(size=(ROWS, SAMPLES)) * rng.uniform(0.01, 0.3, size=(ROWS, 1)), jnp.float32),
        "text_ids": jnp.asarray(ids, jnp.int32),
        "text_mask": jnp.asarray(mask),
        "clip_index": jnp.arange(ROWS, dtype=jnp.int32),
        "labels": jnp.asarray(rng.uniform(size=(ROWS, STEPS, len(CLASSES))) < 0.2, jnp.float32),
    }


def some(quick, slow):
    """Towers as parameters, some of them marked slow: compiling the step of each takes seconds."""
    return [*quick, *(pytest.param(name, marks=pytest.mark.slow) for name in slow)]


def variables_of(the_task, batch):
    """Fresh variables in float32, drawn without a compiled program."""
    return fill(jax.eval_shape(the_task.init, jax.random.key(0), batch))


@pytest.mark.parametrize("tower", some(["bert", "llama", "tagger"], ["clap", "clap/detection", "audiomae", "beats", "t5"]))
def test_a_tower_learns_one_batch(tower):
    the_task, batch, tx = task(tower), make_batch(), optax.adam(5e-3)
    made = variables_of(the_task, batch)

    @jax.jit
    def step(params, model_state, opt_state):
        def objective(params):
            return the_task.loss(params, model_state, batch, jax.random.key(5))

        (loss, (model_state, reported)), grads = jax.value_and_grad(objective, has_aux=True)(params)
        updates, opt_state = tx.update(grads, opt_state)
        trained, _ = split_params(grads, TRAINED.get(tower, ".*"))
        largest = jnp.stack([jnp.max(jnp.abs(g)) for g in jax.tree.leaves(trained)])
        return loss, largest, reported, (optax.apply_updates(params, updates), model_state, opt_state)

    first, largest, reported, state = step(made["params"], made["model_state"], tx.init(made["params"]))
    assert np.isfinite(largest).all()
    assert np.mean(np.asarray(largest) > 0) > 0.9  # biases of keys, and tables of one row, have no gradient
    assert all(np.ndim(value) == 0 and np.isfinite(value) for value in reported.values())
    for _ in range(20):
        last, _, _, state = step(*state)
    assert float(last) < 0.9 * float(first)
    assert jax.tree.structure(state[1]) == jax.tree.structure(made["model_state"])
    if tower == "audiomae":
        np.testing.assert_array_equal(*(jax.tree.leaves(tree)[0] for tree in (state[1], made["model_state"])))
    elif tower in ("clap", "tagger"):
        assert any(np.any(a != b) for a, b in zip(*(jax.tree.leaves(tree) for tree in (state[1], made["model_state"])), strict=True))


@pytest.mark.parametrize("tower", some(["audiomae", "t5"], ["bert", "llama", "clap", "clap/detection", "beats"]))
def test_a_prediction_is_of_its_row_alone(tower):
    """Masks too: they come from the clip's number, so that evaluations of one model are equal."""
    the_task, batch = task(tower), make_batch()
    made = variables_of(the_task, batch)
    batch |= {name: jnp.stack([batch[name], jnp.roll(batch[name], 1, axis=0)], axis=1) for name in ("text_ids", "text_mask")}
    predict, order = jax.jit(the_task.predict), np.array([3, 1, 7, 0, 2, 6, 5, 4])
    whole = predict(made["params"], made["model_state"], batch)
    moved = predict(made["params"], made["model_state"], jax.tree.map(lambda x: x[order], batch))
    for name, rows in whole.items():
        assert len(rows) == ROWS
        np.testing.assert_allclose(np.asarray(rows)[order], moved[name], rtol=1e-4, atol=1e-5)
    scores = the_task.metrics(made["params"], jax.tree.map(np.asarray, whole), jax.random.key(0))
    assert np.isfinite(scores[the_task.select])


@pytest.mark.parametrize("tower", some(["bert"], ["llama", "clap", "clap/detection"]))
def test_pmap_and_one_device_have_equal_gradients(tower):
    """Though rows hide different numbers of words, negatives lie on other devices, and statistics are those of the whole batch."""
    the_task, batch = task(tower), make_batch()
    made = variables_of(the_task, batch)

    def step(params, batch, axis_name=None):
        def objective(params):
            return the_task.loss(params, made["model_state"], batch, jax.random.key(5), axis_name=axis_name)

        (loss, _), grads = jax.value_and_grad(objective, has_aux=True)(params)
        return jax.lax.pmean((loss, grads), axis_name) if axis_name else (loss, grads)

    one = jax.jit(step)(made["params"], batch)
    split = jax.tree.map(lambda x: x.reshape(4, 2, *x.shape[1:]), batch)
    mapped = jax.pmap(lambda p, b: step(p, b, "data"), axis_name="data", in_axes=(None, 0), out_axes=None)(made["params"], split)
    np.testing.assert_allclose(float(mapped[0]), float(one[0]), rtol=1e-5)
    difference = jax.tree.map(lambda a, b: jnp.asarray(np.asarray(a) - np.asarray(b)), one[1], mapped[1])
    assert float(optax.tree.norm(difference)) <= 1e-4 * float(optax.tree.norm(one[1]))


def test_learned_scales_end_at_one_hundred():
    assert float(contrastive.scale_of(jnp.log(14.0))) == pytest.approx(14)
    assert float(contrastive.scale_of(jnp.asarray(9.0))) == pytest.approx(100)


def test_scores_of_words_count_words():
    correct = np.array([[[1, 1, 0]], [[0, 1, 1]]], bool)
    scored = np.array([[[1, 0, 1]], [[1, 1, 0]]], bool)
    predictions = {"correct": correct, "scored": scored, "cross_entropy": np.array([[[1.0, 9, 2]], [[3, 4, 9]]])}
    assert words.metrics({}, predictions, None) == {"accuracy": 0.5, "cross_entropy": 2.5}
    right, total = words.accuracy_counts(predictions)
    assert (right.tolist(), total.tolist()) == ([1, 1], [2, 2])


def test_an_answer_that_knows_nothing_explains_nothing():
    found = reconstruction.metrics({}, {"error": np.array([0.5, 1.0]), "blind": np.array([1.0, 1.0])}, None)
    assert found == {"error": 0.75, "explained": 0.25}


def test_tag_loss_is_finite_where_a_probability_is_not_free():
    p, y = jnp.asarray([[0.0, 1.0, 0.25]]), jnp.asarray([[0.0, 1.0, 1.0]])
    np.testing.assert_allclose(tagging.tag_loss(p, y), [-np.log(0.25)], rtol=1e-5)
    assert np.isfinite(tagging.tag_loss(p, 1 - y)).all()


def test_labels_of_runs_are_those_of_their_steps():
    labels = jnp.asarray([[[0, 1], [0, 0], [1, 0], [0, 0], [0, 0], [1, 1], [1, 1]]], jnp.float32)
    assert detection.at_rate(labels, 3).tolist() == [[[0, 1], [1, 0], [1, 1]]]  # the seventh step is left over
    np.testing.assert_array_equal(detection.at_rate(labels, 7), labels)
    with pytest.raises(ValueError, match="labels of 7 steps, and the tower tells 8 apart"):
        detection.at_rate(labels, 8)


def test_contrastive_clap_starts_from_the_detector_without_its_head():
    batch, hand_over = make_batch(), PAPERS["towers"].hand_over
    first, then = (jax.eval_shape(task(name).init, jax.random.key(0), batch) for name in ("clap/detection", "clap"))
    assert jax.tree.structure(hand_over("contrastive", first["params"])) == jax.tree.structure(then["params"])
    assert jax.tree.structure(first["model_state"]) == jax.tree.structure(then["model_state"])


def test_retrieval_scores_see_every_caption():
    audio, text = np.eye(3), np.stack([np.eye(3), np.eye(3)[::-1]], axis=1)
    found = contrastive.metrics({}, {"audio": audio, "text": text}, None)
    assert found == retrieval_scores(text.reshape(6, 3) @ audio.T, np.array([0, 0, 1, 1, 2, 2]))
    assert found["t2a/R@1"] == pytest.approx(4 / 6)


@pytest.mark.parametrize(
    ("tower", "override", "words"),
    [
        ("clap", "model.preset=huge", "model.preset' is 'huge'.*tiny"),
        ("clap", "model.front_end=plain", "model.front_end' is 'plain'.*tiny"),
        ("clap", "data.seconds=0.5", "takes clips of 7680 samples.*gives 8000"),
        ("clap", "data.sample_rate=8000", "takes 16000 Hz.*8000"),
        ("bert", "data.max_tokens=21", "max_tokens is 21.*20 positions"),
        ("llama", "data.max_tokens=21", "max_tokens is 21.*20 positions"),
        ("beats", "model.dtype=float8", "model.dtype"),
        ("tagger", "model.mel=panns_32k", "32000 Hz"),
        ("audiomae", "model.masked=1.0", "model.masked' is 1.0"),
    ],
)
def test_bad_values_name_the_key(tower, override, words):
    with pytest.raises(UsageError, match=words):
        task(tower, override)


def test_mistakes_that_would_show_late(tmp_path):
    check = PAPERS["towers"].check
    check(config("beats"))
    with pytest.raises(UsageError, match="data.labels' is False"):
        check(config("beats", "data.labels=False"))
    with pytest.raises(UsageError, match="takes .'masked_lm'"):
        check(config("bert", "phases=('tagging',)"))
    check(config("clap"))
    check(config("clap", "phases=('contrastive',)", "data.labels=False", "contrastive.trainable=.*"))
    with pytest.raises(UsageError, match="'contrastive.trainable' is '..text.*nothing else teaches audio/encoder/"):
        check(config("clap", "phases=('contrastive',)"))
    with pytest.raises(UsageError, match="model.tower' is 'vggish'; it takes one of clap"):
        check(config("bert", "model.tower=vggish"))
    trained = Tokenizer.train(["rain falls", "a dog barks"], 60)
    assert trained.backend.convert_tokens_to_ids(list(SPECIAL.values())) == list(range(5))
    trained.save(tmp_path / "ours")
    check(config("bert", f"tokenizer.folder={tmp_path / 'ours'}"))
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "vocab.txt").write_text("\n".join(["[PAD]", "rain", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
    (tmp_path / "theirs" / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    with pytest.raises(UsageError, match="that audiojax trained"):
        check(config("bert", f"tokenizer.folder={tmp_path / 'theirs'}"))
