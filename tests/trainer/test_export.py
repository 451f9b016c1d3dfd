"""Export: everything comes back, nothing half-written, other folders are left alone."""

import json
import shutil
from collections import namedtuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from audiojax.errors import AudiojaxError, UsageError
from audiojax.trainer.export import export_model, load_export
from audiojax.trainer.layout import make_layout

CONFIG = ConfigDict({"paper": "toy", "sizes": (1, 2), "model": {"width": 4}}).lock()


def write(folder, tokenizer=None, scale=1.0):
    mesh = make_layout("mesh", (2, 2, 2)).mesh
    kernel = jax.device_put(scale * jnp.arange(32.0).reshape(8, 4), NamedSharding(mesh, PartitionSpec("fsdp", "tensor")))
    params = {"dense": {"kernel": kernel, "bias": jnp.ones(4, jnp.bfloat16)}}
    return export_model(folder, params=params, model_state={}, config=CONFIG, tokenizer=tokenizer, card={"metrics": {"r1": 0.5}})


def test_round_trip(tmp_path):
    vocabulary = tmp_path / "vocabulary"
    vocabulary.mkdir()
    (vocabulary / "tokenizer.json").write_text("{}")
    folder = write(tmp_path / "final", vocabulary)
    back = load_export(folder)
    np.testing.assert_array_equal(back.params["dense"]["kernel"], np.arange(32.0).reshape(8, 4))
    assert back.params["dense"]["bias"].dtype == ml_dtypes.bfloat16
    assert back.model_state == {}
    assert back.config == CONFIG
    assert back.card["metrics"] == {"r1": 0.5}
    assert (back.tokenizer / "tokenizer.json").is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["final", "vocabulary"]


def test_second_export_replaces_the_first(tmp_path):
    write(tmp_path / "final")
    write(tmp_path / "final", scale=2.0)
    back = load_export(tmp_path / "final")
    assert float(back.params["dense"]["kernel"][0, 1]) == 2.0
    assert back.tokenizer is None


def test_folder_with_other_things_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not an exported model"):
        write(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(UsageError, match=r"no card\.json"):
        load_export(tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        load_export(tmp_path / "nowhere")


def test_wrong_kind_and_damage(tmp_path):
    folder = write(tmp_path / "final")
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | {"kind": "something"}))
    with pytest.raises(UsageError, match="'something', not an exported model"):
        load_export(folder)
    (folder / "card.json").write_text(json.dumps(card | {"format": 99}))
    with pytest.raises(UsageError, match="format 99"):
        load_export(folder)
    (folder / "card.json").write_text(json.dumps(card))
    text = (folder / "config.json").read_text()
    for damaged in (text[:20], "{}", "[]"):
        (folder / "config.json").write_text(damaged)
        with pytest.raises(AudiojaxError, match="config.json is damaged"):
            load_export(folder)
    (folder / "config.json").unlink()
    with pytest.raises(UsageError, match=r"final has no config\.json"):
        load_export(folder)
    (folder / "config.json").write_text(text)
    shutil.rmtree(folder / "weights")
    with pytest.raises(AudiojaxError, match="weights cannot be read"):
        load_export(folder)


def test_too_little_disk_writes_nothing(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 1000, 1000))
    with pytest.raises(AudiojaxError, match="needs 1 MiB and 0 MiB are free"):
        write(tmp_path / "final")
    assert list(tmp_path.iterdir()) == []
