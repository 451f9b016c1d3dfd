"""Where a user's files lie when no folder is named.

platformdirs is imported on use: `audiojax doctor` asks for these folders also where it is missing.
"""

import os
from pathlib import Path


def cache_home() -> Path:
    """Folder of compiled programs and embeddings: $AUDIOJAX_CACHE, or the user's cache folder."""
    if os.environ.get("AUDIOJAX_CACHE"):
        return Path(os.environ["AUDIOJAX_CACHE"]).expanduser()
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("audiojax"))


def data_home() -> Path:
    """Folder of built datasets: $AUDIOJAX_DATA, or the user's data folder."""
    if os.environ.get("AUDIOJAX_DATA"):
        return Path(os.environ["AUDIOJAX_DATA"]).expanduser()
    from platformdirs import user_data_dir

    return Path(user_data_dir("audiojax"))
