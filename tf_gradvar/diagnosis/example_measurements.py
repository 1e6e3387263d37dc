"""One pass over the data, after which every example is a row: its norm, sketch, loss and label."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_gradvar import per_example
from tf_gradvar.arguments import check_count, check_unsigned_seed
from tf_gradvar.data.examples import Examples, Piece, as_examples
from tf_gradvar.diagnosis.class_labels import class_labels, predicted_classes, yes_threshold
from tf_gradvar.keras_internals import call_model
from tf_gradvar.losses import ModelLoss

SKETCH_SIZE = 256
CHUNK_SIZE = 256


@dataclass(frozen=True)
class ExampleMeasurements:
    """What one pass has found of each of N examples, at the present weights.

    Attributes:
        indices: Their numbers in the data, increasing, int64 `[N]`.
        squared_norms: ||g_i||^2 of the unreduced loss, float64 `[N]`.
        sketches: Random projections of the gradients, float32 `[N, S]`: <s_i, s_j> is an estimate
            of <g_i, g_j> without bias over the seeds.
        losses: Unreduced losses, float64 `[N]`.
        labels: Classes, `[N]`; None where the targets are none (see `class_labels`).
        predictions: The class that the model names, int64 `[N]`; None without labels.
        left_out: Numbers of the examples whose gradient, loss or sketch is infinite or not a
            number, int64: they are in none of the arrays above.
        count: Examples in the data, those that were not looked at included.
    """

    indices: np.ndarray
    squared_norms: np.ndarray
    sketches: np.ndarray
    losses: np.ndarray
    labels: np.ndarray | None
    predictions: np.ndarray | None
    left_out: np.ndarray
    count: int

    def __len__(self) -> int:
        """Return N."""
        return len(self.indices)


def measure_examples(
    model: keras.Model,
    x: Any,
    y: Any = None,
    loss: Any = None,
    *,
    sketch_size: int = SKETCH_SIZE,
    indices: Any = None,
    seed: int = 0,
    sample_weight: Any = None,
    chunk_size: int = CHUNK_SIZE,
    progress: Callable[[int, int], None] | None = None,
) -> ExampleMeasurements:
    """Return norms, sketches, losses, labels and predictions of examples, from one pass.

    No gradient of a single example is formed where its layers have rules (`per_example`).

    Args:
        model: A built `keras.Model`. It is not changed.
        x: Inputs `[N, ...]` or a structure of them; or a finite `tf.data.Dataset` or
            `keras.utils.PyDataset` of batches.
        y: Targets, likewise; None for a dataset.
        loss: A Keras loss, its name, or a function (y_true, y_pred) -> [B]. Defaults to None: what
            the model was compiled with.
        sketch_size: S. Defaults to 256.
        indices: Numbers of the examples to look at. Defaults to None: all of them.
        seed: Of the sketches. Defaults to 0.
        sample_weight: Weights `[N]` that multiply the losses. Defaults to all one.
        chunk_size: The most examples in one piece. Defaults to 256.
        progress: Called after each piece with the number of examples seen and of all that are to
            be seen. Defaults to None. What it raises ends the pass.

    Returns:
        The measurements; examples that are not finite are in `left_out` alone.

    Raises:
        ValueError: `indices` that are no different numbers of examples, data that do not fit, no
            example with a finite gradient, and what `per_example.statistics` refuses.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> model = keras.Sequential(
        ...     [keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")])
        >>> x, y = np.float32([[1, 2], [np.nan, 0], [3, 4]]), np.float32([[0.5], [0], [0.5]])
        >>> found = measure_examples(model, x, y, "mse")
        >>> found.squared_norms, found.indices, found.left_out
        (array([ 150., 4394.]), array([0, 2]), array([1]))

    Cost: one forward and backward pass over the examples with their sketches
    (`per_example.sketch`), one more forward pass for the predictions, and `4 N S` bytes.
    """
    check_count("chunk_size", chunk_size, "the examples in one piece")
    check_count("sketch_size", sketch_size, "the numbers in a sketch")
    seed = check_unsigned_seed(seed)
    examples = as_examples(x, y, sample_weight)
    chosen = None if indices is None else _checked_indices(indices, examples.count)
    model_loss = ModelLoss.of(model, loss)
    one_pass = _Pass(model_loss, sketch_size, seed)
    rows = _Rows()
    total = examples.count if chosen is None else len(chosen)
    for piece in _pieces(examples, chosen, chunk_size):
        rows.add(piece, one_pass(piece))
        if progress is not None:
            progress(rows.seen, total)
    return rows.measurements(model_loss, chosen, examples.count)


class _Pass:
    """The compiled pass over one piece, which any number of examples go through."""

    def __init__(self, loss: ModelLoss, sketch_size: int, seed: int):
        self._loss, self._size, self._seed = loss, sketch_size, seed
        self._compiled = tf.function(self._of_tensors, autograph=False)
        self._checked = False

    def __call__(self, piece: Piece) -> list[np.ndarray]:
        """Return squared norms, sketches, losses, and the outputs where the model has one."""
        arguments = keras.tree.map_structure(
            lambda leaf: None if leaf is None else tf.convert_to_tensor(leaf),
            (piece.x, piece.y, piece.sample_weight),
        )
        if not self._checked:
            per_example.check_examples(self._loss, *arguments)
            # A trace for any number of examples: pieces differ in length.
            specs = keras.tree.map_structure(_of_any_length, arguments)
            self._compiled.get_concrete_function(*specs)
            self._checked = True
        return [tensor.numpy() for tensor in self._compiled(*arguments)]

    def _of_tensors(self, x: Any, y: Any, sample_weight: Any) -> list[tf.Tensor]:
        found = per_example.statistics(
            self._loss.model,
            x,
            y,
            self._loss,
            sample_weight=sample_weight,
            mean_gradient=False,
            sketch_size=self._size,
            seed=self._seed,
        )
        outputs = keras.tree.flatten(call_model(self._loss.model, x, training=False))
        one = outputs if len(outputs) == 1 and len(outputs[0].shape) <= 2 else []
        return [found.squared_norms, found.sketch, found.losses, *one]


class _Rows:
    """What the pieces have given so far."""

    def __init__(self) -> None:
        self.seen = 0
        self._columns: list[list[np.ndarray]] = []
        self._targets: list[Any] = []

    def add(self, piece: Piece, columns: list[np.ndarray]) -> None:
        self._columns.append(columns)
        self._targets.append(piece.y if _is_small(piece.y) else None)
        self.seen += len(columns[0])

    def measurements(
        self, loss: ModelLoss, chosen: np.ndarray | None, count: int
    ) -> ExampleMeasurements:
        norms, sketches, losses, *outputs = (
            np.concatenate(parts) for parts in zip(*self._columns, strict=True)
        )
        indices = np.arange(len(norms)) if chosen is None else chosen
        labels = None
        if outputs and all(part is not None for part in self._targets):
            labels = class_labels(np.concatenate(self._targets), outputs[0].shape)
        finite = np.isfinite(norms) & np.isfinite(losses) & np.isfinite(sketches).all(axis=1)
        if not finite.any():
            raise ValueError(
                "`x` must hold at least one example with a finite gradient. Received: "
                f"{len(finite)} examples, of which none has. Look for numbers that are not finite "
                "in the data, the weights and the loss."
            )
        predictions = None
        if labels is not None:
            predictions = predicted_classes(outputs[0], yes_threshold(loss.loss))[finite]
        return ExampleMeasurements(
            indices=indices[finite],
            squared_norms=norms[finite].astype(np.float64),
            sketches=sketches[finite].astype(np.float32, copy=False),
            losses=losses[finite].astype(np.float64),
            labels=None if labels is None else labels[finite],
            predictions=predictions,
            left_out=indices[~finite],
            count=count,
        )


def _pieces(examples: Examples, chosen: np.ndarray | None, chunk_size: int) -> Iterator[Piece]:
    return examples.pieces(None if chosen is None else [chosen], None, chunk_size, ordered=True)


def _checked_indices(indices: Any, count: int) -> np.ndarray:
    """Return the numbers of examples, increasing, or raise unless they are such."""
    array = np.asarray(indices)
    whole = array.ndim == 1 and len(array) > 0 and array.dtype.kind in "iu"
    if not whole or array.min() < 0 or array.max() >= count or len(np.unique(array)) < len(array):
        raise ValueError(
            f"`indices` must be different integers from 0 to {count - 1}, at least one: the "
            f"numbers of the examples to look at. Received: indices={indices!r}. Pass None for all."
        )
    return np.sort(array).astype(np.int64)


def _is_small(y: Any) -> bool:
    """Return whether targets may hold classes: one array, at most a row an example."""
    return isinstance(y, np.ndarray) and y.ndim <= 2


def _of_any_length(leaf: Any) -> Any:
    return None if leaf is None else tf.TensorSpec([None, *leaf.shape[1:]], leaf.dtype)
