"""Converted checkpoints: what comes back is what went in, on any sharding, and can be written in its public layout again."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec
from safetensors.numpy import load_file, save_file

from audiojax.encoders.beats import PRESETS as BEATS
from audiojax.encoders.beats import Beats
from audiojax.encoders.bert import BertConfig, BertEncoder
from audiojax.errors import AudiojaxError, UsageError
from audiojax.pretrained import beats, bert, store
from audiojax.pretrained.load import load_tower
from audiojax.pretrained.publish import publish_converted
from audiojax.pretrained.rules import export
from tests.encoders.filling import filled_variables, token_batch
from tests.pretrained import torch_layout
from tests.pretrained.test_load import BERT, SMALL, write_folder

CONFIG = BertConfig(vocab_size=50, max_positions=20, **SMALL)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """(folder in the layout of transformers, its variables)"""
    variables = filled_variables(BertEncoder(CONFIG), *token_batch(2, 9, 50))
    folder = write_folder(tmp_path_factory.mktemp("source") / "model", BERT, export(variables, bert.family(CONFIG)))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / "notes.pdf").write_bytes(b"not needed")
    return folder, variables


@pytest.fixture(scope="module")
def converted(source, tmp_path_factory):
    return store.convert(source[0], tmp_path_factory.mktemp("out") / "bert", source="owner/bert", licence="mit")


def test_a_converted_folder_holds_the_tower_and_says_where_it_came_from(source, converted):
    tower, original = store.open_converted(converted), load_tower(source[0])
    jax.tree.map(np.testing.assert_array_equal, dict(tower.params), source[1])
    assert (tower.config, tower.digest, str(tower.source)) == (CONFIG, original.digest, "owner/bert")
    assert tower.report == original.report
    card = json.loads((converted / "card.json").read_text())
    assert (card["tower"], card["licence"], card["sha256"], card["source"]) == ("bert", "mit", original.digest, "owner/bert")
    assert sorted(path.name for path in (converted / "files").iterdir()) == ["README.md", "config.json"]
    batch = token_batch(2, 9, 50)
    np.testing.assert_array_equal(tower(*batch), original(*batch))


def test_it_opens_on_a_mesh_and_in_half_precision(source, converted):
    mesh = jax.make_mesh((1, 4, 2), ("data", "fsdp", "tensor"), axis_types=(AxisType.Auto,) * 3)
    tower = store.open_converted(converted, sharding=mesh)
    words = tower.params["params"]["word"]["embedding"]
    assert words.sharding.spec == PartitionSpec(None, "fsdp")
    assert words.addressable_shards[0].data.shape == (50, 2)
    jax.tree.map(np.testing.assert_array_equal, dict(tower.params), source[1])
    half = store.open_converted(converted, param_dtype=jnp.dtype(jnp.bfloat16))
    assert {leaf.dtype for leaf in jax.tree.leaves(half.params)} == {jnp.dtype(jnp.bfloat16)}


def test_by_default_it_lies_on_a_device_of_this_process(converted, monkeypatch):
    third = jax.devices()[3]
    monkeypatch.setattr(jax, "local_devices", lambda: [third])  # as in a process that is not the first
    assert {leaf.device for leaf in jax.tree.leaves(store.open_converted(converted).params)} == {third}


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UsageError, match="file: cannot be made"), store.whole_folder(tmp_path / "file" / "out"):
        pass
    place = store.whole_folder(tmp_path / "new" / "out")
    with pytest.raises(UsageError, match=r"out: cannot be written \(No such file or directory\)"), place as partial:
        (partial / "absent" / "a.json").write_text("{}")
    assert list((tmp_path / "new").iterdir()) == []


def test_the_public_layout_comes_back(source, converted, tmp_path):
    out = publish_converted(converted, tmp_path / "public")
    ours, theirs = load_file(out / "model.safetensors"), load_file(source[0] / "model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array)
    jax.tree.map(np.testing.assert_array_equal, dict(load_tower(out).params), source[1])


def test_a_bare_torch_file_keeps_its_settings(tmp_path):
    config = dataclasses.replace(BEATS["tiny"], layers=1, width=24, heads=2, hidden=16, embed=8, groups=2, kernel=4)
    mel = np.zeros((1, 32, config.front_end.n_mels), np.float32)
    variables = filled_variables(Beats(config), mel)
    facts = {"input_patch_size": config.patch, "embed_dim": 8, "encoder_embed_dim": 24, "encoder_layers": 1, "conv_pos": 4}
    facts |= {"encoder_attention_heads": 2, "encoder_ffn_embed_dim": 16, "conv_pos_groups": 2, "num_buckets": config.buckets}
    facts |= {"max_distance": config.max_distance, "finetuned_model": False}
    state = {name: torch_layout.tensor(array) for name, array in export(variables, beats.family(config)).items()}
    path = tmp_path / "BEATs.pt"
    path.write_bytes(torch_layout.zip_file({"cfg": facts, "model": state}))
    first = load_tower(path)
    folder = store.convert(path, tmp_path / "beats")
    for again in (store.open_converted(folder), load_tower(publish_converted(folder, tmp_path / "public"))):
        assert again.config == first.config
        jax.tree.map(np.testing.assert_array_equal, dict(again.params), dict(first.params))


def test_nothing_is_written_over_and_nothing_left_half_written(source, converted, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="holds something already"):
        store.convert(source[0], converted)
    with pytest.raises(UsageError, match="holds something already"):
        publish_converted(converted, converted)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    with pytest.raises(AudiojaxError, match="MiB are free; free some disk"):
        store.convert(source[0], tmp_path / "full" / "bert")
    monkeypatch.undo()

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(store.ocp.StandardCheckpointer, "save", fail)
    with pytest.raises(KeyboardInterrupt):
        store.convert(source[0], tmp_path / "stopped" / "bert")
    assert list((tmp_path / "stopped").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"kind": "audiojax model"}, UsageError, "was not written by"),
        ({"format": 2}, UsageError, "another format"),
        ({"tower": "gpt"}, AudiojaxError, "card.json is damaged"),
        ({"surprise": 1}, AudiojaxError, "card.json is damaged"),
        ({"facts": BERT | {"hidden_size": "wide"}}, UsageError, "hidden_size is 'wide'"),
    ],
)
def test_a_card_that_is_not_right_is_named(converted, tmp_path, changes, error, words):
    folder = tmp_path / "copy"
    shutil.copytree(converted, folder)
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | changes))
    with pytest.raises(error, match=words):
        store.open_converted(folder)


def test_damaged_weights_are_named(converted, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(converted, folder)
    for path in (folder / "weights").rglob("*"):
        if path.is_file() and path.stat().st_size > 5000:
            path.write_bytes(b"\0" * 100)
    with pytest.raises(AudiojaxError, match="weights cannot be read"):
        store.open_converted(folder)


def test_other_folders_are_not_taken_for_converted_ones(tmp_path):
    assert not store.is_converted(tmp_path)
    (tmp_path / "card.json").write_text("[]")
    assert not store.is_converted(tmp_path)
    save_file({"a": np.zeros(1, np.float32)}, tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match="was not written by"):
        store.open_converted(tmp_path)
