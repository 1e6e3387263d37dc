"""Everything in Python that a compiled function freezes, as one value that can be compared.

Tracing reads the variables of a model at every run, but its Python attributes once: the rate of a
layer, the number that a loss function closes over, a global constant. Two calls may share a
compiled function only where all of these agree. Plain values, arrays and containers are compared
by value, functions by their code and whatever they refer to (so a lambda that is written anew for
every call is the same function as long as it computes the same), all else by identity. Nothing is
kept alive: identities are weak references, which equal nothing once their object is gone.
"""

from __future__ import annotations

import dis
import functools
import sys
import types
import weakref
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_gradvar.keras_internals import flatten_layers, managed_attributes, remat_mode

# Their functions and modules do not change while a program runs.
_LIBRARIES = {"keras", "keras_hub", "numpy", "tensorflow", "tf_gradvar", *sys.stdlib_module_names}
# What differs at every call; tracing would freeze it.
_CHANGING = {"datetime", "random", "secrets", "time"}
_PLAIN = (bool, int, float, complex, str, bytes, np.generic, tf.DType, tf.TensorShape)
_VALUES = (tf.Tensor, tf.Variable, keras.Variable)
_LARGEST_ARRAY = 2**24  # bytes; comparing more would cost more than it saves
_DEEPEST = 12


class UnknownStateError(Exception):
    """Something whose changes between two calls could not be noticed."""


class Identity:
    """An object by which it is, without keeping it alive."""

    __slots__ = ("_hash", "_reference")

    def __init__(self, value: Any) -> None:
        self._hash = id(value)
        self._reference = weakref.ref(value)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Identity):
            return NotImplemented
        value = self._reference()
        return value is not None and value is other._reference()


def state_of_value(value: Any) -> Hashable:
    """The state of a loss or an option, complete.

    Raises:
        UnknownStateError: If `value` refers to something whose changes cannot be noticed.
    """
    return _Description(strict=True).of(value)


def state_of_model(model: keras.layers.Layer) -> Hashable:
    """The state of a model: its variables' identities and the attributes of all its layers.

    Attributes that cannot be compared count by identity, as in Keras' own compiled functions.

    Raises:
        UnknownStateError: For arrays too large to compare and for random numbers of NumPy.
    """
    return _Description(strict=False).of_layers(model)


