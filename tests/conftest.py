"""All tests run on 8 fake CPU devices, offline, with implicit rank promotion an error.

They and the processes they start share one folder of compiled programs, which is gone afterwards: many compile the same few steps. XLA
generates code without optimising it: most of the time goes into compiling programs that run once (40 % less in all; the graph passes stay).
"""

import atexit
import gc
import os
import shutil
import tempfile

XLA_FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {XLA_FLAGS}"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # pytest-xdist's workers have it from the process that starts them
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="audiojax-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import jax  # noqa: E402
import pytest  # noqa: E402
from absl import flags  # noqa: E402
from hypothesis import settings  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
flags.FLAGS.mark_as_parsed()  # Grain worker processes read absl flags


settings.register_profile("audiojax", deadline=None)  # no test is timed
settings.load_profile("audiojax")


def pytest_collection_finish():
    """What is imported by now stays for good: searching it for garbage after each file would cost a fifth of a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def compiled_programs_go_with_their_file():
    """A process that runs all files would keep every program that it compiled: 10 GB in the end."""
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture
def strict_dtypes():
    """Implicit dtype promotion is an error inside the test."""
    with jax.numpy_dtype_promotion("strict"):
        yield
