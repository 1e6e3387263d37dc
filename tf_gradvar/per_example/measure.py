"""`statistics`: everything that is asked for, from one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_gradvar.arguments import check_count
from tf_gradvar.per_example.batches import Batch, State, state_of
from tf_gradvar.per_example.compiled import run
from tf_gradvar.per_example.differentiate import gradient_forms
from tf_gradvar.per_example.evaluation import Evaluation
from tf_gradvar.per_example.forms import GradientForm, Measured, Wanted, difference_of
from tf_gradvar.per_example.projection import Projection
from tf_gradvar.per_example.units import Unit

_TABLES = keras.layers.Embedding


class Statistics(NamedTuple):
    """What one pass over a batch of B examples has measured; None where it was not asked for.

    Attributes:
        losses: Unreduced loss of each example, `[B]`, without what layers add to it themselves
            (which the gradients hold).
        squared_norms: `||g_i||^2`, `[B]`.
        mean_gradient: `(1/B) sum_i g_i`, a list in the order of `model.trainable_variables`.
        second_moments: `sum_i g_i^2` per coordinate, a list of the same shapes.
        sketch: `[B, sketch_size]`.
        layer_squared_norms: Layer name -> squared norms of its part of the gradient, `[B]`.
    """

    losses: tf.Tensor
    squared_norms: tf.Tensor
    mean_gradient: list[tf.Tensor] | None = None
    second_moments: list[tf.Tensor] | None = None
    sketch: tf.Tensor | None = None
    layer_squared_norms: dict[str, tf.Tensor] | None = None


@tf.autograph.experimental.do_not_convert
def statistics(
    model: keras.Model,
    x: Any,
    y: Any,
    loss: Any = None,
    *,
    sample_weight: Any = None,
    loss_weights: Any = None,
    training: bool = False,
    weights: Sequence[Any] | None = None,
    other_weights: Sequence[Any] | None = None,
    mean_gradient: bool = True,
    second_moments: bool = False,
    sketch_size: int | None = None,
    seed: int = 0,
    per_layer: bool = False,
    chunk_size: int | None = None,
    on_unknown: str = "fallback",
) -> Statistics:
    """Everything that is asked for, from one forward and one backward pass.

    With `other_weights` it is measured of the differences g_i - g~_i (SVRG), g~_i being the
    gradient of example i at the other weights; that takes a second pass.

    Args:
        model: A built `keras.Model`. It is not changed.
        x: Inputs, `[B, ...]` or a structure of them, as `model(x)` takes them.
        y: Labels, structured as the outputs of the model.
        loss: A Keras loss, its name, or a function `(y_true, y_pred)` -> `[B]` or `[B, ...]`; a
            list or dictionary of these for several outputs. Defaults to None: what the model was
            compiled with, `loss_weights` and a `compute_loss` of its own included. The loss of an
            example is what Keras computes for a batch that holds it alone.
        sample_weight: Weights of the examples, `[B]` or `[B, 1]`, or one for each position of
            the loss. Defaults to all one.
        loss_weights: One number for each output, with a `loss`. Defaults to all one.
        training: Whether layers run in training mode. Defaults to False.
        weights: Evaluate at these instead of the model's own weights; a list in the order of
            `model.trainable_variables`, or of `model.weights`.
        other_weights: A second setting, in the same form. Defaults to none: no difference
            is taken.
        mean_gradient: Whether to return the mean gradient. Defaults to True.
        second_moments: Whether to return the sums of squares per coordinate. Defaults to False.
        sketch_size: Numbers in a sketch (see `sketch`). Defaults to None: no sketch.
        seed: Seed of the sketch.
        per_layer: Whether to return the squared norms of each layer, too. Defaults to False.
        chunk_size: Process so many examples at a time. Defaults to None: all at once; convolutions
            are cut into slices in any case.
        on_unknown: "fallback" (exact, slower, logged once) or "raise" for layers without a rule.

    Returns:
        `Statistics`; float32, or float64 for a float64 model.

    Raises:
        ValueError: For arguments that break these rules, examples that interact (in the model or
            the loss), layers that draw noise in inference mode, batch normalisation in training
            mode, and with `on_unknown="raise"` an unknown layer.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from tf_gradvar import per_example
        >>> model = keras.Sequential(
        ...     [keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
        >>> x, y = np.float32([[1, 2], [3, 4]]), np.float32([[0], [0]])
        >>> result = per_example.statistics(model, x, y, "mse")
        >>> result.squared_norms.numpy()  # (2 * 3)^2 * (1 + 4 + 1), (2 * 7)^2 * (9 + 16 + 1)
        array([ 216., 5096.], dtype=float32)
        >>> result.mean_gradient[0].numpy().ravel()  # kernel
        array([24., 34.], dtype=float32)

    Cost: about one plain forward and backward pass where all layers have rules; the memory of
    one such pass plus a slice of per-example gradients of one layer. The first call is traced,
    later ones with the same loss, options and shapes run compiled (`compiled.py` says when). The
    first one with a model and a loss also compares at most four examples alone and together:
    four or more small forward passes, and two backward.
    """
    return run(
        _statistics,
        model,
        x,
        y,
        loss,
        sample_weight=sample_weight,
        loss_weights=loss_weights,
        training=training,
        weights=weights,
        other_weights=other_weights,
        mean_gradient=mean_gradient,
        second_moments=second_moments,
        sketch_size=sketch_size,
        seed=seed,
        per_layer=per_layer,
        chunk_size=chunk_size,
        on_unknown=on_unknown,
    )


def _statistics(
    model: keras.Model,
    x: Any,
    y: Any,
    loss: Any,
    *,
    mean_gradient: bool,
    second_moments: bool,
    sketch_size: int | None,
    seed: int,
    per_layer: bool,
    other_weights: Sequence[Any] | None = None,
    **options: Any,
) -> Statistics:
    """`statistics` as it is traced; `options` are those of `Evaluation`."""
    evaluation = Evaluation(model, x, y, loss, **options)
    units = evaluation.units
    other = None if other_weights is None else state_of("other_weights", model, other_weights)
    sketches = None
    if sketch_size is not None:
        sketches = projections(units, sketch_size, seed)

    def of_slice(part: Batch) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        forms, losses = _differences(evaluation, part, other)
        measured = []
        for index, form in enumerate(forms):
            projection = None if sketches is None else sketches[index]
            wanted = Wanted(True, mean_gradient, second_moments, projection=projection)
            measured.append(form.measure(wanted))
        return _each(units, losses, measured, per_layer), _sums(measured)

    each, sums = evaluation.in_chunks(of_slice)
    return _packed(units, each, sums, mean_gradient, second_moments, sketches, per_layer)


def _differences(
    evaluation: Evaluation, part: Batch, other: State | None
) -> tuple[list[GradientForm], tf.Tensor]:
    """The gradients at the first setting, less those at the second where there is one."""
    forms, losses = gradient_forms(evaluation.problem, part, evaluation.state)
    if other is not None:
        others, _ = gradient_forms(evaluation.problem, part, other)
        forms = [difference_of(g, h) for g, h in zip(forms, others, strict=True)]
    return forms, losses


def _each(
    units: list[Unit], losses: tf.Tensor, measured: list[Measured], per_layer: bool
) -> list[tf.Tensor]:
    """Results with an example axis: losses, norms, sketch, then the norms of each layer."""
    layers = sum_by_layer(units, [m.squared_norms for m in measured])
    sketches = [m.sketch for m in measured if m.sketch is not None]
    each = [losses, tf.add_n(layers)]
    if sketches:
        each.append(tf.add_n(sketches))
    return each + layers if per_layer else each


def _sums(measured: list[Measured]) -> list[tf.Tensor]:
    """Results summed over the examples: all totals, then all squares."""
    totals = [m.total for m in measured if m.total is not None]
    return totals + [m.squares for m in measured if m.squares is not None]


def _packed(
    units: list[Unit],
    each: list[tf.Tensor],
    sums: list[tf.Tensor],
    mean_gradient: bool,
    second_moments: bool,
    sketches: list[Projection] | None,
    per_layer: bool,
) -> Statistics:
    losses, norms, *rest = each
    sketch = rest.pop(0) if sketches is not None else None
    layers = {u.name: values for u, values in zip(units, rest, strict=True)} if per_layer else None
    squares = sums[len(sums) // 2 if mean_gradient else 0 :] if second_moments else None
    mean = None
    if mean_gradient:
        totals = sums[: len(sums) // 2] if second_moments else sums
        mean = [total / tf.cast(tf.shape(losses)[0], total.dtype) for total in totals]
    return Statistics(losses, norms, mean, squares, sketch, layers)


def sum_by_layer(units: list[Unit], values: Sequence[Any]) -> list[tf.Tensor]:
    """Add the values `[B]` of the variables of each unit."""
    return [tf.add_n([values[index] for index in unit.indices]) for unit in units]


def projections(units: list[Unit], size: int, seed: int) -> list[Projection]:
    """One projection for each trainable variable."""
    size = check_count("sketch_size", size, "the numbers in a sketch")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"`seed` must be a non-negative integer, received {seed!r}.")
    placed = {
        index: Projection(size, seed, place, index, not isinstance(unit.layer, _TABLES))
        for place, unit in enumerate(units)
        for index in unit.indices
    }
    return [placed[index] for index in range(len(placed))]
