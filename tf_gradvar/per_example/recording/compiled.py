"""Eager calls that compile themselves: the same quantity asked for twice costs one tracing.

Every model has a small cache of compiled functions. A call finds its own by everything that
tracing freezes (`python_state.py`): the loss and the options, the layers with their attributes,
trainable flags and rules, structure, shapes and dtypes of the data. Variables and data are read at
every run. After three batch sizes a fourth one is traced for any number of examples.

Whatever cannot be compiled, or compared from one call to the next, runs eagerly as it stands; so
do calls under `tf.config.run_functions_eagerly(True)`. An error is raised by the eager call, too:
it says the same and has no frames of TensorFlow's tracing around it.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_gradvar.keras_internals import get_mask, in_stateless_scope
from tf_gradvar.losses import ModelLoss
from tf_gradvar.per_example.recording.batches import as_batch, state_of
from tf_gradvar.per_example.recording.independence import check_examples
from tf_gradvar.per_example.recording.python_state import (
    UnknownStateError,
    state_of_model,
    state_of_value,
)
from tf_gradvar.per_example.rules.registry import RULES

logger = logging.getLogger("tf_gradvar.per_example")

Function = Callable[..., Any]
# Options that hold weights, in the order in which they are passed on.
_WEIGHTS = ("weights", "other_weights")
_MOST_PROGRAMS = 16  # of one model
_MOST_BATCH_SIZES = 3  # of one program, before one is traced for all others

_programs: weakref.WeakKeyDictionary[keras.Model, _Programs] = weakref.WeakKeyDictionary()
_lock = threading.RLock()


def run(function: Function, model: keras.Model, x: Any, y: Any, loss: Any, **options: Any) -> Any:
    """`function(model, x, y, loss, **options)`, compiled where that gives the same.

    Args:
        function: A function of a module, whose results are tensors in lists, tuples and
            dictionaries.
        model: As for `statistics`; the cache is dropped together with the model.
        x: Inputs.
        y: Labels.
        loss: As for `statistics`.
        **options: Tensors under the names `sample_weight`, `weights` and `other_weights`;
            everything else is frozen and must be plain.

    Cost: comparing the state takes about 10 microseconds an attribute-rich layer; the first call
    is traced.
    """
    if _may_compile():
        call = _Call(function, model, loss, options)
        try:
            key, leaves = call.prepare(x, y)
            program = _program(model, key)
        except Exception as error:
            # Wrong arguments among them: the plain call below says what is wrong.
            logger.debug("Running %s eagerly: %r", function.__name__, error)
            program = None
        if program is not None:
            if program.is_new(leaves):
                call.check()
            done, result = program.run(call, leaves)
            if done:
                return result
    return function(model, x, y, loss, **options)


def _may_compile() -> bool:
    return (
        tf.executing_eagerly()
        and not tf.config.functions_run_eagerly()
        and not tf.distribute.has_strategy()
        and not in_stateless_scope()
    )


class _Call:
    """One call, with what is frozen apart from what is passed at every run."""

    def __init__(
        self, function: Function, model: keras.Model, loss: Any, options: dict[str, Any]
    ) -> None:
        self.function = function
        self.model = model
        self.loss = loss
        self.options = dict(options)
        self._sample_weight = self.options.pop("sample_weight", None)
        self._weights = {name: self.options.pop(name, None) for name in _WEIGHTS}
        self._structure: Any = None
        self._in_batch = 0

    def prepare(self, x: Any, y: Any) -> tuple[Hashable, list[tf.Tensor]]:
        """The key of the program, and the tensors to run it with.

        Raises:
            UnknownStateError: If the loss, the model or the data cannot be compared.
        """
        loss = ModelLoss.of(self.model, self.loss, self.options.get("loss_weights"))
        if loss.computes_itself:
            raise UnknownStateError("a `compute_loss` of the model's own")
        self._model_loss, self._batch = loss, as_batch(x, y, self._sample_weight)
        data = self._batch.structure()
        weights = {
            name: None if given is None else [w for _, w in state_of(name, self.model, given)]
            for name, given in self._weights.items()
        }
        self._structure = (data, weights)
        leaves = [leaf for leaf in tf.nest.flatten(self._structure) if leaf is not None]
        if not all(isinstance(leaf, tf.Tensor) and get_mask(leaf) is None for leaf in leaves):
            raise UnknownStateError("data that are not plain tensors")
        self._in_batch = sum(leaf is not None for leaf in tf.nest.flatten(data))
        shapes = tf.nest.map_structure(_form, self._structure)
        key = (
            self.function,
            state_of_value((loss.loss, loss.loss_weights, self.options, shapes)),
            state_of_model(self.model),
            tuple(RULES.items()),
            (keras.config.floatx(), keras.config.epsilon()),
        )
        return key, leaves

    def check(self) -> None:
        """Compare some examples while they have values: a trace could only make some up."""
        check_examples(self._model_loss, *self._batch.structure())

    def trace(self, specs: Sequence[tf.TensorSpec]) -> Function:
        """Compile for tensors of these shapes; the result keeps no reference to the model."""
        calls = [self]
        structure = tf.nest.map_structure(lambda leaf: leaf is not None, self._structure)

        def traced(*leaves: tf.Tensor) -> Any:
            remaining = iter(leaves)
            (x, y, sample_weight), weights = tf.nest.map_structure(
                lambda present: next(remaining) if present else None, structure
            )
            given = {name: value for name, value in weights.items() if value is not None}
            if sample_weight is not None:
                given["sample_weight"] = sample_weight
            call = calls[0]
            return call.function(call.model, x, y, call.loss, **given, **call.options)

        compiled = tf.function(traced, input_signature=specs, autograph=False)
        try:
            return compiled.get_concrete_function()
        finally:
            calls.clear()

    def specs(self, leaves: Sequence[tf.Tensor], examples: int | None) -> list[tf.TensorSpec]:
        """Shapes of the tensors, with so many examples in those that have them."""
        shapes = [leaf.shape.as_list() for leaf in leaves]
        for shape in shapes[: self._in_batch]:
            shape[0] = examples
        return [
            tf.TensorSpec(shape, leaf.dtype) for shape, leaf in zip(shapes, leaves, strict=True)
        ]


class _Program:
    """What one key computes, traced for some batch sizes; None as size stands for any."""

    def __init__(self) -> None:
        self._traced: dict[int | None, Function | None] = {}

    def is_new(self, leaves: Sequence[tf.Tensor]) -> bool:
        """Whether tensors of these shapes need a tracing."""
        return self._size(leaves) not in self._traced

    def run(self, call: _Call, leaves: Sequence[tf.Tensor]) -> tuple[bool, Any]:
        """Whether it could run, and the result."""
        try:
            with _lock:
                compiled = self._for(call, leaves)
            if compiled is not None:
                return True, compiled(*leaves)
        except tf.errors.ResourceExhaustedError:
            raise
        except Exception as error:
            logger.debug("Running %s eagerly: %r", call.function.__name__, error)
        return False, None

    def _for(self, call: _Call, leaves: Sequence[tf.Tensor]) -> Function | None:
        size = self._size(leaves)
        if size not in self._traced:
            self._traced[size] = None  # stays, and means eager, if tracing fails
            self._traced[size] = call.trace(call.specs(leaves, size))
        return self._traced[size]

    def _size(self, leaves: Sequence[tf.Tensor]) -> int | None:
        """The number of examples to trace for."""
        examples: int = leaves[0].shape[0]
        known = examples in self._traced or len(self._traced) < _MOST_BATCH_SIZES
        return examples if known else None


class _Programs:
    """The programs of one model, those used last at the end.

    The first ones are made at once. Where the cache is full, something changes from call to call;
    then a key must have been seen before it is worth tracing.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, _Program | None] = OrderedDict()

    def find(self, key: Hashable) -> _Program | None:
        """The program of a key, None if it is to run eagerly."""
        if key in self._known:
            self._known.move_to_end(key)
            self._known[key] = self._known[key] or _Program()
            return self._known[key]
        full = len(self._known) >= _MOST_PROGRAMS
        if full:
            self._known.popitem(last=False)
        self._known[key] = None if full else _Program()
        return self._known[key]


def _program(model: keras.Model, key: Hashable) -> _Program | None:
    with _lock:
        return _programs.setdefault(model, _Programs()).find(key)


def _form(leaf: Any) -> Any:
    """Shape and dtype of a tensor without its number of examples."""
    return None if leaf is None else (leaf.dtype, tuple(leaf.shape[1:]), leaf.shape.rank)
