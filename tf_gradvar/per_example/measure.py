"""The public functions of `tf_gradvar.per_example`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_gradvar.arguments import check_count
from tf_gradvar.per_example.chunks import map_chunks
from tf_gradvar.per_example.differentiate import Batch, Problem, gradient_forms
from tf_gradvar.per_example.forms import GradientForm, Measured, Wanted, difference_of
from tf_gradvar.per_example.projection import Projection
from tf_gradvar.per_example.units import Unit, find_units

_TABLES = keras.layers.Embedding
State = list[tuple[keras.Variable, Any]]


class Statistics(NamedTuple):
    """What one pass over a batch of B examples has measured; None where it was not asked for.

    Attributes:
        losses: unreduced loss of each example, `[B]`.
        squared_norms: `||g_i||^2`, `[B]`.
        mean_gradient: `(1/B) sum_i g_i`, a list in the order of `model.trainable_variables`.
        second_moments: `sum_i g_i^2` per coordinate, a list of the same shapes.
        sketch: `[B, sketch_size]`.
        layer_squared_norms: layer name -> squared norms of its part of the gradient, `[B]`.
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
    loss: Any,
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
        model: a built `keras.Model`. It is not changed.
        x: inputs, `[B, ...]` or a structure of them, as `model(x)` takes them.
        y: labels, structured as the outputs of the model.
        loss: a Keras loss, its name, or a function `(y_true, y_pred)` -> `[B]` or `[B, ...]`; a
            list or dictionary of these for several outputs. A `reduction` over the batch is not
            applied: gradients are always of the unreduced loss.
        sample_weight: weights of the examples, `[B]`. Default: all one.
        loss_weights: one number for each output. Default: all one.
        training: whether layers run in training mode. Default False.
        weights: evaluate at these instead of the model's own weights; a list in the order of
            `model.trainable_variables`, or of `model.weights`.
        other_weights: a second setting, in the same form. Default: no difference is taken.
        mean_gradient: whether to return the mean gradient. Default True.
        second_moments: whether to return the sums of squares per coordinate. Default False.
        sketch_size: numbers in a sketch (see `sketch`). Default None: no sketch.
        seed: seed of the sketch.
        per_layer: whether to return the squared norms of each layer, too. Default False.
        chunk_size: process so many examples at a time. Default None: all at once; convolutions
            are cut into slices in any case.
        on_unknown: "fallback" (exact, slower, logged once) or "raise" for layers without a rule.

    Returns:
        `Statistics`; float32, or float64 for a float64 model.

    Raises:
        ValueError: for arguments that break these rules, a loss that reduces over the batch,
            batch normalisation in training mode, and with `on_unknown="raise"` an unknown layer.

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
    one such pass plus a slice of per-example gradients of one layer. Wrap it in `tf.function`
    to call it often.
    """
    _check_flags(on_unknown, chunk_size)
    units = find_units(model)
    problem = Problem(model, units, loss, loss_weights, training, on_unknown)
    batch = _as_batch(x, y, sample_weight)
    states = [_state("weights", model, weights)]
    if other_weights is not None:
        states.append(_state("other_weights", model, other_weights))
    sketches = None
    if sketch_size is not None:
        sketches = _projections(units, sketch_size, seed)

    def of_slice(part: Batch) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        forms, losses = _differences(problem, part, states)
        measured = []
        for index, form in enumerate(forms):
            projection = None if sketches is None else sketches[index]
            wanted = Wanted(True, mean_gradient, second_moments, projection=projection)
            measured.append(form.measure(wanted))
        return _each(units, losses, measured, per_layer), _sums(measured)

    each, sums = _in_chunks(of_slice, batch, chunk_size)
    return _packed(units, each, sums, mean_gradient, second_moments, sketches, per_layer)


@tf.autograph.experimental.do_not_convert
def squared_norms(
    model: keras.Model,
    x: Any,
    y: Any,
    loss: Any,
    *,
    per_layer: bool = False,
    **options: Any,
) -> tf.Tensor | dict[str, tf.Tensor]:
    """Squared norms `||g_i||^2` of the gradient of each example's unreduced loss.

    Args:
        model: a built `keras.Model`. It is not changed.
        x: inputs, `[B, ...]` or a structure of them.
        y: labels, structured as the outputs of the model.
        loss: a Keras loss, its name, or a function; see `statistics`.
        per_layer: return the norms of each layer's part. Default False.
        **options: `sample_weight`, `loss_weights`, `training`, `weights`, `other_weights`,
            `chunk_size` and `on_unknown` of `statistics`.

    Returns:
        `[B]`, or a dictionary layer name -> `[B]`.

    Raises:
        ValueError: as `statistics`.

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
    model: keras.Model, x: Any, y: Any, loss: Any, **options: Any
) -> list[tf.Tensor]:
    """Sums over the examples of the squared gradients, `sum_i g_i^2` per coordinate.

    Args:
        model: a built `keras.Model`. It is not changed.
        x: inputs, `[B, ...]` or a structure of them.
        y: labels, structured as the outputs of the model.
        loss: a Keras loss, its name, or a function; see `statistics`.
        **options: as for `squared_norms`.

    Returns:
        A list of `[*shape]` in the order of `model.trainable_variables`.

    Raises:
        ValueError: as `statistics`.

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
        model: a built `keras.Model`. It is not changed.
        x: inputs, `[B, ...]` or a structure of them.
        y: labels, structured as the outputs of the model.
        loss: a Keras loss, its name, or a function; see `statistics`.
        size: numbers in a sketch.
        seed: non-negative integer, selects the signs.
        **options: as for `squared_norms`.

    Returns:
        `[B, size]`.

    Raises:
        ValueError: as `statistics`, and for a `size` or `seed` out of range.

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
    loss: Any,
    *,
    sample_weight: Any = None,
    loss_weights: Any = None,
    training: bool = False,
    weights: Sequence[Any] | None = None,
    chunk_size: int | None = None,
    on_unknown: str = "fallback",
) -> list[tf.Tensor]:
    """The gradient of each example's unreduced loss, in full.

    Args:
        model: a built `keras.Model`. It is not changed.
        x: inputs, `[B, ...]` or a structure of them.
        y: labels, structured as the outputs of the model.
        loss: a Keras loss, its name, or a function; see `statistics`.
        sample_weight: weights of the examples, `[B]`.
        loss_weights: one number for each output.
        training: whether layers run in training mode. Default False.
        weights: evaluate at these instead of the model's own weights.
        chunk_size: process so many examples at a time.
        on_unknown: "fallback" or "raise" for layers without a rule.

    Returns:
        A list of `[B, *shape]` in the order of `model.trainable_variables`.

    Raises:
        ValueError: as `statistics`.

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
    _check_flags(on_unknown, chunk_size)
    problem = Problem(model, find_units(model), loss, loss_weights, training, on_unknown)
    state = _state("weights", model, weights)

    def of_slice(part: Batch) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        forms, _ = gradient_forms(problem, part, state)
        return [form.explicit() for form in forms], []

    return _in_chunks(of_slice, _as_batch(x, y, sample_weight), chunk_size)[0]


