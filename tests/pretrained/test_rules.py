"""The conversion engine on small made-up models: it loads what fits, says what does not, and gives back what it took."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from audiojax.pretrained.rules import CONV_TRANSPOSE_1D, KERNELS, ConversionError, Family, Row, export, load, plan

TABLE = Family(
    "toy",
    (
        Row(r"layer_(\d+)/query/(\w+)", r"blocks.\1.qkv.\2", part=(0, 2)),
        Row(r"layer_(\d+)/key/(\w+)", r"blocks.\1.qkv.\2", part=(1, 2)),
        Row(r"conv/(\w+)", r"stem.\1"),
        Row(r"up/kernel", r"up.kernel", layout=CONV_TRANSPOSE_1D),
        Row(r"bn/(\w+)", r"bn.\1"),
        Row(r"scale", "logit_scale"),
    ),
    ignore=(r".*\.num_batches_tracked",),
    renames=((r"^module\.", ""), (r"gamma$", "weight")),
    tied=(("output.scale", "logit_scale"),),
)


def variables(layers=2, width=3):
    rng = np.random.default_rng(0)

    def array(*shape):
        return rng.normal(size=shape).astype(np.float32)

    params = {f"layer_{i}": {n: {"kernel": array(5, width), "bias": array(width)} for n in ("query", "key")} for i in range(layers)}
    params |= {"conv": {"kernel": array(3, 2, 4, 6)}, "up": {"kernel": array(7, 4, 2)}, "bn": {"scale": array(6), "bias": array(6)}}
    return {"params": params | {"scale": array()}, "batch_stats": {"bn": {"mean": array(6), "var": array(6)}}}


def shapes(state):
    return {name: array.shape for name, array in state.items()}


def load_state(state, into, **options):
    return load(shapes(state), state.__getitem__, into, TABLE, **options)


def test_names_and_layouts_are_torchs():
    ours = variables()
    state = export(ours, TABLE)
    assert shapes(state) == {
        **{f"blocks.{i}.qkv.weight": (6, 5) for i in range(2)},
        **{f"blocks.{i}.qkv.bias": (6,) for i in range(2)},
        "stem.weight": (6, 4, 3, 2),
        "up.weight": (4, 2, 7),
        **{f"bn.{leaf}": (6,) for leaf in ("weight", "bias", "running_mean", "running_var")},
        "logit_scale": (),
    }
    kernels = [ours["params"]["layer_1"][name]["kernel"] for name in ("query", "key")]
    np.testing.assert_array_equal(state["blocks.1.qkv.weight"], np.concatenate([kernel.T for kernel in kernels]))
    np.testing.assert_array_equal(state["stem.weight"][5, 3, 2, 1], ours["params"]["conv"]["kernel"][2, 1, 3, 5])
    np.testing.assert_array_equal(state["up.weight"][3, 1, 0], ours["params"]["up"]["kernel"][6, 3, 1])


def test_export_and_load_are_inverse_and_account_for_every_number():
    ours = variables()
    back, report = load_state(export(ours, TABLE), jax.eval_shape(lambda: ours))
    assert jax.tree.structure(back) == jax.tree.structure(ours)
    jax.tree.map(np.testing.assert_array_equal, back, ours)
    assert report.parameters == sum(leaf.size for leaf in jax.tree.leaves(ours))
    assert report.used["layer_0/key/bias"] == "blocks.0.qkv.bias"
    assert report.summary() == f"toy: 11 tensors, {report.parameters:,} parameters"


@given(st.sampled_from([*KERNELS.values(), CONV_TRANSPOSE_1D]), st.data())
def test_a_layout_turned_there_and_back_is_the_same(layout, data):
    array = data.draw(hnp.arrays(np.int8, data.draw(st.tuples(*[st.integers(1, 4)] * len(layout.axes)))))
    assert layout.to_theirs(array).shape == layout.their_shape(array.shape)
    np.testing.assert_array_equal(layout.to_ours(layout.to_theirs(array)), array)


def test_names_are_renamed_and_known_ones_ignored():
    state = export(variables(), TABLE)
    state["bn.gamma"] = state.pop("bn.weight")
    state = {f"module.{name}": array for name, array in state.items()} | {"module.bn.num_batches_tracked": np.int64(3)}
    back, report = load_state(state, variables())
    jax.tree.map(np.testing.assert_array_equal, back, variables())
    assert report.ignored == ["module.bn.num_batches_tracked"]
    assert report.used["bn/scale"] == "module.bn.gamma"


@pytest.mark.parametrize("both", [True, False])
def test_a_tied_tensor_may_stand_under_either_name(both):
    state = export(variables(), TABLE)
    state["output.scale"] = state["logit_scale"] if both else state.pop("logit_scale")
    back, report = load_state(state, variables())
    jax.tree.map(np.testing.assert_array_equal, back, variables())
    assert report.used["scale"] == ("logit_scale" if both else "output.scale")
    assert report.ignored == (["output.scale"] if both else [])


def test_dtype_and_place_are_the_callers():
    want = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16), variables())
    placed = {}

    def place(path, array):
        placed[path] = array.flags.c_contiguous
        return jnp.asarray(array)

    back, _ = load_state(export(variables(), TABLE), want, place=place)
    assert {leaf.dtype for leaf in jax.tree.leaves(back)} == {jnp.dtype(jnp.bfloat16)}
    assert len(placed) == len(jax.tree.leaves(want))
    assert all(placed.values())


def changed(state, **changes):
    return {name: array for name, array in (state | changes).items() if array is not None}


@pytest.mark.parametrize(
    ("into", "changes", "words"),
    [
        ({"layers": 3}, {}, "2 missing\n  missing: blocks.2.qkv.bias"),  # wrong depth
        ({"layers": 1}, {}, "2 unexpected\n  unexpected: blocks.1.qkv"),
        ({"width": 4}, {}, r"blocks.0.qkv.weight \[6, 5\], wanted \[8, 5\] for layer_0/query/kernel"),  # wrong width
        ({}, {"stem.weight": np.zeros((6, 4, 2, 3))}, r"stem.weight \[6, 4, 2, 3\], wanted \[6, 4, 3, 2\] for conv/kernel"),  # swapped axes
        ({}, {"bn.gamma": np.zeros(6)}, "1 set twice\n  set twice: bn.weight and bn.gamma"),
        ({}, {"logit_scale": None, "head.weight": np.zeros(2)}, "1 unexpected, 1 missing"),
        ({}, {f"x{i}": np.zeros(1) for i in range(13)}, "and 3 more"),
    ],
)
def test_what_does_not_fit_is_named_before_anything_is_read(into, changes, words):
    state = changed(export(variables(), TABLE), **changes)
    with pytest.raises(ConversionError, match=words):
        plan(shapes(state), variables(**into), TABLE)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ((), "no row for 'a/kernel'"),
        ((Row(r"(\w)/kernel", r"\1.kernel"), Row(r"a/(\w+)", r"x.\1")), "for 'a/kernel'"),
        ((Row(r"\w/(\w+)", r"same.\1"),), "'same.weight' is filled by the parts"),
        ((Row(r"(\w)/kernel", r"\1.kernel", part=(0, 2)),), r"filled by the parts \[\(0, 2\)\]"),
    ],
)
def test_a_table_that_does_not_fit_the_model_is_an_error(rows, words):
    with pytest.raises(ConversionError, match=words):
        export({"params": {name: {"kernel": np.zeros((2, 2))} for name in "ab"}}, Family("bad", rows))


WEIGHT_NORMED = Family("normed", (Row(r"conv/kernel", "conv.kernel", weight_norm=2), Row(r"conv/bias", "conv.bias")))


def normed_variables():
    """A convolution of which one tap is all zeros: g and |v| are zero there."""
    kernel = np.random.default_rng(1).normal(size=(5, 2, 4)).astype(np.float32)
    kernel[3] = 0
    return {"params": {"conv": {"kernel": kernel, "bias": np.ones(4, np.float32)}}}


def load_normed(state):
    return load(shapes(state), state.__getitem__, normed_variables(), WEIGHT_NORMED)


def test_a_weight_norm_is_written_and_folded_without_loss():
    state = export(normed_variables(), WEIGHT_NORMED)
    assert shapes(state) == {"conv.weight_g": (1, 1, 5), "conv.weight_v": (4, 2, 5), "conv.bias": (4,)}
    back, report = load_normed(state)
    jax.tree.map(np.testing.assert_array_equal, back, normed_variables())
    assert report.used["conv/kernel"] == "conv.weight_v"


def test_the_norms_of_a_weight_norm_lie_along_its_axis():
    """w = g * v / |v|, with torch's newer names."""
    g, v = np.array([2.0, 3, 4, 5, 6], np.float32), np.random.default_rng(2).normal(size=(4, 2, 5)).astype(np.float32)
    names = [f"conv.parametrizations.weight.original{i}" for i in (0, 1)]
    back, _ = load_normed({names[0]: g[None, None], names[1]: v, "conv.bias": np.ones(4, np.float32)})
    for tap in range(5):
        want = g[tap] * v[:, :, tap].T / np.linalg.norm(v[:, :, tap])
        np.testing.assert_allclose(back["params"]["conv"]["kernel"][tap], want, rtol=1e-6)


def test_a_removed_weight_norm_loads_as_it_is():
    plain = Family("plain", tuple(Row(row.ours, row.theirs) for row in WEIGHT_NORMED.rows))
    back, _ = load_normed(export(normed_variables(), plain))
    jax.tree.map(np.testing.assert_array_equal, back, normed_variables())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"conv.weight_g": None}, "missing: conv.weight_g"),
        ({"conv.weight_v": None}, "missing: conv.weight_v"),
        ({"conv.weight": np.zeros((4, 2, 5))}, "2 unexpected\n  unexpected: conv.weight_g"),
        ({"conv.weight_g": np.zeros((4, 1, 1))}, r"conv.weight_g \[4, 1, 1\], wanted \[1, 1, 5\] for conv/kernel"),  # another axis
        ({"conv.weight_v": np.zeros((4, 5, 2))}, r"conv.weight_v \[4, 5, 2\], wanted \[4, 2, 5\]"),
    ],
)
def test_a_weight_norm_that_does_not_fit_is_named(changes, words):
    with pytest.raises(ConversionError, match=words):
        load_normed(changed(export(normed_variables(), WEIGHT_NORMED), **changes))
