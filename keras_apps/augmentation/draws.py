"""Seeds of the random numbers of a batch, which depend on nothing but its number."""

from __future__ import annotations

import enum

import tensorflow as tf


class Purpose(enum.IntEnum):
    """Streams of random numbers that must not depend on each other."""

    CROP = 1
    FLIP = 2
    RATIO = 3
    PARTNER = 4
    CENTRE = 5
    IS_NOISY = 6
    OTHER_CLASS = 7


def seed_of_batch(seed: int, purpose: Purpose, number: tf.Tensor) -> tf.Tensor:
    """Return the seed of a stateless operation, int64 [2].

    Args:
        seed: Of the run.
        purpose: What the numbers are drawn for.
        number: Of the batch, int64.
    """
    stream = tf.constant([seed, purpose], tf.int64)
    return tf.random.experimental.stateless_fold_in(stream, number)
