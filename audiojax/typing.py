"""Array aliases that the public signatures share."""

from collections.abc import Mapping
from typing import Any

import jax

Array = jax.Array
Key = jax.Array  # a typed key, as jax.random.key makes it
Params = Mapping[str, Any]  # a nested dict of arrays
Batch = Mapping[str, jax.Array]  # name -> [b, ...]