@tf.autograph.experimental.do_not_convert
def inner_products(
    model: keras.Model,
    x: Any,
    y: Any,
    loss: Any,
    other_weights: Sequence[Any],
    *,
    sample_weight: Any = None,
    loss_weights: Any = None,
    training: bool = False,
    weights: Sequence[Any] | None = None,
    per_layer: bool = False,
    chunk_size: int | None = None,
    on_unknown: str = "fallback",
) -> tf.Tensor | dict[str, tf.Tensor]:
    """`<g_i, g~_i>` between the gradients of an example at two weight settings.

    For the norms of the differences use `squared_norms(..., other_weights=...)`: it does not
    cancel where the two gradients nearly agree.

    Args:
        model: a built `keras.Model`. It is not changed.
        x: inputs, `[B, ...]` or a structure of them.
        y: labels, structured as the outputs of the model.
        loss: a Keras loss, its name, or a function; see `statistics`.
        other_weights: the second setting, a list in the order of `model.trainable_variables`,
            or of `model.weights`.
        sample_weight: weights of the examples, `[B]`.
        loss_weights: one number for each output.
        training: whether layers run in training mode. Default False.
        weights: the first setting; default: the model's own weights.
        per_layer: return the products of each layer's part. Default False.
        chunk_size: process so many examples at a time.
        on_unknown: "fallback" or "raise" for layers without a rule.

    Returns:
        `[B]`, or a dictionary layer name -> `[B]`.

    Raises:
        ValueError: as `statistics`.

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
    _check_flags(on_unknown, chunk_size)
    units = find_units(model)
    problem = Problem(model, units, loss, loss_weights, training, on_unknown)
    states = [_state("weights", model, weights), _state("other_weights", model, other_weights)]

    def of_slice(part: Batch) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        (ours, _), (theirs, _) = (gradient_forms(problem, part, state) for state in states)
        products = [g.inner_products(h) for g, h in zip(ours, theirs, strict=True)]
        return _by_layer(units, products), []

    each, _ = _in_chunks(of_slice, _as_batch(x, y, sample_weight), chunk_size)
    if per_layer:
        return {unit.name: values for unit, values in zip(units, each, strict=True)}
    return tf.add_n(each)


def variable_layers(model: keras.Model) -> list[str]:
    """The layer name of each trainable variable, as `per_layer` results use it.

    Args:
        model: a built `keras.Model`.

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


