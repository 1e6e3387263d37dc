"""The momentum of Keras' SGD as an average of gradients."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from tf_gradvar.keras_internals import learning_rate_setting

# Terms of a momentum buffer with a smaller weight than this are left out of its normalisation.
_SMALLEST_WEIGHT = 1e-4


def momentum_buffers(optimizer: keras.optimizers.SGD) -> list[np.ndarray]:
    """Return the momentum buffers of Keras' SGD as averages of gradients, [1, *shape] each.

    Keras keeps velocity_t = beta velocity_{t-1} - lr_t g_t. With one learning rate,
    m = -(1 - beta) velocity / lr is the moving average that starts at zero. A schedule weighs the
    gradients by their own rates: there m = -(1 - beta^t) velocity / sum_s beta^(t-s) lr_s, which
    is the same for one rate, and does not blow up where the schedule ends at zero.
    """
    beta = optimizer.momentum
    longest = math.ceil(math.log(_SMALLEST_WEIGHT) / math.log(beta))
    steps = int(on_host(optimizer.iterations))
    ages = range(min(steps, longest))
    total = sum(beta**age * _learning_rate(optimizer, steps - 1 - age) for age in ages)
    scale = -(1 - beta ** len(ages)) / total if total else 0.0
    return [scale * on_host(velocity)[None] for velocity in optimizer.momentums]


def _learning_rate(optimizer: keras.optimizers.Optimizer, step: int) -> float:
    schedule = learning_rate_setting(optimizer)
    if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        return float(schedule(step))
    return float(on_host(optimizer.learning_rate))


def on_host(variable: Any) -> np.ndarray:
    """Return the value of a variable; of its first copy where a strategy mirrors it."""
    return keras.ops.convert_to_numpy(variable)
