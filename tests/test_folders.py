"""The user's folders: what a variable names, else what the system calls them."""

import subprocess
import sys
from pathlib import Path

import pytest
from platformdirs import user_cache_dir

from audiojax.folders import cache_home


@pytest.mark.parametrize(
    ("value", "folder"), [("", user_cache_dir("audiojax")), ("/some/where", "/some/where"), ("~/here", Path.home() / "here")]
)
def test_the_cache_lies_where_the_variable_says(monkeypatch, value, folder):
    monkeypatch.setenv("AUDIOJAX_CACHE", value)
    assert cache_home() == Path(folder)


def test_asking_for_a_named_folder_needs_no_package(tmp_path):
    program = "import sys; sys.modules['platformdirs'] = None; from audiojax.folders import cache_home; print(cache_home())"
    done = subprocess.run([sys.executable, "-c", program], env={"AUDIOJAX_CACHE": str(tmp_path)}, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (str(tmp_path), "")
