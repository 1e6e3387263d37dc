"""A check, once for each model and loss, that examples have gradients of their own.

Everything here rests on the loss of a batch being a sum over its examples. A model or a loss that
mixes examples (batch statistics, a contrastive loss), or that draws noise at every call, breaks
this silently. So a few examples of the first batch are compared (`comparison.py`), and what was
found is remembered.
"""

from __future__ import annotations

import weakref
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_gradvar.keras_internals import flatten_layers
from tf_gradvar.losses import ModelLoss
from tf_gradvar.per_example.forms.form import Wanted
from tf_gradvar.per_example.recording.batches import Batch, State, as_batch, tensors_in
from tf_gradvar.per_example.recording.comparison import Comparison
from tf_gradvar.per_example.recording.differentiate import gradient_forms
from tf_gradvar.per_example.recording.problem import Problem
from tf_gradvar.per_example.recording.python_state import UnknownStateError, state_of_value
from tf_gradvar.per_example.recording.units import find_units

_MOST_EXAMPLES = 4
_MOST_LOSSES = 8


# For each model: what was checked -> the layers whose gradients were not told apart.
_passed: weakref.WeakKeyDictionary[keras.Model, dict[Hashable, frozenset[str]]] = (
    weakref.WeakKeyDictionary()
)


def check_once(
    problem: Problem, batch: Batch, state: State, *, refuse_noise: bool = True
) -> Problem:
    """Check a model and its loss unless it was done before.

    Args:
        problem: The model and its loss.
        batch: Examples; inside a `tf.function`, where they have no values, random ones of their
            shapes are taken, and nothing is checked where that cannot be (unknown lengths).
        state: Values to use instead of those of the variables.
        refuse_noise: Whether noise in inference mode is refused.

    Returns:
        The problem, with the layers named that are to be measured by calling again what is
        around them.

    Raises:
        ValueError: If examples interact, the model or the loss draws noise, or it cannot run on
            one example.
    """
    if not tf.distribute.in_cross_replica_context() and tf.distribute.has_strategy():
        return problem
    key = _key(problem.loss)
    known = _passed.setdefault(problem.model, {})
    hidden = known.get(key)
    if hidden is None:
        hidden = _check(replace(problem, training=False), batch, state, refuse_noise)
        if hidden is not None and key is not None:
            known[key] = hidden
            for old in list(known)[:-_MOST_LOSSES]:
                del known[old]
    return replace(problem, hidden=hidden) if hidden else problem


def check_examples(
    loss: ModelLoss, x: Any, y: Any, sample_weight: Any = None, *, refuse_noise: bool = True
) -> None:
    """Check, once for a model and its loss, that every example has a gradient of its own.

    At most four of the examples are compared, alone and together, before anything is compiled.

    Args:
        loss: The `tf_gradvar.losses.ModelLoss`, with its model.
        x: Inputs, arrays or tensors `[B, ...]`, or a structure of them.
        y: Labels, likewise.
        sample_weight: Weights `[B]`. Defaults to None: all one.
        refuse_noise: Whether noise in inference mode is refused; gradients of groups may have it.
            Defaults to True.

    Raises:
        ValueError: If examples interact, the model or the loss draws noise, or it cannot run on
            one example.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from tf_gradvar.losses import ModelLoss
        >>> from tf_gradvar.per_example import check_examples
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> x, y = np.float32([[1, 2], [3, 4]]), np.float32([[0], [0]])
        >>> check_examples(ModelLoss(model, "mse"), x, y)
        >>> def centred(y, p):
        ...     return keras.ops.square(p - keras.ops.mean(p))  # of the batch
        >>> check_examples(ModelLoss(model, centred), x, y)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ValueError: ...

    Cost: four or more forward passes over at most four examples, and two backward; nothing after
    the first time.
    """
    if _key(loss) not in _passed.get(loss.model, {}):
        problem = Problem(loss.model, find_units(loss.model), loss)
        check_once(problem, as_batch(x, y, sample_weight), [], refuse_noise=refuse_noise)


def _key(loss: ModelLoss) -> Hashable:
    """What a check holds for; None for a loss that cannot be compared with another."""
    parts = (loss.loss, loss.loss_weights, loss.computes_itself)
    try:
        return state_of_value(parts), len(flatten_layers(loss.model))
    except UnknownStateError:
        return None


def _check(
    problem: Problem, batch: Batch, state: State, refuse_noise: bool
) -> frozenset[str] | None:
    """The layers that fail the last comparison; None where nothing can be said."""
    if tf.executing_eagerly():
        comparison = _comparison(problem, _some_examples(batch), state)
        return comparison.verdict(refuse_noise=refuse_noise)
    made = _random_examples(batch)
    if made is None:
        return None
    # A thread of its own is outside of the graph that is being traced. (So is `tf.init_scope`,
    # but it stops gradient tapes.)
    with ThreadPoolExecutor(1) as outside:
        return outside.submit(_of_random_examples, problem, made, refuse_noise).result()


def _comparison(problem: Problem, batch: Batch, state: State) -> Comparison:
    def norms_of(part: Batch) -> np.ndarray:
        forms, _ = gradient_forms(problem, part, state)
        measured = [form.measure(Wanted(squared_norms=True)) for form in forms]
        return np.sqrt(np.array([np.asarray(m.squared_norms)[-1] for m in measured], np.float64))

    return Comparison(problem, batch, state, norms_of)


def _of_random_examples(
    problem: Problem, batch: Batch, refuse_noise: bool
) -> frozenset[str] | None:
    try:
        comparison = _comparison(problem, batch, [])
    except Exception:  # random numbers are not always valid data
        return None
    return comparison.verdict(refuse_noise=refuse_noise)


def _some_examples(batch: Batch) -> Batch:
    """Up to four of them, from the whole batch, one of them with a weight."""
    count = int(tensors_in(batch.x)[0].shape[0])
    rows = np.unique(np.linspace(0, count - 1, min(count, _MOST_EXAMPLES)).astype(int))
    weights = [np.reshape(leaf, (count, -1)) for leaf in tensors_in(batch.sample_weight)]
    weighted = np.flatnonzero(np.concatenate(weights, axis=1).any(axis=1)) if weights else rows
    if len(weighted) and not np.isin(rows, weighted).any():
        rows[0] = weighted[0]
    return batch.rows(rows)


def _random_examples(batch: Batch) -> Batch | None:
    """Examples of the shapes and types of a symbolic batch; None where that cannot be."""
    rng = np.random.default_rng(0)

    def make(leaf: tf.Tensor) -> tf.Tensor:
        shape = (_MOST_EXAMPLES, *leaf.shape[1:])
        if leaf.dtype.is_floating:
            return tf.constant(rng.uniform(0.1, 1.0, shape), leaf.dtype)
        return tf.cast(rng.integers(0, 2, shape), leaf.dtype)

    try:
        with tf.init_scope():
            return batch.map(make)
    except (TypeError, ValueError, tf.errors.OpError):  # unknown lengths, strings
        return None
