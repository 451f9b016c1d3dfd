"""The fast forms of convolutions against their definitions, values and gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from audiojax.nn import conv


def normal(*shape):
    return np.random.RandomState(sum(shape)).standard_normal(shape).astype(np.float32)


def assert_same_function(form, plain, *inputs):
    """Both give the same values and the same gradients of a sum of squares."""

    def run(function):
        return jax.jit(jax.value_and_grad(lambda *x: (y := function(*x), jnp.sum(y**2))[::-1], argnums=(0, 1), has_aux=True))(*inputs)

    ((_, values), gradients), ((_, want), wanted) = run(form), run(plain)
    np.testing.assert_allclose(values, want, atol=1e-5)
    for ours, theirs in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def test_nearest_upsampling_by_hand():
    x, kernel = normal(1, 2, 3, 1), normal(3, 3, 1, 1)
    doubled = np.pad(np.kron(x[0, :, :, 0], np.ones((2, 2))), 1)
    want = [[(doubled[i : i + 3, j : j + 3] * kernel[:, :, 0, 0]).sum() for j in range(6)] for i in range(4)]
    np.testing.assert_allclose(conv.upsample_conv_plain(x, kernel)[0, :, :, 0], want, atol=1e-5)


def test_upsampling_phases_are_the_plain_form():
    inputs = normal(2, 3, 4, 5), normal(3, 3, 5, 6)
    assert_same_function(conv.upsample_conv_phases, conv.upsample_conv_plain, *inputs)
    np.testing.assert_allclose(conv.upsample_conv(*inputs), conv.upsample_conv_plain(*inputs), atol=1e-5)


@pytest.mark.parametrize(("width", "stride", "padding"), [(16, 5, 5), (16, 4, 6), (4, 2, 1), (3, 3, 0), (7, 4, 2)])
def test_transposed_convolution_is_the_plain_form(width, stride, padding):
    def bound(form):
        return lambda x, kernel: form(x, kernel, stride=stride, padding=padding)

    x, kernel = normal(2, 6, 3), normal(width, 3, 4)
    assert bound(conv.conv_transpose)(x, kernel).shape == (2, 5 * stride + width - 2 * padding, 4)
    assert_same_function(bound(conv.conv_transpose), bound(conv.conv_transpose_plain), x, kernel)


def test_transposed_convolution_by_hand():
    x, kernel = normal(1, 4, 1), normal(5, 1, 1)
    full = np.zeros(3 * 3 + 5, np.float32)
    for i, value in enumerate(x[0, :, 0]):
        full[3 * i : 3 * i + 5] += value * kernel[::-1, 0, 0]
    np.testing.assert_allclose(conv.conv_transpose(x, kernel, stride=3, padding=1)[0, :, 0], full[1:-1], atol=1e-5)


@pytest.mark.parametrize("dilation", [1, 3])
def test_signals_keep_their_length(dilation):
    x, kernel = normal(2, 9, 3), normal(5, 3, 4)
    module = conv.Conv1d(4, 5, dilation)
    got = module.apply({"params": {"kernel": kernel, "bias": np.arange(4, dtype=np.float32)}}, x)
    padded = np.pad(x, ((0, 0), (2 * dilation, 2 * dilation), (0, 0)))
    want = sum(padded[:, i * dilation : i * dilation + 9] @ kernel[i] for i in range(5)) + np.arange(4)
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_image_jit_is_jit():
    x, kernel = normal(2, 9, 8, 3), normal(3, 3, 3, 4)

    @partial(conv.image_jit, static_argnums=0)
    def twice(factor, x, kernel):
        """Doc."""
        return factor * conv.conv(x, kernel)

    assert (twice.__name__, twice.__doc__) == ("twice", "Doc.")
    np.testing.assert_allclose(twice(2, x, kernel), 2 * conv.conv(x, kernel), atol=1e-5)
    inside = jax.jit(lambda x: twice(2, x, kernel) + 1)(x)  # options are for whole programs
    np.testing.assert_allclose(inside, 2 * conv.conv(x, kernel) + 1, atol=1e-5)
    around = jax.jit(lambda one: twice(2, x, kernel) + one)(1)  # also where no argument is traced
    np.testing.assert_allclose(around, inside, atol=1e-5)
    mapped = jax.vmap(lambda row: twice(2, row[None], kernel)[0])(x)
    np.testing.assert_allclose(mapped, inside - 1, atol=1e-5)


@pytest.mark.parametrize(("backend", "known"), [("cpu", True), ("cpu", False), ("tpu", True)])
def test_options_are_for_cpus_that_know_them(monkeypatch, backend, known):
    class Jitted:
        def lower(self, x):
            return self

        def compile(self):
            if not known:
                raise jax.errors.JaxRuntimeError("No such compile option")

    monkeypatch.setattr(conv.jax, "default_backend", lambda: backend)
    monkeypatch.setattr(conv.jax, "jit", lambda function, compiler_options: Jitted())
    assert bool(conv.image_options.__wrapped__()) == (backend == "cpu" and known)


def test_this_jaxlib_knows_the_option():
    assert conv.image_options()
