"""What a run carries from step to step."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from audiojax.trainer.optim import Optimizer
from audiojax.typing import Array, Key, Params


@flax.struct.dataclass
class TrainState:
    """The trainable part of a model and all that changes with it. Frozen parameters travel beside it.

    Attributes:
      step: int32 scalar, batches consumed, skipped ones included: the place in the data order.
      params: the trainable partition, nested dict.
      model_state: running statistics, may be {}.
      opt_state: of optax.
      ema: moving average of `params`, {} when off.
      key: the run's one typed key, constant; steps fold their number in.
      skipped: int32 scalar, steps skipped because loss or gradients were not finite.
      skipped_in_row: int32 scalar, of these the ones since the last good step.
    """

    step: Array
    params: Any
    model_state: Any
    opt_state: Any
    ema: Any
    key: Key
    skipped: Array
    skipped_in_row: Array


def create_state(params: Params, model_state: Any, optimizer: Optimizer, key: Key, ema: bool = False) -> TrainState:
    """The state at step 0 of the trainable `params`."""

    def zero() -> Array:
        return jnp.zeros((), jnp.int32)

    return TrainState(
        step=zero(),
        params=params,
        model_state=model_state,
        opt_state=optimizer.tx.init(params),
        ema=jax.tree.map(jnp.copy, params) if ema else {},
        key=key,
        skipped=zero(),
        skipped_in_row=zero(),
    )