class _Description:
    """One walk over objects; `strict` refuses what it cannot look into."""

    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self._open: list[int] = []
        self._classes: dict[type, Hashable] = {}

    def of(self, value: Any) -> Hashable:
        """A hashable value that changes whenever `value` would compute something else."""
        if value is None or isinstance(value, _PLAIN):
            return type(value), value
        if id(value) in self._open:  # a cycle: this place is being described already
            return "again", len(self._open) - self._open.index(id(value))
        if len(self._open) >= _DEEPEST:
            return self._unknown(value)
        self._open.append(id(value))
        try:
            return self._compound(value)
        finally:
            self._open.pop()

    def of_layers(self, model: keras.layers.Layer) -> Hashable:
        """Variables and layers of a model, with the attributes that Keras does not manage."""
        variables = tuple(Identity(variable) for variable in model.trainable_variables)
        return variables, tuple(self._layer(layer) for layer in flatten_layers(model))

    def _layer(self, layer: keras.layers.Layer) -> Hashable:
        own, managed = vars(layer), managed_attributes()
        attributes = tuple(
            (name, self.of(value))
            for name, value in own.items()
            # Layers set some to None in their first call; missing is the same as None.
            if value is not None and name not in managed and not name.startswith("_self_")
        )
        kind = self._class(type(layer))
        policy = layer.dtype_policy.name
        return Identity(layer), kind, layer.trainable, policy, remat_mode(layer), attributes

    def _compound(self, value: Any) -> Hashable:
        if isinstance(value, _VALUES):
            return Identity(value)
        if isinstance(value, (list, tuple, set, frozenset)):
            return type(value), tuple(self.of(entry) for entry in value)
        if isinstance(value, Mapping):
            pairs = tuple((self.of(key), self.of(entry)) for key, entry in value.items())
            return type(value), pairs
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, keras.layers.Layer):
            return state_of_model(value) if self._strict else Identity(value)
        if isinstance(value, types.ModuleType):
            return self._module(value)
        if isinstance(value, type):
            return self._class(value)
        if callable(value) and not isinstance(value, keras.losses.Loss):
            return self._callable(value)
        return self._object(value)

    def _callable(self, value: Any) -> Hashable:
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.MethodType):
            return self.of(value.__func__), self.of(value.__self__)
        if isinstance(value, functools.partial):
            return self.of(value.func), self.of(value.args), self.of(value.keywords)
        if hasattr(value, "python_function"):  # made by tf.function
            return self.of(value.python_function)
        if isinstance(value, (types.BuiltinFunctionType, np.ufunc)):
            return value
        return self._object(value)

    def _function(self, function: types.FunctionType) -> Hashable:
        if _is_library(function.__module__):
            return Identity(function)
        cells = []
        for cell in function.__closure__ or ():
            try:
                cells.append(self.of(cell.cell_contents))
            except ValueError:  # the name has no value yet
                cells.append(None)
        names = _global_names(function.__code__)
        known = function.__globals__
        used = tuple((name, self.of(known[name])) for name in names if name in known)
        if "random" in _attribute_names(function.__code__) and any(
            known.get(name) is np for name in names
        ):
            raise UnknownStateError("random numbers of NumPy")
        defaults = self.of(function.__defaults__), self.of(function.__kwdefaults__)
        return function.__code__, defaults, tuple(cells), used

    def _class(self, kind: type) -> Hashable:
        """A class by identity, and those of the user also by the functions and numbers in it."""
        if kind not in self._classes:
            self._classes[kind] = Identity(kind)  # within itself
            self._classes[kind] = self._described_class(kind)
        return self._classes[kind]

    def _described_class(self, kind: type) -> Hashable:
        parts: list[Hashable] = [Identity(kind)]
        for base in kind.__mro__:
            if _is_library(base.__module__):
                continue
            for name, value in list(vars(base).items()):
                if isinstance(value, (staticmethod, classmethod)):
                    value = value.__func__
                if isinstance(value, property):
                    value = value.fget
                if isinstance(value, types.FunctionType) or (
                    isinstance(value, _PLAIN) and not name.startswith("__")
                ):
                    parts.append((name, self.of(value)))
        return tuple(parts)

    def _object(self, value: Any) -> Hashable:
        if isinstance(value, keras.DTypePolicy):
            return type(value), value.name
        library = _is_library(type(value).__module__)
        if isinstance(value, keras.losses.Loss) or (not library and hasattr(value, "__dict__")):
            attributes = tuple((name, self.of(entry)) for name, entry in vars(value).items())
            return self._class(type(value)), attributes
        return self._unknown(value)

    def _array(self, array: np.ndarray) -> Hashable:
        if array.nbytes > _LARGEST_ARRAY or array.dtype.hasobject:
            raise UnknownStateError(f"an array of {array.nbytes} bytes")
        return array.dtype.str, array.shape, array.tobytes()

    def _module(self, module: types.ModuleType) -> Hashable:
        if module.__name__.partition(".")[0] in _CHANGING:
            raise UnknownStateError(f"the module {module.__name__}")
        if _is_library(module.__name__):
            return Identity(module)
        return self._unknown(module)

    def _unknown(self, value: Any) -> Hashable:
        if self._strict:
            raise UnknownStateError(f"an object of {type(value)}")
        try:
            return Identity(value)
        except TypeError:
            return ("of", type(value))


def _is_library(name: str | None) -> bool:
    return (name or "").partition(".")[0] in _LIBRARIES


@functools.lru_cache(maxsize=1024)
def _global_names(code: types.CodeType) -> tuple[str, ...]:
    """The global names that a function looks up, those of functions inside it included."""
    names = {
        instruction.argval: None
        for part in _codes(code)
        for instruction in dis.get_instructions(part)
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }
    return tuple(names)


@functools.lru_cache(maxsize=1024)
def _attribute_names(code: types.CodeType) -> frozenset[str]:
    return frozenset(name for part in _codes(code) for name in part.co_names)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)
