"""A model and its loss, of whose batches the gradient forms are wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_gradvar.arguments import check_count
from tf_gradvar.losses import ModelLoss
from tf_gradvar.per_example.forms.chunks import map_chunks
from tf_gradvar.per_example.forms.form import GradientForm
from tf_gradvar.per_example.forms.projection import Projection
from tf_gradvar.per_example.recording.batches import as_batch, state_of
from tf_gradvar.per_example.recording.differentiate import gradient_forms
from tf_gradvar.per_example.recording.independence import check_once
from tf_gradvar.per_example.recording.problem import Problem
from tf_gradvar.per_example.recording.units import find_units

_TABLES = keras.layers.Embedding


class Recorder:
    """Gives the gradient forms of batches, for all that follows from them.

    `statistics` and the like are made of it. Use it inside a `tf.function` of your own, which
    traces what it does.

    Args:
        model: A built `keras.Model`. It is not changed.
        loss: A Keras loss, its name, or a function, as for `statistics`. Defaults to None: what
            the model was compiled with.
        loss_weights: One number for each output, with a `loss`. Defaults to all one.
        training: Whether layers run in training mode. Defaults to False.
        weights: The weights at which the gradients are taken, a list in the order of
            `model.trainable_variables` or of `model.weights`. Defaults to those of the model.
        on_unknown: "fallback" (default) or "raise" for layers without a rule.

    Raises:
        ValueError: A model without a loss, weights that do not fit it; when gradients are taken,
            what `statistics` refuses.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from tf_gradvar import per_example
        >>> model = keras.Sequential(
        ...     [keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
        >>> x, y = np.float32([[1, 2], [3, 4]]), np.float32([[0], [0]])
        >>> recorder = per_example.Recorder(model, "mse")
        >>> recorder.check(x, y)
        >>> (kernel, bias), losses = recorder.forms(x, y)
        >>> type(kernel).__name__, losses.numpy()
        ('Outer', array([ 9., 49.], dtype=float32))
        >>> kernel.measure(per_example.Wanted(total=True)).total.numpy().ravel()
        array([48., 68.], dtype=float32)

    Source: Goodfellow 2015, arXiv:1510.01799: gradients from a layer's inputs and the gradient
    with respect to its outputs.

    Cost: a forward and a backward pass for each batch, without the gradients of the weights where
    layers have rules.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Any = None,
        *,
        loss_weights: Any = None,
        training: bool = False,
        weights: Sequence[Any] | None = None,
        on_unknown: str = "fallback",
    ):
        self._model = model
        self._units = find_units(model)
        self._state = state_of("weights", model, weights)
        model_loss = ModelLoss.of(model, loss, loss_weights)
        self._problem = Problem(model, self._units, model_loss, training, on_unknown)

    def check(self, x: Any, y: Any, sample_weight: Any = None) -> None:
        """Check once that examples have gradients of their own, with a batch of them.

        Args:
            x: Inputs, `[B, ...]` or a structure of them.
            y: Labels, structured as the outputs of the model.
            sample_weight: Weights `[B]`, as for `statistics`. Defaults to None: all one.

        Raises:
            ValueError: If they have not, or the batch is not one.
        """
        self._problem = check_once(self._problem, as_batch(x, y, sample_weight), self._state)

    def forms(
        self,
        x: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        other_weights: Sequence[Any] | None = None,
    ) -> tuple[list[GradientForm], tf.Tensor]:
        """The gradient form of each trainable variable, and the losses `[B]`.

        Args:
            x: Inputs, as for `check`.
            y: Labels, as for `check`.
            sample_weight: Weights `[B]`, as for `check`. Defaults to None: all one.
            other_weights: Weights to use instead of those of the constructor. Defaults to None.
        """
        state = self._state
        if other_weights is not None:
            state = state_of("other_weights", self._model, other_weights)
        return gradient_forms(self._problem, as_batch(x, y, sample_weight), state)

    def in_chunks(
        self,
        of_slice: Callable[..., tuple[Any, Any]],
        x: Any,
        y: Any,
        sample_weight: Any = None,
        chunk_size: int | None = None,
    ) -> tuple[Any, Any]:
        """Check the examples, then apply a function to slices of them.

        Args:
            of_slice: Function (x, y, sample_weight) -> a structure of results `[b, ...]`, which
                are concatenated, and a structure of results that are added.
            x: Inputs, as for `check`.
            y: Labels, as for `check`.
            sample_weight: Weights `[B]`, as for `check`. Defaults to None: all one.
            chunk_size: Examples in a slice. Defaults to None: all at once.

        Returns:
            The concatenated results and the sums.

        Raises:
            ValueError: As `check`, and if `chunk_size` is not a positive integer.
        """
        batch = as_batch(x, y, sample_weight)
        self.check(*batch.structure())
        if chunk_size is None:
            return of_slice(*batch.structure())
        check_count("chunk_size", chunk_size, "the examples that are processed at a time")
        leaves = tf.nest.flatten(batch.structure())

        def of_tensors(tensors: list[tf.Tensor]) -> tuple[Any, Any]:
            remaining = iter(tensors)
            part = [next(remaining) if tf.is_tensor(leaf) else leaf for leaf in leaves]
            return of_slice(*tf.nest.pack_sequence_as(batch.structure(), part))

        return map_chunks(of_tensors, [leaf for leaf in leaves if tf.is_tensor(leaf)], chunk_size)

    def by_layer(self, values: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        """Layer name -> sum of the values of its variables, `[B]`.

        Args:
            values: `[B]` for each of `model.trainable_variables`.
        """
        return {u.name: tf.add_n([values[index] for index in u.indices]) for u in self._units}

    def projections(self, size: int, seed: int) -> list[Projection]:
        """One projection for each trainable variable, for `Wanted`.

        Args:
            size: Numbers in a sketch.
            seed: A non-negative integer that selects the signs.

        Raises:
            ValueError: For a size or a seed out of range.
        """
        size = check_count("sketch_size", size, "the numbers in a sketch")
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ValueError(f"`seed` must be a non-negative integer, received {seed!r}.")
        placed = {
            index: Projection(size, seed, place, index, not isinstance(unit.layer, _TABLES))
            for place, unit in enumerate(self._units)
            for index in unit.indices
        }
        return [placed[index] for index in range(len(placed))]
