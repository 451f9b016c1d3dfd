"""Position and noise-level tables that several networks share."""

import numpy as np
from jaxtyping import Float


def sinusoidal_table(max_len: int, width: int) -> Float[np.ndarray, "l d"]:
    """Fixed sinusoids: table[p, 2i] = sin(p / 10000^(2i / width)), table[p, 2i + 1] = cos of the same angle.

    A NumPy constant in float32 (angles in float64), so that tracing it costs nothing and it lands in the compiled program once.

    Args:
      max_len: number of positions, from 0.
      width: columns; an odd width ends on a sine.
    """
    position = np.arange(max_len, dtype=np.float64)[:, None]
    frequency = 10_000.0 ** (-np.arange(0, width, 2, dtype=np.float64) / width)  # [ceil(width / 2)]
    angle = position * frequency[None, :]
    table = np.zeros((max_len, width), np.float32)
    table[:, 0::2] = np.sin(angle)
    table[:, 1::2] = np.cos(angle[:, : width // 2])
    return table
