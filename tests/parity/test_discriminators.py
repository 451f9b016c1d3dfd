"""The discriminators beside torch's, with random weights: logits, features, and gradients of waveforms and spectrograms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.models.patch_discriminator import PatchDiscriminator, PatchDiscriminatorConfig, judge
from audiojax.models.waveform_discriminators import ScaleLayer, WaveformDiscriminatorConfig, WaveformDiscriminators
from audiojax.nn.kernel_norm import first_vectors, spectral_normed, weight_normed, with_gains
from tests.encoders.filling import fill, mel_batch, relative_error

torch = pytest.importorskip("torch")
from tests.parity import discriminator_twins as twins  # noqa: E402

pytestmark = pytest.mark.parity
LAYERS = (ScaleLayer(4, 15, 1, 1), ScaleLayer(8, 41, 2, 4), ScaleLayer(8, 41, 4, 8), ScaleLayer(8, 5, 1, 1))
WAVEFORMS = WaveformDiscriminatorConfig((2, 5, 11), (4, 6, 8), 5, 3, LAYERS)


@pytest.mark.parametrize("layers", [1, 3])
def test_patches(layers):
    config, mel = PatchDiscriminatorConfig(4, layers), mel_batch(3, 64, 32)
    module = PatchDiscriminator(config)
    params = fill(jax.eval_shape(lambda: module.init(jax.random.key(0), mel)))["params"]
    twin = twins.patch_twin(config)
    twins.fill_patch_twin(twin, params)
    theirs_in = torch.from_numpy(mel).requires_grad_()
    theirs = twin(theirs_in[:, None])
    theirs.square().sum().backward()
    ours = jax.jit(lambda x: judge(module, params, x))(mel)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(jnp.square(judge(module, params, x)))))(mel)
    assert relative_error(ours, theirs[:, 0].detach().numpy()) < 1e-4
    assert relative_error(gradient, theirs_in.grad.numpy()) < 1e-3


def test_waveforms():
    """Torch normalises in training mode, so that spectral norm takes one step of its power iteration, as ours does."""
    waveform = np.random.default_rng(0).normal(size=(2, 301)).astype(np.float32)
    module = WaveformDiscriminators(WAVEFORMS)
    split = with_gains(fill(jax.eval_shape(lambda: module.init(jax.random.key(0), waveform)))["params"], without="^scale_0/")
    split["gain"] = jax.tree.map(lambda g: 1.3 * g, split["gain"])
    vectors = {"scale_0": first_vectors(jax.random.key(1), split["direction"]["scale_0"])}
    twin = twins.WaveformTwins(WAVEFORMS).train()
    twin.fill(split, vectors)
    theirs_in = torch.from_numpy(waveform).requires_grad_()
    theirs = twin(theirs_in)
    sum(logits.square().sum() for logits, _ in theirs).backward()

    def judged(x):
        params, after = spectral_normed(weight_normed(split), vectors)
        return module.apply({"params": params}, x), after

    ours, after = jax.jit(judged)(waveform)
    gradient = jax.jit(jax.grad(lambda x: sum(jnp.sum(jnp.square(verdict.logits)) for verdict in judged(x)[0])))(waveform)
    for verdict, (logits, features) in zip(ours, theirs, strict=True):
        assert relative_error(verdict.logits, logits.detach().numpy()) < 1e-4
        for mine, their in zip(verdict.features, features, strict=True):
            their = their.detach().numpy()
            their = their if their.ndim == 4 else their[:, :, None]
            assert relative_error(mine, np.moveaxis(their, 1, -1)) < 1e-4
    assert relative_error(gradient, theirs_in.grad.numpy()) < 1e-3
    u = twin.subs["scale_0"][0].weight_u
    np.testing.assert_allclose(after["scale_0"]["conv_0"]["kernel"], u.numpy(), atol=1e-5)
