"""Weights of the examples of a batch, in the shape in which Keras applies them to a loss.

Keras multiplies the unreduced losses of an output by `sample_weight`. It adds or drops a last axis
of 1 where the ranks differ by one, and broadcasts otherwise, by the last axes: weights `[B]` on
losses `[B, T]` fail, or weigh positions where T = B. What fits is

    losses [B]                              weights [B] or [B, 1]
    losses [B, T]                           weights [B, 1] or [B, T]
    losses [B, T, U] and of higher rank     weights of that rank

The rank of the losses is told by `loss_rank`, or guessed from the labels.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tf_gradvar.arguments import check_count


def weight_shapes(y: Any, loss_rank: Any) -> Any:
    """Return the shape of one example's weights for each output, a structure like `y`.

    Without `loss_rank`: labels that are whole numbers stand for the losses of one position each
    (`[B]`, `[B, T]`, `[B, H, W]`), others have one axis more than the losses (`[B, D]`,
    `[B, T, D]`, `[B, H, W, D]`). Losses of two axes get `[B, 1]`, which fits `[B]`, too; those of
    three and more get weights of their own shape, so that a wrong guess fails.

    Args:
        y: Tensors with the examples along axis 0.
        loss_rank: The rank of the unreduced loss, batch axis included, or a structure of them
            like `y`; None: guessed.

    Returns:
        A structure like `y` of `tf.TensorShape`.

    Raises:
        ValueError: Another `loss_rank`.

    Example:
        >>> import tensorflow as tf
        >>> tokens = tf.zeros([2, 7], tf.int32)
        >>> weight_shapes(tokens, None), weight_shapes(tokens, 1)
        (TensorShape([1]), TensorShape([]))
    """
    if loss_rank is None:
        return keras.tree.map_structure(_guessed, y)
    ranks = keras.tree.lists_to_tuples(loss_rank)
    if not keras.tree.is_nested(ranks):
        ranks = keras.tree.map_structure(lambda leaf: loss_rank, y)
    try:
        keras.tree.assert_same_structure(ranks, y)
    except ValueError as error:
        raise ValueError(
            "`loss_rank` must be one integer, or a structure of integers like `y`, one for each "
            f"output. Received: loss_rank={loss_rank!r}."
        ) from error
    meaning = "the axes of the unreduced loss, that of the batch included"
    return keras.tree.map_structure(
        lambda rank: tf.TensorShape([1] * (check_count("loss_rank", rank, meaning) - 1)), ranks
    )


def _guessed(labels: tf.Tensor) -> tf.TensorShape:
    shape = labels.shape[1:] if _whole(labels.dtype) else labels.shape[1:-1]
    return shape if shape.rank > 1 else tf.TensorShape([1] * shape.rank)


def _whole(dtype: tf.DType) -> bool:
    return dtype.is_integer or dtype.is_bool or dtype == tf.string


def weights_of_batch(weights: tf.Tensor, given: Any, shapes: Any) -> Any:
    """Return the weights of a batch for Keras, multiplied by the user's own.

    Args:
        weights: Of the examples, float64 `[B]`.
        given: The user's weights of these examples, `[B, ...]` for all outputs or a structure of
            them like y; None: 1.
        shapes: What `weight_shapes` returned.

    Returns:
        Weights of each output; one tensor where all outputs get the same.
    """
    flat = keras.tree.flatten(shapes)
    if keras.tree.is_nested(given):
        pairs = zip(keras.tree.flatten(given), flat, strict=True)
        found = [_weighted(weights, *pair) for pair in pairs]
        return keras.tree.pack_sequence_as(given, found)
    if all(shape == flat[0] for shape in flat):
        return _weighted(weights, given, flat[0])
    return keras.tree.map_structure(lambda shape: _weighted(weights, given, shape), shapes)


def _weighted(weights: tf.Tensor, own: tf.Tensor | None, shape: tf.TensorShape) -> tf.Tensor:
    """Return weights `[B, *shape]`, or of the user's own shape where that has more axes."""
    count = weights.shape[0]
    if own is None:
        own = tf.ones([count], keras.config.floatx())
    axes = max(own.shape.rank - 1, shape.rank)
    own = tf.reshape(own, [*own.shape, *[1] * (axes + 1 - own.shape.rank)])
    full = tf.reshape(tf.cast(weights, own.dtype), [count, *[1] * axes])
    full = tf.broadcast_to(full, [count, *shape, *[1] * (axes - shape.rank)])
    return own * full
