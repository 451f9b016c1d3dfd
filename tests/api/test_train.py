"""How a run starts: what may change since it was saved; and of several processes the first one builds the data, however long it takes."""

import importlib
import json
from pathlib import Path

import pytest

from audiojax.api.train import check_claim
from audiojax.config import config_to_json, load_config
from audiojax.errors import UsageError
from tests.trainer import processes

PROGRAM = "tests.api.run_open"
training = importlib.import_module("audiojax.api.train")  # audiojax.api.train is the function


@pytest.mark.parametrize("seconds", [1, pytest.param(70, marks=pytest.mark.slow)])
def test_the_others_wait_until_the_first_process_has_built_the_data(tmp_path, seconds):
    """And they do not wait for one that failed."""
    both = processes.start_many(2, tmp_path, seconds, program=PROGRAM)
    texts = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [2, 2], texts
    assert all("together: [0, 1]" in text for text in texts)
    assert "cannot be built" in texts[0]
    assert "is not built" in texts[1]


def test_loader_processes_may_change_even_where_a_run_knows_none(tmp_path):
    saved = load_config("diffatr/soundworld:debug")
    with saved.unlocked():
        del saved.data.workers
    (tmp_path / "config.json").write_text(config_to_json(saved))
    check_claim(tmp_path, load_config("diffatr/soundworld:debug", ["data.workers=3"]))
    with pytest.raises(UsageError, match="data.mode was 'pairs', now 'random'"):
        check_claim(tmp_path, load_config("diffatr/soundworld:debug", ["data.mode=random"]))


def test_a_run_goes_on_with_the_data_it_began_with_wherever_they_lie(tmp_path, monkeypatch):
    contents = {"here": "a", "there": "a", "others": "b"}

    class Records:
        def __init__(self, data, split, progress):
            self.name = f"{contents[Path(data['dir']).name]} {split}"

        def identity(self):
            return self.name

    monkeypatch.setattr(training, "open_split", Records)
    for name in contents:
        (tmp_path / name).mkdir()
    data = {name: {"source": "tfds", "dir": str(tmp_path / name)} for name in (*contents, "gone")}
    training.check_same_data(tmp_path, data["here"])  # a new run
    (tmp_path / training.DATA).write_text(json.dumps(training.identities_of(data["here"])))
    for name in ("here", "there", "gone"):
        training.check_same_data(tmp_path, data[name])
    with pytest.raises(UsageError, match=f"holds a run on other data than those in data.dir {tmp_path}/others; use another --workdir"):
        training.check_same_data(tmp_path, data["others"])
