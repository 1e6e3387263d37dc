"""Quantities of two settings or of many numbers: full gradients and inner products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_gradvar.per_example.forms.form import Wanted
from tf_gradvar.per_example.recording.compiled import run
from tf_gradvar.per_example.recording.recorder import Recorder
from tf_gradvar.per_example.recording.units import find_units


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
        loss: A Keras loss, its name, or a function; see `statistics`. Defaults to None: what the
            model was compiled with.
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

    Source: Faghri et al. 2020, section 3: g_i, from which all else is defined.

    Memory: B times the number of parameters.
    """
    return run(_gradients, model, x, y, loss, **options)


def _gradients(
    model: keras.Model,
    x: Any,
    y: Any,
    loss: Any,
    *,
    sample_weight: Any = None,
    chunk_size: int | None = None,
    **options: Any,
) -> list[tf.Tensor]:
    recorder = Recorder(model, loss, **options)

    def of_slice(*part: Any) -> tuple[list[Any], None]:
        forms, _ = recorder.forms(*part)
        return [form.measure(Wanted(gradients=True)).gradients for form in forms], None

    return recorder.in_chunks(of_slice, x, y, sample_weight, chunk_size)[0]


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

    Source: the closed forms of Faghri et al. 2020, section 3.2, Eq. 5, with the second example's
    inputs and output gradients in place of the centre's.

    Cost: two forward and backward passes.
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
    sample_weight: Any = None,
    chunk_size: int | None = None,
    **options: Any,
) -> tf.Tensor | dict[str, tf.Tensor]:
    recorder = Recorder(model, loss, **options)

    def of_slice(*part: Any) -> tuple[dict[str, tf.Tensor], None]:
        ours, _ = recorder.forms(*part)
        theirs, _ = recorder.forms(*part, other_weights=other_weights)
        products = [g.inner_products(h) for g, h in zip(ours, theirs, strict=True)]
        return recorder.by_layer(products), None

    each, _ = recorder.in_chunks(of_slice, x, y, sample_weight, chunk_size)
    return each if per_layer else tf.add_n(list(each.values()))


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

    Cost: one walk over the layers.
    """
    names = [""] * len(model.trainable_variables)
    for unit in find_units(model):
        for index in unit.indices:
            names[index] = unit.name
    return names