def _differences(
    problem: Problem, part: Batch, states: list[State]
) -> tuple[list[GradientForm], tf.Tensor]:
    """The gradients at the first setting, less those at the second where there is one."""
    forms, losses = gradient_forms(problem, part, states[0])
    for state in states[1:]:
        others, _ = gradient_forms(problem, part, state)
        forms = [difference_of(g, h) for g, h in zip(forms, others, strict=True)]
    return forms, losses


def _each(
    units: list[Unit], losses: tf.Tensor, measured: list[Measured], per_layer: bool
) -> list[tf.Tensor]:
    """Results with an example axis: losses, norms, sketch, then the norms of each layer."""
    layers = _by_layer(units, [m.squared_norms for m in measured])
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


def _by_layer(units: list[Unit], values: Sequence[Any]) -> list[tf.Tensor]:
    """Add the values `[B]` of the variables of each unit."""
    return [tf.add_n([values[index] for index in unit.indices]) for unit in units]


def _projections(units: list[Unit], size: int, seed: int) -> list[Projection]:
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


def _in_chunks(
    of_slice: Callable[[Batch], tuple[list[tf.Tensor], list[tf.Tensor]]],
    batch: Batch,
    chunk_size: int | None,
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    if chunk_size is None:
        return of_slice(batch)
    data = (batch.x, batch.y, batch.sample_weight)
    leaves = tf.nest.flatten(data)

    def of_tensors(tensors: list[tf.Tensor]) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        remaining = iter(tensors)
        part = [next(remaining) if tf.is_tensor(leaf) else leaf for leaf in leaves]
        return of_slice(Batch(*tf.nest.pack_sequence_as(data, part)))

    return map_chunks(of_tensors, [leaf for leaf in leaves if tf.is_tensor(leaf)], chunk_size)


def _as_batch(x: Any, y: Any, sample_weight: Any) -> Batch:
    """Convert to tensors and compare the lengths."""
    tensors = Batch(*(_tensors(value) for value in (x, y, sample_weight)))
    lengths = {
        name: [
            leaf.shape[0] if leaf.shape.rank else 0
            for leaf in tf.nest.flatten(value)
            if tf.is_tensor(leaf)
        ]
        for name, value in (
            ("x", tensors.x),
            ("y", tensors.y),
            ("sample_weight", tensors.sample_weight),
        )
    }
    examples = lengths["x"][0]
    if examples == 0:
        raise ValueError("`x` must hold at least one example along its first axis, it is empty.")
    for name, found in lengths.items():
        if any(None not in (length, examples) and length != examples for length in found):
            raise ValueError(
                f"`{name}` must have one entry for each of the {examples} examples in `x` along "
                f"its first axis, received lengths {found}."
            )
    return tensors


def _tensors(value: Any) -> Any:
    def convert(leaf: Any) -> Any:
        return leaf if leaf is None else tf.convert_to_tensor(leaf)

    if isinstance(value, (list, tuple)) and value and not hasattr(value[0], "shape"):
        numbers = not isinstance(value[0], (dict, list, tuple)) or not _holds_arrays(value)
        return (
            convert(value)
            if numbers and value[0] is not None
            else type(value)(map(_tensors, value))
        )
    return tf.nest.map_structure(convert, value)


def _holds_arrays(value: Any) -> bool:
    return any(hasattr(leaf, "shape") for leaf in tf.nest.flatten(value))


def _state(name: str, model: keras.Model, weights: Sequence[Any] | None) -> State:
    """Pair given weights with the variables of the model."""
    if weights is None:
        return []
    for variables in (model.trainable_variables, model.weights):
        if len(weights) == len(variables):
            pairs = list(zip(variables, weights, strict=True))
            if all(tuple(v.shape) == tuple(w.shape) for v, w in pairs):
                return [(v, tf.convert_to_tensor(w, v.dtype)) for v, w in pairs]
    raise ValueError(
        f"`{name}` must hold one array for each of the {len(model.trainable_variables)} trainable "
        f"variables, or of the {len(model.weights)} weights, with their shapes; received the "
        f"shapes {[tuple(w.shape) for w in weights]}. `model.get_weights()` gives such a list."
    )


def _check_flags(on_unknown: str, chunk_size: int | None) -> None:
    if on_unknown not in ("fallback", "raise"):
        raise ValueError(f"`on_unknown` must be 'fallback' or 'raise', received {on_unknown!r}.")
    if chunk_size is not None:
        check_count("chunk_size", chunk_size, "the examples that are processed at a time")
