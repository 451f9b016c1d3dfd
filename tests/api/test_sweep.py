"""What a sweep leaves behind between two of its runs."""

import ctypes

import jax
import pytest

from audiojax.api.sweep import release_memory


@pytest.mark.parametrize("library", [None, OSError, AttributeError])
def test_compiled_programs_are_given_back_also_without_glibc(monkeypatch, library):
    def missing(name):
        raise library("not here")

    if library:
        monkeypatch.setattr(ctypes, "CDLL", missing)
    double = jax.jit(lambda x: 2 * x)
    assert double(3.0) == 6
    assert double._cache_size() == 1
    release_memory()
    assert double._cache_size() == 0
    assert double(3.0) == 6
