"""The user's folders: what a variable names, else what the system calls them."""

import subprocess
import sys
from pathlib import Path

import pytest
from platformdirs import user_cache_dir, user_data_dir

from audiojax.folders import cache_home, data_home


@pytest.mark.parametrize(
    ("variable", "home", "default"),
    [("AUDIOJAX_CACHE", cache_home, user_cache_dir("audiojax")), ("AUDIOJAX_DATA", data_home, user_data_dir("audiojax"))],
)
def test_folders_lie_where_the_variables_say(monkeypatch, variable, home, default):
    for value, folder in (("", default), ("/some/where", "/some/where"), ("~/here", Path.home() / "here")):
        monkeypatch.setenv(variable, value)
        assert home() == Path(folder)


def test_asking_for_a_named_folder_needs_no_package(tmp_path):
    program = "import sys; sys.modules['platformdirs'] = None; from audiojax.folders import cache_home; print(cache_home())"
    done = subprocess.run([sys.executable, "-c", program], env={"AUDIOJAX_CACHE": str(tmp_path)}, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (str(tmp_path), "")
