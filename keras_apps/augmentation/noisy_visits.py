"""The labels, or the examples, of one noisy visit."""

from __future__ import annotations

import tensorflow as tf

from keras_apps.augmentation.label_noise import NoisyClasses


def draw_is_noisy(seed: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
    """Return what happens with its probability, bool [B].

    Args:
        seed: Of a stateless operation.
        probabilities: float64 [B].
    """
    return tf.random.stateless_uniform(probabilities.shape, seed, dtype=tf.float64) < probabilities


def draw_shifts(seed: tf.Tensor, count: int, num_classes: int) -> tf.Tensor:
    """Return how many classes further another class is, int32 [count].

    Args:
        seed: Of a stateless operation.
        count: How many.
        num_classes: The number of classes.
    """
    return tf.random.stateless_uniform([count], seed, 1, num_classes, tf.int32)


def noisy_labels(
    labels: tf.Tensor, is_noisy: tf.Tensor, shifts: tf.Tensor, num_classes: int
) -> tf.Tensor:
    """Return the labels [B], those that are noisy moved on by their shift.

    Args:
        labels: The true classes [B].
        is_noisy: bool [B].
        shifts: From 1 to `num_classes` - 1, [B].
        num_classes: The number of classes.
    """
    return tf.where(is_noisy, (labels + shifts) % num_classes, labels)


def rows_of_other_classes(
    numbers: tf.Tensor, clusters: tf.Tensor, classes: NoisyClasses
) -> tf.Tensor:
    """Return an example of another class than that of its group, int64 [B].

    Args:
        numbers: In [0, 1), float64 [B].
        clusters: The class of each group [B].
        classes: The true classes.
    """
    first = tf.gather(tf.constant(classes.first, tf.int64), clusters)
    own = tf.gather(tf.constant(classes.sizes, tf.int64), clusters)
    others = tf.cast(len(classes.rows) - own, tf.float64)
    place = tf.cast(numbers * others, tf.int64)
    place += tf.where(place >= first, own, 0)  # past those of the class itself
    return tf.gather(tf.constant(classes.rows, tf.int64), place)
