"""Group normalization with as many groups as a number of channels allows."""

from __future__ import annotations

import math
from typing import Any

import keras

EPSILON = 1e-5


def group_norm(channels: int, groups: int, decay: Any = None) -> keras.layers.GroupNormalization:
    """Return a layer that normalises an image over the channels of each group and all positions.

    Where the number of groups does not divide the channels, their greatest common divisor is
    taken: 24 channels are normalised in 8 groups instead of 32.

    Args:
        channels: The channels of its inputs.
        groups: The groups asked for.
        decay: Regularizer of the scale and the shift. Defaults to none.

    Returns:
        A layer with a scale and a shift for each channel.

    Source: Wu and He 2018, arXiv:1803.08494.
    """
    return keras.layers.GroupNormalization(
        math.gcd(groups, channels),
        epsilon=EPSILON,
        beta_regularizer=decay,
        gamma_regularizer=decay,
    )
