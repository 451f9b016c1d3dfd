"""CNN14 and ResNet38 beside the torch twin, with random weights and running statistics."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.encoders.panns import PRESETS, Panns
from audiojax.pretrained.panns import family
from audiojax.pretrained.rules import export
from tests.encoders.filling import filled_variables, mel_batch, relative_error
from tests.encoders.test_panns import ARCHS, NARROW

torch = pytest.importorskip("torch")
from tests.parity.panns_twin import TwinPanns, load  # noqa: E402

pytestmark = pytest.mark.parity


def pair(config, mel):
    module = Panns(config)
    variables = filled_variables(module, mel)
    return module, variables, load(TwinPanns(config), export(variables, family(config))).eval()


def assert_same(out, theirs):
    for name, reference in theirs.items():
        assert relative_error(getattr(out, name), reference.detach().numpy()) < 1e-4, name


@pytest.mark.parametrize("last_pool", [(1, 1), (2, 2)])
@pytest.mark.parametrize("frames", [64, 107, 131])
@pytest.mark.parametrize("arch", ARCHS)
def test_evaluation(arch, frames, last_pool):
    mel = mel_batch(3, frames)
    module, variables, twin = pair(replace(NARROW[arch], last_pool=last_pool), mel)
    with torch.no_grad():
        assert_same(jax.jit(lambda: module.apply(variables, mel, train=False))(), twin(torch.tensor(mel)))


@pytest.mark.parametrize("arch", ARCHS)
def test_training_mode_and_gradients(arch):
    """Batch statistics in the forward pass, running means after it, and the gradient of every parameter."""
    mel = mel_batch(4, 70)
    module, variables, twin = pair(replace(NARROW[arch], dropout=0.0, block_dropout=0.0, head_dropout=0.0), mel)

    @jax.jit
    def loss(params):
        out, state = module.apply({**variables, "params": params}, mel, train=True, mutable=["batch_stats"])
        return jnp.sum(jnp.square(out.clipwise)), (out, state)

    grads, (out, state) = jax.grad(loss, has_aux=True)(variables["params"])
    theirs = twin.train()(torch.tensor(mel))
    (theirs["clipwise"] ** 2).sum().backward()
    assert_same(out, theirs)
    torch_grads = {name: p.grad.numpy() for name, p in twin.named_parameters()}
    ours = export({"params": grads}, family(module.config))
    assert ours.keys() == torch_grads.keys()
    scale = np.linalg.norm([np.linalg.norm(g) for g in torch_grads.values()])
    for name, grad in ours.items():
        assert np.linalg.norm(grad - torch_grads[name]) < 1e-3 * np.linalg.norm(torch_grads[name]) + 1e-5 * scale, name
    means = {name: value.numpy() for name, value in twin.named_buffers() if name.endswith("running_mean")}
    for name, mean in export(state, family(module.config)).items():
        if name in means:
            assert relative_error(mean, means[name]) < 1e-4, name


@pytest.mark.parametrize("arch", ARCHS)
def test_transposed_picture_is_not_the_same(arch):
    """The comparison would notice time and mel swapped."""
    mel = mel_batch(2, 64)
    module, variables, twin = pair(NARROW[arch], mel)
    theirs = twin(torch.tensor(mel.transpose(0, 2, 1).copy()))["clip"].detach().numpy()
    assert relative_error(module.apply(variables, mel, train=False).clip, theirs) > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("arch", ARCHS)
def test_published_size(arch):
    mel = mel_batch(1, 201)
    module, variables, twin = pair(replace(PRESETS[arch]["published_32k"], head=True), mel)
    with torch.no_grad():
        assert_same(jax.jit(lambda v: module.apply(v, mel, train=False))(variables), twin(torch.tensor(mel)))
