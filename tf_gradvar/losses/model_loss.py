"""The loss of a model, for examples, groups and batches."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from tf_gradvar.keras_internals import (
    compiled_loss,
    compiled_loss_weights,
    compute_loss,
    get_mask,
    resolve_loss,
    set_mask,
)
from tf_gradvar.losses.terms import LossLike, Terms, expanded, terms_of, unreduced_values


class ModelLoss:
    """The loss that a model is measured with, of single examples.

    Args:
        model: A Keras model.
        loss: A Keras loss, its name, or a function (y_true, y_pred) -> `[B, ...]`; a list or
            dictionary of these for several outputs. Defaults to None: what the model was compiled
            with, its loss weights included, or its own `compute_loss` where it overrides that of
            Keras.
        loss_weights: One number for each output; those of `compile` go with its loss. Defaults to
            None: all one.

    Raises:
        ValueError: If `loss` is None for a model that was compiled without one, or
            `loss_weights` are given without a loss; what `of_examples` refuses.
        TypeError: When it is computed, a `loss` that is none of these.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from tf_gradvar.losses import ModelLoss
        >>> model = keras.Sequential(
        ...     [keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
        >>> x, y = np.float32([[1, 2], [3, 4]]), np.float32([[0], [0]])
        >>> weights = np.float32([1, 2])
        >>> losses = ModelLoss(model, "mse").of_examples(x, y, model(x), weights)
        >>> keras.ops.convert_to_numpy(losses)
        array([ 9., 98.], dtype=float32)

    Cost: that of the loss, once for the batch; a model's own `compute_loss` is called for one
    example after the other.
    """

    def __init__(self, model: keras.Model, loss: LossLike = None, loss_weights: Any = None):
        if loss is None and loss_weights is not None:
            raise ValueError(
                "`loss_weights` must come with a `loss`: those given to `compile` belong to its "
                f"loss. Received loss=None and loss_weights={loss_weights!r}. Pass the losses, too."
            )
        self.model = model
        self.computes_itself = loss is None and overrides_compute_loss(model)
        if loss is None and not self.computes_itself:
            if compiled_loss(model) is None:
                raise ValueError(
                    f"`loss` must be given for the model '{model.name}', which is compiled "
                    "without one. Pass a Keras loss, its name, or a function (y_true, y_pred) -> "
                    "[B], or compile the model with what it is trained with."
                )
            loss, loss_weights = model.loss, compiled_loss_weights(model)
        self.loss, self.loss_weights = loss, loss_weights

    @classmethod
    def of(cls, model: keras.Model, loss: Any = None, loss_weights: Any = None) -> ModelLoss:
        """Return a loss that is a `ModelLoss` already, or one made of the arguments.

        Args:
            model: A Keras model.
            loss: A `ModelLoss`, or as for the constructor. Defaults to None.
            loss_weights: As for the constructor. Defaults to None.
        """
        return loss if isinstance(loss, ModelLoss) else cls(model, loss, loss_weights)

    @property
    def name(self) -> str:
        """How messages call it."""
        if self.computes_itself:
            return f"`{type(self.model).__name__}.compute_loss`"
        return f"the loss {_name(self.loss)}"

    def has(self, loss: LossLike, loss_weights: Any) -> bool:
        """Whether it is made of this loss and these weights.

        Args:
            loss: As for the constructor.
            loss_weights: As for the constructor.
        """
        pairs = ((self.loss, loss), (self.loss_weights, loss_weights))
        return all(a is b or _equal(a, b) for a, b in pairs)

    def of_examples(
        self,
        x: Any,
        y: Any,
        outputs: Any,
        sample_weight: Any = None,
        added: Sequence[Any] = (),
    ) -> Any:
        """The loss of each example, summed over the outputs of the model.

        Args:
            x: Inputs of the model.
            y: Labels, structured as the outputs.
            outputs: What the model returned.
            sample_weight: None, weights `[B]`, `[B, 1]` or one for each position, or a list or
                dictionary of them.
            added: What layers added in the call that gave the outputs. Only a model's own
                `compute_loss` looks at it; else `total` does.

        Returns:
            `[B]`, at least float32.

        Raises:
            ValueError: If the loss reduces over the batch or the structures do not match.
        """
        if self.computes_itself:
            return self._own_losses((x, y, outputs, sample_weight), added)
        terms = self.terms(y, outputs, sample_weight, alone=True)
        values = [term.of_examples() for term in terms]
        return _sum([ops.cast(value, values[0].dtype) for value in values])

    def total(self, losses: Any, added: Sequence[Any]) -> Any:
        """The sum over the examples of the whole loss, a scalar.

        Args:
            losses: What `of_examples` gave, `[B]`.
            added: What layers added in the same call: means over the examples.
        """
        return self.weighted_total(losses, added, ops.ones_like(losses))

    def weighted_total(self, losses: Any, added: Sequence[Any], coefficients: Any) -> Any:
        """`sum_i a_i L_i` of the whole losses L_i, a scalar.

        Args:
            losses: As for `total`, `[B]`.
            added: As for `total`.
            coefficients: a, `[B]`.
        """
        coefficients = ops.cast(coefficients, losses.dtype)
        total = ops.sum(coefficients * losses)
        if not added or self.computes_itself:
            return total
        return total + ops.sum(coefficients) * sum_of_added(added, losses.dtype)

    def of_batch(
        self,
        x: Any,
        y: Any,
        outputs: Any,
        sample_weight: Any = None,
        added: Sequence[Any] = (),
    ) -> Any:
        """What a model's own `compute_loss` gives for the batch as it is, a scalar.

        Args:
            x: Inputs of the model.
            y: Labels, structured as the outputs.
            outputs: What the model returned.
            sample_weight: As in `of_examples`.
            added: As in `of_examples`.
        """
        scope = keras.StatelessScope(_values_in_scope(self.model), collect_losses=True)
        scope.losses = list(added)
        with scope:  # metrics are not moved
            value = compute_loss(
                self.model, x=x, y=y, y_pred=outputs, sample_weight=sample_weight, training=True
            )
        return ops.sum(value) * num_replicas(self.model)  # Keras divides by it

    def terms(
        self, y: Any, outputs: Any, sample_weight: Any = None, *, alone: bool = False
    ) -> list[Terms]:
        """The terms of every output that has a loss.

        Args:
            y: Labels, structured as the outputs.
            outputs: What the model returned.
            sample_weight: As in `of_examples`.
            alone: Whether they serve single examples; refuses what has no meaning there.
        """
        _, *columns = self._columns(y, outputs, sample_weight)
        found = []
        for loss, *data, factor in zip(*columns, strict=True):
            if loss is not None:
                n, d = terms_of(loss, *data, alone=alone)
                found.append(Terms(n if factor is None else n * ops.cast(factor, n.dtype), d))
        if not found:
            raise ValueError(
                "`loss` must name a loss for at least one output, received None for all."
            )
        return found

    def _columns(self, y: Any, outputs: Any, sample_weight: Any) -> tuple[list[Any], ...]:
        """For each output: name, loss, label, prediction, weights, and weight of the loss."""
        names, predictions = _named_outputs(outputs, getattr(self.model, "output_names", None))
        single = len(names) == 1
        return (
            names,
            _per_output("loss", self.loss, names, same_for_all=True),
            _per_output("y", y, names, same_for_all=single),
            predictions,
            _per_output("sample_weight", sample_weight, names, same_for_all=True),
            _per_output("loss_weights", self.loss_weights, names, same_for_all=single),
        )

    def keras_weights(self, y: Any, outputs: Any, sample_weight: Any) -> Any:
        """Weights that Keras applies as this module does: one axis for each of the loss.

        Keras multiplies weights `[B]` and losses `[B, T]` as arrays do, so that a weight of an
        example lands on a position (T = B) or nothing fits.

        Args:
            y: Labels, structured as the outputs.
            outputs: What the model returned.
            sample_weight: As in `of_examples`.

        Returns:
            A tensor, or a list or dictionary for several outputs; None for None.
        """
        if sample_weight is None or self.computes_itself:
            return sample_weight
        names, *columns = self._columns(y, outputs, sample_weight)
        found = []
        for loss, label, prediction, weight in zip(*columns[:4], strict=True):
            if loss is not None and weight is not None:
                loss_object = resolve_loss(loss, label, prediction)
                values = unreduced_values(loss_object, loss, label, prediction)
                weight = expanded("sample_weight", weight, values)
            found.append(weight)
        if len(names) == 1:
            return found[0]
        named = isinstance(outputs, Mapping)
        return dict(zip(names, found, strict=True)) if named else found

    def _own_losses(self, data: tuple[Any, ...], added: Sequence[Any]) -> Any:
        """`compute_loss` of one example after the other, from (x, y, outputs, sample_weight)."""
        leaves = keras.tree.flatten(data)
        masks = [get_mask(leaf) for leaf in leaves]
        dtype = keras.backend.result_type("float32", *_float_dtypes(data[2]))

        def of_one(slices: list[Any]) -> Any:
            remaining = iter(slices)
            one = [e if e is None else next(remaining)[None] for e in leaves]
            for leaf, mask in zip(one, masks, strict=True):
                if mask is not None:
                    set_mask(leaf, next(remaining)[None])
            x, y, outputs, sample_weight = keras.tree.pack_sequence_as(data, one)
            return ops.cast(self.of_batch(x, y, outputs, sample_weight, added), dtype)

        from tf_gradvar.losses.one_by_one import map_examples

        return map_examples(of_one, [leaf for leaf in (*leaves, *masks) if leaf is not None], dtype)


def overrides_compute_loss(model: keras.Model) -> bool:
    """Return whether a model has a `compute_loss` of its own."""
    return type(model).compute_loss is not keras.Model.compute_loss


def num_replicas(model: keras.Model) -> int:
    """Return by how many replicas of `tf.distribute` Keras divides a model's loss."""
    strategy = getattr(model, "distribute_strategy", None)  # on TensorFlow only
    return 1 if strategy is None else int(strategy.num_replicas_in_sync)


def sum_of_added(added: Sequence[Any], dtype: Any) -> Any:
    """Return the sum of the losses that layers added in one call of a model, a scalar."""
    return _sum([ops.zeros((), dtype), *(ops.cast(ops.sum(a), dtype) for a in added)])


def _sum(values: list[Any]) -> Any:
    return functools.reduce(ops.add, values)


def _values_in_scope(model: keras.Model) -> list[tuple[Any, Any]]:
    """The values that hold now: a new `StatelessScope` hides the one around it."""
    return [(variable, variable.value) for variable in model.variables]


def _named_outputs(outputs: Any, output_names: Any) -> tuple[list[str], list[Any]]:
    if isinstance(outputs, Mapping):
        return list(outputs), list(outputs.values())
    flat = keras.tree.flatten(outputs)
    names = list(output_names or ())
    return names if len(names) == len(flat) else [str(i) for i in range(len(flat))], flat


def _per_output(name: str, value: Any, names: list[str], *, same_for_all: bool) -> list[Any]:
    """Spread an argument over the outputs."""
    if isinstance(value, Mapping):
        unknown = set(value) - set(names)
        if unknown:
            raise ValueError(
                f"`{name}` must use the names of the model's outputs {names}, "
                f"received {sorted(unknown)}; rename these keys."
            )
        return [value.get(output) for output in names]
    if isinstance(value, list | tuple):
        if len(value) != len(names):
            raise ValueError(
                f"`{name}` must have one entry for each of the {len(names)} outputs of the model, "
                f"received {len(value)}; use None for an output without a loss."
            )
        return list(value)
    if value is not None and not same_for_all:
        raise ValueError(
            f"`{name}` must be a list or dictionary for a model with outputs {names}, "
            f"received {type(value).__name__}."
        )
    return [value] * len(names)


def _float_dtypes(outputs: Any) -> list[str]:
    dtypes = [keras.backend.standardize_dtype(leaf.dtype) for leaf in keras.tree.flatten(outputs)]
    return [dtype for dtype in dtypes if "float" in dtype]


def _name(loss: Any) -> str:
    if isinstance(loss, str):
        return f"'{loss}'"
    return str(getattr(loss, "name", None) or getattr(loss, "__name__", None) or loss)


def _equal(a: Any, b: Any) -> bool:
    plain = (str, int, float, list, tuple, dict)
    return type(a) is type(b) and isinstance(a, plain) and a == b
