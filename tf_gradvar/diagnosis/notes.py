"""Remarks on a model that decide how it is measured, or that its user should know."""

from __future__ import annotations

import keras

from tf_gradvar.data.examples import Examples
from tf_gradvar.keras_internals import flatten_layers, is_seed
from tf_gradvar.losses import ModelLoss
from tf_gradvar.per_example import check_examples


def has_batch_norm(model: keras.Model) -> bool:
    """Return whether a layer normalizes over the batch in training mode."""
    return any(
        isinstance(layer, keras.layers.BatchNormalization) for layer in flatten_layers(model)
    )


def has_noise(model: keras.Model) -> bool:
    """Return whether a layer draws random numbers in training mode."""
    return any(is_seed(variable) for variable in model.non_trainable_variables)


def of_model(model: keras.Model) -> list[str]:
    """Return what a user must know of a model that is measured in inference mode."""
    kinds = [
        name
        for name, present in (
            ("batch normalization", has_batch_norm(model)),
            ("layers that draw noise in training, such as dropout", has_noise(model)),
        )
        if present
    ]
    if not kinds:
        return []
    return [
        f"The model has {' and '.join(kinds)}. It was measured in inference mode, where every "
        "example has a gradient of its own; training adds the noise of these layers. "
        "`training=True` measures that, too, from batches that are drawn."
    ]


def reason_for_draws(
    model: keras.Model, loss: ModelLoss, examples: Examples, training: bool
) -> str | None:
    """Return why batches must be drawn to measure, as a sentence; None: they need not.

    Raises:
        ValueError: A model or loss that cannot be measured either way.
    """
    if training and (has_batch_norm(model) or has_noise(model)):
        kind = "batch normalization" if has_batch_norm(model) else "layers that draw noise"
        return (
            f"The model has {kind} and was measured in training mode, from batches that were "
            "really drawn: no example has a gradient of its own there. So the report cannot say "
            "who makes the noise, nor predict what would help."
        )
    piece = next(iter(examples.pieces(None, None, 64)))
    try:
        check_examples(loss, piece.x, piece.y, piece.sample_weight)
    except ValueError as error:
        if "monte_carlo" not in str(error):
            raise
        return (
            "Measured from batches that were really drawn, because no example has a gradient of "
            f"its own: {str(error).split('. ')[0]}. So the report cannot say "
            "who makes the noise, nor predict what would help."
        )
    return None
