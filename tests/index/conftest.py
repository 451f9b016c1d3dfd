"""A folder of sounds, its index, and folders that cannot be listed."""

import os

import pytest

from audiojax.index.search import Index
from audiojax.index.store import Settings
from audiojax.index.update import update_index
from tests.index.sounds import RATE, write


@pytest.fixture
def folder(tmp_path):
    """Six one-second sounds of constant level, in two folders."""
    root = tmp_path / "sounds"
    for number in range(6):
        write(root / ("b" if number % 2 else ".") / f"{number}.wav", (number + 1) / 10)
    return root


@pytest.fixture
def update(tmp_path):
    """update(folder, model, **changes) -> Index, with this test's index and one child; changes of settings or arguments."""

    def call(folder, model, out=tmp_path / "index", **changes):
        settings = {"model": "runs/m", "model_id": "m", "sample_rate": RATE, "seconds": 1.0}
        settings |= {name: changes.pop(name) for name in list(changes) if name in Settings.__dataclass_fields__}
        computed = update_index(folder, out, model, Settings(**settings), **{"batch_size": 2, "workers": 1} | changes)
        opened = Index.open(out)
        opened.computed = computed
        return opened

    return call


@pytest.fixture
def closed(monkeypatch):
    """closed(folder) makes a folder that cannot be listed, also for the superuser."""
    genuine, names = os.scandir, []

    def scandir(path):
        if os.path.basename(path) in names:
            raise PermissionError(13, "Permission denied", path)
        return genuine(path)

    monkeypatch.setattr(os, "scandir", scandir)
    return lambda folder: names.append(folder.name)
