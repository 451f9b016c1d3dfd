"""load_pretrained and what is behind `audiojax weights`, on checkpoints made here."""

import jax
import numpy as np
import pytest

import audiojax
from audiojax.api import weights
from audiojax.errors import UsageError
from tests.encoders.filling import token_batch
from tests.pretrained.test_store import converted, source  # noqa: F401  (fixtures)


def test_one_call_opens_folders_of_both_forms(source, converted, capsys):  # noqa: F811
    batch = token_batch(2, 9, 50)
    want = audiojax.load_pretrained(source[0])(*batch)
    np.testing.assert_array_equal(audiojax.load_pretrained(converted)(*batch), want)
    said = capsys.readouterr().err.splitlines()
    assert said[0].endswith("BERT: 37 tensors, 1,792 parameters; licence: mit")
    assert said[1].endswith("BERT: 37 tensors, 1,792 parameters; licence: mit")
    audiojax.load_pretrained(converted, progress=False)
    assert capsys.readouterr().err == ""


def test_weights_take_the_dtype_of_the_computation_unless_told(source):  # noqa: F811
    tower = audiojax.load_pretrained(source[0], dtype="bfloat16", progress=False)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(tower.params)} == {"bfloat16"}
    assert tower(*token_batch(1, 4, 50)).dtype.name == "bfloat16"
    tower = audiojax.load_pretrained(source[0], dtype="bfloat16", param_dtype="float32", progress=False)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(tower.params)} == {"float32"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": "int8"}, "dtype is 'int8'; it takes one of float32, bfloat16, float16"),
        ({"part": "unet"}, "holds one model: leave out part"),
        ({"heads": "trained"}, "has no option 'heads'"),
        ({"adapter": "."}, "an adapter goes with a LLaMA, and this is none: leave out adapter=[.]"),
        ({"adapter": "no lora"}, "no lora: no such file or folder"),
    ],
)
def test_misuse(source, options, words):  # noqa: F811
    with pytest.raises(UsageError, match=words):
        audiojax.load_pretrained(source[0], **options)


def test_what_was_chosen_at_conversion_is_not_chosen_again(converted):  # noqa: F811
    with pytest.raises(UsageError, match="'part' was chosen when it was converted"):
        audiojax.load_pretrained(converted, part="unet")
    with pytest.raises(UsageError, match="is converted already"):
        weights.convert(converted, "anywhere")


def test_a_name_that_is_nowhere():
    with pytest.raises(
        UsageError,
        match=r"nobody/nothing: no such file or folder, and not in the hub cache .*; from the hub: audiojax weights fetch nobody/nothing",
    ):
        audiojax.load_pretrained("nobody/nothing")


def test_inspection_reads_no_values(source):  # noqa: F811
    found = weights.inspect(source[0], digest=True)
    assert (found.tower, found.parameters, found.form, found.licence) == ("bert", 1792, "safetensors", "mit")
    assert found.tensors["embeddings.word_embeddings.weight"] == ((50, 8), "float32")
    assert found.ignored == ()
    assert len(found.sha256) == 64
