"""The notebooks store no output, and the install cell finds the source and the build of jax for the runtime, or says what is missing."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))
RUN_CELL = """
import importlib.metadata, json, os, sys
from types import SimpleNamespace
from IPython.core.interactiveshell import InteractiveShell

cell, *packages = json.loads(sys.argv[1])
importlib.metadata.distributions = lambda: [SimpleNamespace(name=name) for name in packages]
shell = InteractiveShell.instance()
shell.register_magic_function(lambda line: print("pip", line), magic_name="pip")
done = shell.run_cell(cell)
print("folder", os.getcwd())
print("error", repr(done.error_in_exec or done.error_before_exec))
"""


def cells(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


@pytest.fixture
def repository(tmp_path):
    """A stand-in for the repository, with a colab folder."""
    (tmp_path / "repository" / "colab").mkdir(parents=True)
    (tmp_path / "repository" / "audiojax").mkdir()
    for name in ("setup.py", "audiojax/__init__.py", "colab/diffatr.ipynb"):
        (tmp_path / "repository" / name).touch()
    return tmp_path / "repository"


def install(
    folder: Path, source: str = "", packages: tuple[str, ...] = (), tools: str = "", env: dict[str, str] | None = None
) -> list[str]:
    """Runs the install cell in `folder` with these packages installed; what it printed, pip being a stand-in, and the error."""
    (cell,) = ("".join(cell["source"]) for cell in cells(ROOT / "colab" / "diffatr.ipynb") if "%pip" in "".join(cell["source"]))
    assert cell.count('SOURCE = ""') == 1
    words = [sys.executable, "-c", RUN_CELL, json.dumps([cell.replace('SOURCE = ""', f"SOURCE = {source!r}"), *packages])]
    environment = {"PATH": tools, "HOME": str(folder), "IPYTHONDIR": str(folder / "ipython")} | (env or {})
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_store_no_output(path):
    for cell in cells(path):
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_all_notebooks_install_in_the_same_way():
    assert len({"".join(cells(path)[1]["source"]) for path in NOTEBOOKS}) == 1


def test_an_installed_audiojax_is_left_alone(tmp_path):
    assert install(tmp_path, packages=("audiojax", "jax")) == [f"folder {tmp_path}", "error None"]


@pytest.mark.parametrize("place", ["colab", "."])
def test_the_source_is_found_around_the_notebook(repository, place):
    expected = [f'pip install -q "audiojax @ {repository.as_uri()}" "jax"', f"folder {repository / 'colab'}", "error None"]
    assert install(repository / place) == expected


def test_a_clone_in_the_working_folder_is_found(repository, tmp_path):
    clone = repository.rename(tmp_path / "audiojax")
    assert install(tmp_path) == [f'pip install -q "audiojax @ {clone.as_uri()}" "jax"', f"folder {tmp_path}", "error None"]


def test_source_names_a_folder_or_an_address(repository, tmp_path):
    assert install(repository, ".")[0] == f'pip install -q "audiojax @ {repository.as_uri()}" "jax"'
    assert install(tmp_path, str(repository))[0] == f'pip install -q "audiojax @ {repository.as_uri()}" "jax"'
    address = "git+https://example.org/audiojax.git"
    assert install(tmp_path, address)[0] == f'pip install -q "audiojax @ {address}" "jax"'


@pytest.mark.parametrize("source", ["", "no/such/folder"])
def test_without_a_source_one_line_says_what_to_fill_in(tmp_path, source):
    *printed, error = install(tmp_path, source)
    assert not any(line.startswith("pip") for line in printed)
    assert error.startswith("error SystemExit('no source of audiojax here: set SOURCE")
    assert "\\n" not in error


@pytest.mark.parametrize(
    ("gpu", "env", "packages", "build"),
    [
        (True, {}, (), "jax[cuda13]"),
        (True, {}, ("jax", "jax-cuda12-plugin"), "jax[cuda12]"),
        (False, {"TPU_NAME": "local"}, ("jax",), "jax[tpu]"),
        (False, {"COLAB_TPU_ADDR": "10.0.0.2:8470"}, (), "jax[tpu]"),
    ],
)
def test_the_build_of_jax_is_the_runtime_s(repository, tmp_path, gpu, env, packages, build):
    (tmp_path / "tools").mkdir()
    if gpu:
        (tmp_path / "tools" / "nvidia-smi").symlink_to(shutil.which("true"))
    line, *_ = install(repository, packages=packages, tools=str(tmp_path / "tools"), env=env)
    assert line.endswith(f'"{build}"')
