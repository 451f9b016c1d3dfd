"""What imports what: the floors of pyproject.toml hold, host code knows no jax, and importing the package does nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

import audiojax

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "audiojax"
HOST_ROOMS = (
    "audio/io.py",
    "text",
    "data/sources.py",
    "data/transforms.py",
    "data/soundworld",
    "data/layouts",
    "data/check.py",
    "data/hearing.py",
    "data/recordings.py",
    "data/shards.py",
    "metrics",
    "pretrained/reading.py",
)
HEAVY = ("jax", "numpy", "flax", "grain", "orbax", "tensorflow_datasets", "transformers", "librosa", "torch")


def module_names(place: str) -> list[str]:
    path = PACKAGE / place
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    names = [".".join(("audiojax", *file.relative_to(PACKAGE).with_suffix("").parts)) for file in files]
    return [name.removesuffix(".__init__") for name in names]


def loaded_after(program: str, candidates: tuple[str, ...]) -> list[str]:
    """Which of the candidates a fresh interpreter has loaded after the program."""
    words = [sys.executable, "-c", f"{program}\nimport sys; print(*[name for name in {candidates!r} if name in sys.modules])"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_floors_hold():
    lint = Path(sys.prefix, "bin", "lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


def test_import_audiojax_loads_nothing_heavy():
    assert loaded_after("import audiojax", HEAVY) == []


def test_host_code_loads_no_jax():
    names = [name for place in HOST_ROOMS for name in module_names(place)]
    assert len(names) > 20
    program = "\n".join(f"import {name}" for name in names)
    assert loaded_after(program, ("jax", "jaxlib", "torch")) == []


def test_the_library_starts_no_backend():
    program = "import audiojax.api\nfrom jax._src import xla_bridge\nassert not xla_bridge.backends_are_initialized()"
    assert loaded_after(program, ()) == []


@pytest.mark.parametrize("name", ["data/__init__.py", "audio/__init__.py"])
def test_worker_packages_have_empty_fronts(name):
    assert (PACKAGE / name).read_text() == ""


def test_public_names_are_those_of_the_api():
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = audiojax.lod
    assert callable(audiojax.load)
    assert set(audiojax.__all__) == {"__version__", *audiojax._API}


def test_no_room_for_odds_and_ends():
    names = {path.stem for path in PACKAGE.rglob("*.py")}
    assert not names & {"utils", "util", "common", "helpers", "misc"}
