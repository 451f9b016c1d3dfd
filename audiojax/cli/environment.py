"""What the command line sets for its own process, and the library never does.

absl is imported on use: `audiojax doctor` reads this file also where it is missing.
"""

import ctypes
import os
from pathlib import Path

from audiojax.files import make_folder
from audiojax.folders import cache_home


def is_writable(folder: Path) -> bool:
    """Whether a file can be made in the folder, which is made if it is missing."""
    try:
        make_folder(folder)
    except OSError:
        return False
    return True


def prepare() -> None:
    """Keeps compiled programs on disk from run to run, and lets Grain's worker processes start.

    Works through environment variables, so that jax is not imported and child processes do the same; malloc is set for this process alone.
    What the user has set stays.
    """
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    compiled = cache_home() / "jax"
    if is_writable(compiled):
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(compiled))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # Grain forks nothing, but the warning would break the progress bar
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Lets malloc keep up to 1 GiB of what XLA frees after a step, which it needs again in the next one; whether that could be set.

    glibc maps every large block anew, and the kernel clears its pages: a fifth of a small model's training step on a CPU. Does nothing
    without glibc, or where the user tunes malloc through the environment.
    """
    if any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ):
        return False
    trim_threshold, mmap_max, arena_max = -1, -4, -8  # M_TRIM_THRESHOLD, M_MMAP_MAX and M_ARENA_MAX of malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return False
    return all(mallopt(name, value) == 1 for name, value in ((mmap_max, 0), (trim_threshold, 1 << 30), (arena_max, 1)))
