"""All tests run on 8 fake CPU devices, offline, with implicit rank promotion an error."""

import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")

import jax  # noqa: E402
import pytest  # noqa: E402
from absl import flags  # noqa: E402
from hypothesis import settings  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
flags.FLAGS.mark_as_parsed()  # Grain worker processes read absl flags


settings.register_profile("audiojax", deadline=None)  # no test is timed
settings.load_profile("audiojax")


@pytest.fixture
def strict_dtypes():
    """Implicit dtype promotion is an error inside the test."""
    with jax.numpy_dtype_promotion("strict"):
        yield
