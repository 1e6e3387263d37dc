"""Single quantities: `squared_norms`, `gradients`, `second_moments`, `inner_products`, `sketch`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_gradvar.per_example.batches import Batch, state_of
from tf_gradvar.per_example.compiled import run
from tf_gradvar.per_example.differentiate import gradient_forms
from tf_gradvar.per_example.evaluation import Evaluation
from tf_gradvar.per_example.forms import Wanted
from tf_gradvar.per_example.measure import statistics, sum_by_layer
from tf_gradvar.per_example.units import find_units


@tf.autograph.experimental.do_not_convert
def squared_norms(
    model: keras.Model,
    x: Any,
    y: Any,
    loss: Any = None,
    *,
    per_layer: bool = False,
    **options: Any,
) -> tf.Tensor | dict[str, tf.Tensor]:
    """Squared norms `||g_i||^2` of the gradient of each example's unreduced loss.

    Args:
        model: A built `keras.Model`. It is not changed.
        x: Inputs, `[B, ...]` or a structure of them.
        y: Labels, structured as the outputs of the model.
        loss: A Keras loss, its name, or a function; see `statistics`.
        per_layer: Return the norms of each layer's part. Defaults to False.
        **options: `sample_weight`, `loss_weights`, `training`, `weights`, `other_weights`,
            `chunk_size` and `on_unknown` of `statistics`.

    Returns:
        `[B]`, or a dictionary layer name -> `[B]`.

    Raises:
        ValueError: As `statistics`.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from tf_gradvar import per_example
        >>> model = keras.Sequential(
        ...     [keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
        >>> x, y = np.float32([[1, 2], [3, 4]]), np.float32([[0], [0]])
        >>> per_example.squared_norms(model, x, y, "mse").numpy()
        array([ 216., 5096.], dtype=float32)

    Cost: less than a plain forward and backward pass for Dense layers (no weight gradient is
    formed), more for convolutions. Source: Goodfellow 2015, arXiv:1510.01799, for Dense.
    """
    result = statistics(model, x, y, loss, mean_gradient=False, per_layer=per_layer, **options)
    return result.squared_norms if not per_layer else result.layer_squared_norms or {}


@tf.autograph.experimental.do_not_convert
def second_moments(
    model: keras.Model, x: Any, y: Any, loss: Any = None, **options: Any
) -> list[tf.Tensor]:
    """Sums over the examples of the squared gradients, `sum_i g_i^2` per coordinate.

    Args:
        model: A built `keras.Model`. It is not changed.
        x: Inputs, `[B, ...]` or a structure of them.
        y: Labels, structured as the outputs of the model.
        loss: A Keras loss, its name, or a function; see `statistics`.
        **options: As for `squared_norms`.

    Returns:
        A list of `[*shape]` in the order of `model.trainable_variables`.

    Raises:
        ValueError: As `statistics`.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from tf_gradvar import per_example
        >>> model = keras.Sequential(
        ...     [keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
        >>> x, y = np.float32([[1, 2], [3, 4]]), np.float32([[0], [0]])
        >>> per_example.second_moments(model, x, y, "mse")[0].numpy().ravel()
        array([1800., 3280.], dtype=float32)

    Cost: one more product of matrices per Dense layer, `(a^2)^T (d^2)`; convolutions form the
    gradients of a few examples at a time.
    """
    result = statistics(model, x, y, loss, mean_gradient=False, second_moments=True, **options)
    return result.second_moments or []


@tf.autograph.experimental.do_not_convert
def sketch(
    model: keras.Model, x: Any, y: Any, loss: Any, size: int, seed: int = 0, **options: Any
) -> tf.Tensor:
    """Random projections of the gradients that keep inner products in expectation.

    Per layer, with random signs P and Q, `sum over positions of (A P) * (D Q) / sqrt(size)`,
    summed over the layers. Sketches with the same seed of the same model belong together.

    Args:
        model: A built `keras.Model`. It is not changed.
        x: Inputs, `[B, ...]` or a structure of them.
        y: Labels, structured as the outputs of the model.
        loss: A Keras loss, its name, or a function; see `statistics`.
        size: Numbers in a sketch.
        seed: Non-negative integer, selects the signs.
        **options: As for `squared_norms`.

    Returns:
        `[B, size]`.

    Raises:
        ValueError: As `statistics`, and for a `size` or `seed` out of range.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from tf_gradvar import per_example
        >>> model = keras.Sequential(
        ...     [keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
        >>> x, y = np.float32([[1, 2], [3, 4]]), np.float32([[0], [0]])
        >>> per_example.sketch(model, x, y, "mse", size=64).shape
        TensorShape([2, 64])

    Cost: `(I / m + O / n) * size` operations for each position of a Dense layer [I, O], with m up
    to `size / 16` and n up to 4; a convolution projects the gradient of an example instead.
    """
    result = statistics(
        model, x, y, loss, mean_gradient=False, sketch_size=size, seed=seed, **options
    )
    return tf.convert_to_tensor(result.sketch)


@tf.autograph.experimental.do_not_convert
def gradients(
    model: keras.Model,
    x: Any,
    y: Any,
    loss: Any = None,
    **options: Any,
) -> list[tf.Tensor]:
    """The gradient of each example's unreduced loss, in full.

    Args:
        model: A built `keras.Model`. It is not changed.
        x: Inputs, `[B, ...]` or a structure of them.
        y: Labels, structured as the outputs of the model.
        loss: A Keras loss, its name, or a function; see `statistics`.
        **options: `sample_weight`, `loss_weights`, `training`, `weights`, `chunk_size` and
            `on_unknown` of `statistics`.

    Returns:
        A list of `[B, *shape]` in the order of `model.trainable_variables`.

    Raises:
        ValueError: As `statistics`.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from tf_gradvar import per_example
        >>> model = keras.Sequential(
        ...     [keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
        >>> x, y = np.float32([[1, 2], [3, 4]]), np.float32([[0], [0]])
        >>> kernel, bias = per_example.gradients(model, x, y, "mse")
        >>> kernel.numpy()[:, :, 0]
        array([[ 6., 12.],
               [42., 56.]], dtype=float32)

    Cost: memory for B times the number of parameters.
    """
    return run(_gradients, model, x, y, loss, **options)


def _gradients(model: keras.Model, x: Any, y: Any, loss: Any, **options: Any) -> list[tf.Tensor]:
    evaluation = Evaluation(model, x, y, loss, **options)

    def of_slice(part: Batch) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        forms, _ = gradient_forms(evaluation.problem, part, evaluation.state)
        return [form.measure(Wanted(gradients=True)).gradients for form in forms], []

    return evaluation.in_chunks(of_slice)[0]


@tf.autograph.experimental.do_not_convert
def inner_products(
    model: keras.Model,
    x: Any,
    y: Any,
    loss: Any,
    other_weights: Sequence[Any],
    *,
    per_layer: bool = False,
    **options: Any,
) -> tf.Tensor | dict[str, tf.Tensor]:
    """`<g_i, g~_i>` between the gradients of an example at two weight settings.

    For the norms of the differences use `squared_norms(..., other_weights=...)`: it does not
    cancel where the two gradients nearly agree.

    Args:
        model: A built `keras.Model`. It is not changed.
        x: Inputs, `[B, ...]` or a structure of them.
        y: Labels, structured as the outputs of the model.
        loss: A Keras loss, its name, or a function; see `statistics`.
        other_weights: The second setting, a list in the order of `model.trainable_variables`,
            or of `model.weights`.
        per_layer: Return the products of each layer's part. Defaults to False.
        **options: `sample_weight`, `loss_weights`, `training`, `weights` (the first setting),
            `chunk_size` and `on_unknown` of `statistics`.

    Returns:
        `[B]`, or a dictionary layer name -> `[B]`.

    Raises:
        ValueError: As `statistics`.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from tf_gradvar import per_example
        >>> model = keras.Sequential(
        ...     [keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
        >>> x, y = np.float32([[1, 2], [3, 4]]), np.float32([[0], [0]])
        >>> snapshot = [np.float32([[0], [1]]), np.float32([0])]
        >>> per_example.inner_products(model, x, y, "mse", snapshot).numpy()
        array([ 144., 2912.], dtype=float32)

    Cost: two forward and backward passes. Source: the closed forms of Faghri et al. 2020,
    section 3.2, with the second example's inputs and output gradients in place of the centre's.
    """
    options |= {"other_weights": other_weights, "per_layer": per_layer}
    return run(_inner_products, model, x, y, loss, **options)


def _inner_products(
    model: keras.Model,
    x: Any,
    y: Any,
    loss: Any,
    *,
    other_weights: Sequence[Any],
    per_layer: bool,
    **options: Any,
) -> tf.Tensor | dict[str, tf.Tensor]:
    evaluation = Evaluation(model, x, y, loss, **options)
    units = evaluation.units
    states = [evaluation.state, state_of("other_weights", model, other_weights)]

    def of_slice(part: Batch) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        (ours, _), (theirs, _) = (
            gradient_forms(evaluation.problem, part, state) for state in states
        )
        products = [g.inner_products(h) for g, h in zip(ours, theirs, strict=True)]
        return sum_by_layer(units, products), []

    each, _ = evaluation.in_chunks(of_slice)
    if per_layer:
        return {unit.name: values for unit, values in zip(units, each, strict=True)}
    return tf.add_n(each)


def variable_layers(model: keras.Model) -> list[str]:
    """The layer name of each trainable variable, as `per_layer` results use it.

    Args:
        model: A built `keras.Model`.

    Returns:
        One name for each of `model.trainable_variables`.

    Example:
        >>> import keras
        >>> from tf_gradvar import per_example
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="head")],
        ...                          name="net")
        >>> per_example.variable_layers(model)
        ['net/head', 'net/head']
    """
    names = [""] * len(model.trainable_variables)
    for unit in find_units(model):
        for index in unit.indices:
            names[index] = unit.name
    return names
