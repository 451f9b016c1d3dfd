"""The U-Nets: published sizes, diffusers' outputs from a golden file, hoisting, heads, masks, and what batch order must not change."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.models.unet import PRESETS, UNet, UNetConfig
from audiojax.pretrained.unet import inputs
from tests.encoders.filling import filled_variables, relative_error
from tests.models.latent_facts import UNETS, unet_inputs

GOLDEN = Path(__file__).parents[1] / "golden" / "latent.npz"


@pytest.fixture(scope="module")
def unet():
    """With a class embedding and both contexts: (module, variables, inputs, call in the two steps that a sampler takes)."""
    config = UNETS["re-audioldm"]
    module, example = UNet(config), unet_inputs(config)
    variables = filled_variables(module, *example)
    call = partial(module.apply, variables)
    prepare = jax.jit(lambda t, labels, c: (call(t, labels, method="time_features"), call(c, method="context_features")))
    step = jax.jit(lambda x, time, memories: call(x, time, memories, train=False, method="denoise"))
    return module, variables, example, lambda latents, *rest: step(latents, *prepare(*rest))


def shapes_of(config, *example):
    return jax.eval_shape(lambda: UNet(config).init_with_output(jax.random.key(0), *(example or inputs(config)), train=False))


@pytest.mark.parametrize(
    ("preset", "count"),
    [
        ("audioldm-s", 185_036_552),
        pytest.param("audioldm-m", 415_954_568, marks=pytest.mark.slow),
        pytest.param("audioldm-l", 739_139_080, marks=pytest.mark.slow),
        pytest.param("audioldm2", 346_943_496, marks=pytest.mark.slow),
        pytest.param("re-audioldm", 351_465_992, marks=pytest.mark.slow),
        pytest.param("re-audioldm-l", 771_275_528, marks=pytest.mark.slow),
    ],
)
def test_published_sizes(preset, count):
    _, variables = shapes_of(PRESETS[preset])
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == count


def test_noise_is_as_large_as_the_latents():
    """Check 2: 2 x 8 x 256 x 16 in diffusers' order."""
    config = PRESETS["audioldm-s"]
    latents = np.zeros((2, 256, 16, 8), np.float32)
    out, _ = shapes_of(config, latents, np.zeros(2, np.int32), np.zeros((2, config.class_width), np.float32), ())
    assert (out.shape, out.dtype) == (latents.shape, jnp.float32)


def test_the_same_weights_split_into_other_heads_say_another_thing():
    """Check 3: heads of one width at every level, or as many at every level."""
    config = replace(UNETS["audioldm"], heads="trained", head_width=4, head_count=8)
    other = replace(config, heads="diffusers")
    assert [config.heads_of(16), other.heads_of(16)] == [4, 8]
    example = unet_inputs(config)
    variables = filled_variables(UNet(config), *example)
    trained, counted = (jax.jit(partial(UNet(one).apply, train=False))(variables, *example) for one in (config, other))
    assert relative_error(trained, counted) > 1e-3


def test_heads_of_the_published_sizes():
    def heads(preset, **changes):
        config = replace(PRESETS[preset], **changes)
        return [config.heads_of(channels) for channels in config.channels[1:]]

    assert heads("audioldm-s") == heads("audioldm-l") == heads("re-audioldm") == [8, 12, 20]
    assert heads("audioldm-m") == [12, 18, 30]
    assert heads("audioldm-m", heads="diffusers") == [8, 8, 8]


def test_outputs_of_diffusers(unet):
    """The golden file holds what diffusers' U-Nets give for these numbers; see tests/golden/make_latent.py."""
    module, _, example, denoise = unet
    assert relative_error(denoise(*example), np.load(GOLDEN)["unet/re-audioldm"]) < 1e-4


@pytest.mark.slow
def test_outputs_of_diffusers_without_contexts():
    config = UNETS["audioldm"]
    module, example = UNet(config), unet_inputs(config)
    variables = filled_variables(module, *example)
    noise = jax.jit(lambda v: module.apply(v, *example, train=False))(variables)
    assert relative_error(noise, np.load(GOLDEN)["unet/audioldm"]) < 1e-4


@pytest.mark.slow
def test_prepared_inputs_give_the_same(unet):
    module, variables, example, denoise = unet
    plain = jax.jit(lambda *x: module.apply(variables, *x, train=False))(*example)
    np.testing.assert_allclose(denoise(*example), plain, atol=1e-5)


def test_rows_are_independent(unet):
    *_, example, denoise = unet
    order = np.array([2, 0, 1])
    moved = jax.tree.map(lambda x: x[order], example)
    np.testing.assert_allclose(denoise(*moved), denoise(*example)[order], atol=1e-5)


