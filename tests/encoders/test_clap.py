"""CLAP: published sizes, transformers' outputs from a golden file, and what batch and jit must not change."""

from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.encoders.clap import PRESETS, Clap, ClapConfig, ClapText
from audiojax.encoders.htsat import HtsatConfig
from audiojax.pretrained import clap
from tests.encoders.filling import filled_variables, relative_error
from tests.encoders.test_bert import NARROW_ROBERTA, roberta_batch
from tests.encoders.test_htsat import views

GOLDEN = Path(__file__).parents[1] / "golden" / "clap.npz"
TEXT = replace(NARROW_ROBERTA, layers=1, norm_eps=1e-12)
AUDIO = HtsatConfig(image=64, mels=64, channels=16, depths=(1, 1), heads=(2, 4), window=4, sample_rate=8_000)
PLAIN = ClapConfig(text=TEXT, audio=AUDIO, projection=12)
FUSED = replace(PLAIN, audio=replace(AUDIO, fusion=True))
NARROW = {"plain": PLAIN, "fused": FUSED}


def inputs_of(config, clips=3, frames=51, texts=4, length=13):
    """(mel, ids, mask, is_longer); every second clip is longer."""
    ids, mask = roberta_batch(texts, length, config.text.vocab_size)
    return views(config.audio, clips, frames), ids, mask, np.arange(clips) % 2 == 0


@cache
def abstract(config):
    """Shapes of the variables of a `Clap`."""
    module = Clap(config)
    return jax.eval_shape(lambda: module.init(jax.random.key(0), *clap.example(config), train=False))


@pytest.fixture(scope="module")
def fused():
    """(function, variables, inputs, output) of the fused model, in which clips that are not longer take the way of the plain one."""
    module, inputs = Clap(FUSED), inputs_of(FUSED)
    call, variables = jax.jit(partial(module.apply, train=False)), filled_variables(module, *inputs)
    return call, variables, inputs, call(variables, *inputs)


@pytest.mark.parametrize(("name", "count"), [("htsat-unfused", 153_492_890), ("htsat-fused", 153_507_530), ("larger", 193_913_882)])
def test_published_sizes(name, count):
    params = abstract(PRESETS[name])["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count
    if name == "larger":  # the text half is one and the same
        assert sum(leaf.size for leaf in jax.tree.leaves(params["text"])) == 125_302_016


def test_the_scales_start_where_the_paper_has_them():
    scales = Clap(PLAIN).init(jax.random.key(0), method=lambda module: (module.logit_scale_a, module.logit_scale_t))["params"]
    np.testing.assert_allclose([np.exp(scales["logit_scale_a"]), np.exp(scales["logit_scale_t"])], 1 / 0.07, rtol=1e-6)


def test_outputs_of_transformers(fused):
    """The golden file holds what ClapModel gives for these numbers; see tests/golden/make_clap.py."""
    *_, out = fused
    golden = np.load(GOLDEN)
    assert relative_error(out.audio.features, golden["fused/audio_features"]) < 1e-4
    assert relative_error(out.text.features, golden["fused/text_features"]) < 1e-4
    assert relative_error(out.text.embedding, golden["fused/text_embeds"]) < 1e-4
    assert relative_error(out.logits_per_audio, golden["fused/logits_per_audio"]) < 1e-4
    assert relative_error(out.logits_per_text, golden["fused/logits_per_text"]) < 1e-4


def test_features_are_the_embeddings_at_length_one(fused):
    *_, out = fused
    for half in (out.audio, out.text):
        embedding = np.asarray(half.embedding)
        np.testing.assert_allclose(half.features, embedding / np.linalg.norm(embedding, axis=1, keepdims=True), rtol=1e-5)


def test_the_order_of_the_batch_does_not_matter(fused):
    call, variables, (mel, ids, mask, longer), out = fused
    clips, texts = np.array([2, 0, 1]), np.array([1, 3, 0, 2])
    other = call(variables, mel[clips], ids[texts], mask[texts], longer[clips])
    assert relative_error(other.logits_per_audio, np.asarray(out.logits_per_audio)[clips][:, texts]) < 1e-5
    assert relative_error(other.audio.embedding, np.asarray(out.audio.embedding)[clips]) < 1e-5


def test_the_text_half_alone_and_without_jit(fused):
    _, variables, (_, ids, mask, _), out = fused
    text = ClapText(FUSED).apply({"params": variables["params"]["text"]}, ids, mask, train=False)
    assert relative_error(text.embedding, np.asarray(out.text.embedding)) < 1e-5
    assert relative_error(text.tokens[mask], np.asarray(out.text.tokens)[mask]) < 1e-5


def test_gradients_of_the_heads(fused):
    _, variables, inputs, _ = fused
    inputs = tuple(x[:3] for x in inputs)
    params = variables["params"]
    heads = {"audio": params["audio"]["projection"], "text": params["text"]["projection"], "scale": params["logit_scale_t"]}

    def loss(heads):
        changed = {half: params[half] | {"projection": heads[half]} for half in ("audio", "text")}
        out = Clap(FUSED).apply({**variables, "params": params | changed | {"logit_scale_t": heads["scale"]}}, *inputs, train=False)
        return -jnp.trace(jax.nn.log_softmax(out.logits_per_audio) + jax.nn.log_softmax(out.logits_per_text))

    leaves = jax.tree.leaves(jax.jit(jax.grad(loss))(heads))
    assert all(np.isfinite(leaf).all() and np.any(leaf) for leaf in leaves)
