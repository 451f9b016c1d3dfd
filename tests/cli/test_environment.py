"""The compilation cache is on for the command line, off for the library, and never in the way."""

import os
import platform
import subprocess
import sys

import pytest

from audiojax.cli.environment import is_writable, prepare
from audiojax.folders import cache_home

NAMES = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")


def clear(monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "")  # so that malloc stays as it is in the process of the tests
    for name in (*NAMES, "TRANSFORMERS_NO_ADVISORY_WARNINGS", "TOKENIZERS_PARALLELISM"):
        monkeypatch.setenv(name, "")  # so that the test's end removes what prepare() sets
        monkeypatch.delenv(name)


def test_prepare_keeps_compiled_programs_below_the_cache_folder(monkeypatch, tmp_path):
    clear(monkeypatch)
    monkeypatch.setenv("AUDIOJAX_CACHE", str(tmp_path / "cache"))
    prepare()
    assert [os.environ[name] for name in NAMES] == [str(tmp_path / "cache" / "jax"), "0.5"]


def test_what_the_user_has_set_stays(monkeypatch, tmp_path):
    clear(monkeypatch)
    monkeypatch.setenv("AUDIOJAX_CACHE", str(tmp_path))
    monkeypatch.setenv(NAMES[0], "/elsewhere")
    prepare()
    assert os.environ[NAMES[0]] == "/elsewhere"


def test_a_folder_that_cannot_be_written_means_no_cache(monkeypatch, tmp_path):
    clear(monkeypatch)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AUDIOJAX_CACHE", str(tmp_path / "file" / "cache"))
    assert not is_writable(cache_home())
    prepare()
    assert NAMES[0] not in os.environ


def test_jax_reads_these_settings_and_the_library_makes_none(tmp_path):
    program = (
        "import sys\n"
        "if len(sys.argv) > 1:\n"
        "    from audiojax.cli.environment import prepare; prepare()\n"
        "import audiojax, jax\n"
        "print(jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs)\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")} | {"AUDIOJAX_CACHE": str(tmp_path)}

    def shown(*words: str) -> str:
        return subprocess.run([sys.executable, "-c", program, *words], env=environment, capture_output=True, text=True, check=True).stdout

    assert shown("prepare").split() == [str(tmp_path / "jax"), "0.5"]
    assert shown().split()[0] == "None"


@pytest.mark.parametrize(
    ("tuned", "kept"), [({}, platform.libc_ver()[0] == "glibc"), ({"MALLOC_ARENA_MAX": "2"}, False), ({"GLIBC_TUNABLES": ""}, False)]
)
def test_malloc_keeps_freed_memory_unless_the_user_tunes_it(tuned, kept):
    program = "from audiojax.cli.environment import keep_freed_memory; print(keep_freed_memory())"
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES" and not k.startswith("MALLOC_")} | tuned
    shown = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True).stdout
    assert shown.split() == [str(kept)]