def test_masked_tokens_do_not_count(unet):
    *_, (latents, timesteps, labels, contexts), denoise = unet
    noise = denoise(latents, timesteps, labels, contexts)
    for i in range(2):
        tokens, mask = contexts[i]
        more = (np.pad(tokens, ((0, 0), (0, 3), (0, 0)), constant_values=9), np.pad(mask, ((0, 0), (0, 3))))
        np.testing.assert_allclose(denoise(latents, timesteps, labels, (*contexts[:i], more, *contexts[i + 1 :])), noise, atol=1e-5)
        changed = (np.where(mask[..., None], tokens, 9).astype(np.float32), mask)
        np.testing.assert_allclose(denoise(latents, timesteps, labels, (*contexts[:i], changed, *contexts[i + 1 :])), noise, atol=1e-5)
        heard = (np.where(mask[..., None], 9, tokens).astype(np.float32), mask)
        assert np.abs(denoise(latents, timesteps, labels, (*contexts[:i], heard, *contexts[i + 1 :])) - noise).max() > 1e-2


def test_tokens_are_a_set(unet):
    *_, (latents, timesteps, labels, contexts), denoise = unet
    turned = tuple((tokens[:, ::-1], mask[:, ::-1]) for tokens, mask in contexts)
    np.testing.assert_allclose(denoise(latents, timesteps, labels, turned), denoise(latents, timesteps, labels, contexts), atol=1e-5)


def test_time_and_class_matter(unet):
    *_, (latents, timesteps, labels, contexts), denoise = unet
    noise = denoise(latents, timesteps, labels, contexts)
    assert np.abs(denoise(latents, timesteps + 5, labels, contexts) - noise).max() > 1e-2
    assert np.abs(denoise(latents, timesteps, -labels, contexts) - noise).max() > 1e-2


@pytest.mark.slow
def test_a_new_network_predicts_nothing():
    config = UNETS["audioldm"]
    out, _ = jax.jit(lambda: UNet(config).init_with_output(jax.random.key(0), *unet_inputs(config), train=False))()
    np.testing.assert_array_equal(out, np.zeros_like(out))


@pytest.mark.slow
def test_tiny_preset_takes_the_latents_of_a_scene():
    config = PRESETS["tiny"]
    example = unet_inputs(config, 1, 96, 16, (8, 30))
    out, _ = shapes_of(config, *example)
    assert (out.shape, out.dtype) == ((1, 96, 16, 8), jnp.float32)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"time": 7}, "latents of 7 x 4 .time x frequency., and both must be multiples of 2"),
        ({"labels": np.zeros((3, 5), np.float32)}, "class labels of width 5, and this U-Net takes 6"),
        ({"labels": None}, "class labels of width None, and this U-Net takes 6"),
        ({"contexts": ()}, r"contexts of widths \(\), and this U-Net attends to \(5, 7\)"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(unet, changes, words):
    *_, denoise = unet
    latents, timesteps, labels, contexts = unet_inputs(UNETS["re-audioldm"], time=changes.get("time", 8))
    with pytest.raises(ValueError, match=words):
        denoise(latents, timesteps, changes.get("labels", labels), changes.get("contexts", contexts))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (UNetConfig(channels=(196, 392, 588, 980), head_width=28), "196 channels do not divide into 32 groups"),
        (UNetConfig(head_width=48), "256 channels do not make 5 attention heads"),
        (UNetConfig(heads="8"), "heads are 'trained' or 'diffusers', and not '8'"),
    ],
)
def test_sizes_that_make_no_network_are_refused(config, words):
    with pytest.raises(ValueError, match=words):
        shapes_of(config)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["audioldm", "re-audioldm"])
def test_gradients_are_finite(name):
    module, example = UNet(UNETS[name]), unet_inputs(UNETS[name])
    variables = filled_variables(module, *example)
    gradients = jax.jit(jax.grad(lambda v: jnp.mean(module.apply(v, *example, train=True) ** 2)))(variables)
    for leaf in jax.tree.leaves(gradients):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 0


def test_joint_contexts_share_a_transformer():
    config = replace(UNETS["re-audioldm"], joint=6)
    assert config.sources == (False, True)
    assert replace(config, joint=0).sources == (False, True, True)
    assert replace(config, contexts=(None, 5)).sources == (False, True)
    _, variables = shapes_of(config)
    params = variables["params"]
    assert [params[f"join_{i}"]["kernel"].shape for i in range(2)] == [(5, 6), (7, 6)]
    assert params["down_1"].keys() == {"residuals_0", "times_0", "attentions_0", "attentions_1"}
    assert params["down_1"]["attentions_1"]["attention2"]["key"]["kernel"].shape == (6, 16)


@pytest.mark.slow
def test_masked_tokens_of_joint_contexts_do_not_count():
    config = replace(UNETS["re-audioldm"], joint=6)
    latents, timesteps, labels, contexts = unet_inputs(config)
    variables = filled_variables(UNet(config), latents, timesteps, labels, contexts)
    denoise = jax.jit(partial(UNet(config).apply, variables, train=False))
    noise = denoise(latents, timesteps, labels, contexts)
    for i in range(2):
        for hidden, least, most in ((True, 0, 1e-5), (False, 1e-3, np.inf)):
            tokens, mask = contexts[i]
            changed = (np.where(mask[..., None] == hidden, tokens, 9).astype(np.float32), mask)
            moved = float(np.abs(denoise(latents, timesteps, labels, (*contexts[:i], changed, *contexts[i + 1 :])) - noise).max())
            assert least <= moved <= most
