"""Statistics of the gradients of single examples, from one pass: all at once, or one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_gradvar.per_example.forms.form import Wanted, difference_of
from tf_gradvar.per_example.recording.compiled import run
from tf_gradvar.per_example.recording.recorder import Recorder


class Statistics(NamedTuple):
    """What one pass over a batch of B examples has measured; None where it was not asked for.

    Attributes:
        losses: Unreduced loss of each example, `[B]`, without what layers add to it themselves
            (which the gradients hold); float32, or float64 for a float64 model, as all here.
        squared_norms: `||g_i||^2`, `[B]`.
        mean_gradient: `(1/B) sum_i g_i`, a list of `[*shape]` in the order of
            `model.trainable_variables`.
        second_moments: `sum_i g_i^2` per coordinate, a list of the same shapes `[*shape]`.
        sketch: Random projections of the gradients, `[B, sketch_size]`.
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
            `model.trainable_variables`, or of `model.weights`. Defaults to None: the model's own.
        other_weights: A second setting, in the same form. Defaults to none: no difference
            is taken.
        mean_gradient: Whether to return the mean gradient. Defaults to True.
        second_moments: Whether to return the sums of squares per coordinate. Defaults to False.
        sketch_size: Numbers in a sketch (see `sketch`). Defaults to None: no sketch.
        seed: Of the sketch, a non-negative integer. Defaults to 0.
        per_layer: Whether to return the squared norms of each layer, too. Defaults to False.
        chunk_size: Process so many examples at a time. Defaults to None: all at once; convolutions
            are cut into slices in any case.
        on_unknown: "fallback" (default: exact, slower, logged once) or "raise" for layers without
            a rule.

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

    Source: Goodfellow 2015, arXiv:1510.01799 (norms of Dense layers); Faghri et al. 2020, section
    3.2 and Appendix B (convolutions); the other rules are ours.

    Cost: about one plain forward and backward pass where all layers have rules; the memory of
    one such pass plus a slice of per-example gradients of one layer. The first call is traced,
    later ones with the same loss, options and shapes run compiled (`recording/compiled.py`). The
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
    sample_weight: Any = None,
    other_weights: Sequence[Any] | None = None,
    mean_gradient: bool,
    second_moments: bool,
    sketch_size: int | None,
    seed: int,
    per_layer: bool,
    chunk_size: int | None = None,
    **options: Any,
) -> Statistics:
    """`statistics` as it is traced; `options` are those of `Recorder`."""
    recorder = Recorder(model, loss, **options)
    maps: Any = None if sketch_size is None else recorder.projections(sketch_size, seed)

    def of_slice(*part: Any) -> tuple[Statistics, tuple[list[Any], list[Any]]]:
        forms, losses = recorder.forms(*part)
        if other_weights is not None:
            others, _ = recorder.forms(*part, other_weights=other_weights)
            forms = [difference_of(g, h) for g, h in zip(forms, others, strict=True)]
        measured = [
            form.measure(Wanted(True, mean_gradient, second_moments, projection=projection))
            for form, projection in zip(forms, maps or [None] * len(forms), strict=True)
        ]
        layers = recorder.by_layer([m.squared_norms for m in measured])
        each = Statistics(
            losses,
            tf.add_n(list(layers.values())),
            sketch=None if maps is None else tf.add_n([m.sketch for m in measured]),
            layer_squared_norms=layers if per_layer else None,
        )
        return each, ([m.total for m in measured], [m.squares for m in measured])

    each, (totals, squares) = recorder.in_chunks(of_slice, x, y, sample_weight, chunk_size)
    count = tf.shape(each.losses)[0]
    return each._replace(
        mean_gradient=[t / tf.cast(count, t.dtype) for t in totals] if mean_gradient else None,
        second_moments=squares if second_moments else None,
    )


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
        loss: A Keras loss, its name, or a function; see `statistics`. Defaults to None: what the
            model was compiled with.
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

    Source: Goodfellow 2015, arXiv:1510.01799, for Dense; Faghri et al. 2020, Appendix B, for
    convolutions.

    Cost: less than a plain forward and backward pass for Dense layers (no weight gradient is
    formed), more for convolutions.
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
        loss: A Keras loss, its name, or a function; see `statistics`. Defaults to None: what the
            model was compiled with.
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

    Source: Dangel, Kunstner and Hennig 2020, arXiv:1912.10985, for Dense. Faghri et al. 2020,
    section 4, need them for the normalized variance.

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
        seed: Non-negative integer, selects the signs. Defaults to 0.
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

    Source: Achlioptas 2003 (projections by random signs); sketches of gradients are ours.

    Cost: `(I / m + O / n) * size` operations for each position of a Dense layer [I, O], with m up
    to `size / 16` and n up to 4; a convolution projects the gradient of an example instead.
    """
    result = statistics(
        model, x, y, loss, mean_gradient=False, sketch_size=size, seed=seed, **options
    )
    return tf.convert_to_tensor(result.sketch)
