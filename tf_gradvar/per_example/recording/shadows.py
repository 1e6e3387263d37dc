"""Layers with another `call` for a while, and models that are left as they were.

Every way of using a layer in Keras (Functional, Sequential, subclassed, nested, shared) ends in
`layer.call`. A function in the instance dictionary shadows that of the class, so one mechanism
serves them all, and nothing needs the private graph of Functional models. The shadow is removed
when the pass ends, exceptions included; the class and the layer's variables are never touched.
Another thread that uses the model meanwhile passes through to the real `call`.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import tensorflow as tf

from tf_gradvar.keras_internals import (
    added_losses,
    call_model,
    flatten_layers,
    remat_mode,
    set_remat_mode,
)

# Shadows of two passes over the same layers must not be removed in the wrong order.
_LOCK = threading.RLock()
_State = Sequence[tuple[keras.Variable, Any]]


@contextmanager
def shadowed_calls(
    model: keras.Model, wrappers: Sequence[tuple[keras.layers.Layer, Callable[..., Any]]]
) -> Iterator[None]:
    """Keep a model as it is, and give layers another `call`: `wrap(real, *args, **kwargs)`.

    Raises:
        ValueError: If batch normalisation runs in training mode.
    """
    with _LOCK, ExitStack() as stack:
        stack.enter_context(kept_as_it_is(model))
        for layer in flatten_layers(model):
            if isinstance(layer, keras.layers.BatchNormalization):
                stack.enter_context(_shadowed_call(layer, _refuse_batch_statistics(layer)))
        for layer, wrap in wrappers:
            stack.enter_context(_shadowed_call(layer, wrap))
        yield


def run_plainly(model: keras.Model, x: Any, state: _State) -> tuple[Any, list[tf.Tensor]]:
    """Run the model in inference mode; return its outputs and what layers added to the loss."""
    scope = keras.StatelessScope(state, collect_losses=True)
    with shadowed_calls(model, []), scope:
        outputs = call_model(model, x, training=False)
    return outputs, scope.losses


def trace_layers(
    model: keras.Model, x: Any, state: _State
) -> list[tuple[keras.layers.Layer, Any, Any]]:
    """Run the model in inference mode and tell (layer, inputs, outputs) in order of completion."""
    seen: list[tuple[keras.layers.Layer, Any, Any]] = []

    def traced(layer: keras.layers.Layer) -> Callable[..., Any]:
        def call(real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            outputs = real(*args, **kwargs)
            seen.append((layer, (args, kwargs), outputs))
            return outputs

        return call

    wrappers = [(layer, traced(layer)) for layer in flatten_layers(model)]
    with shadowed_calls(model, wrappers), keras.StatelessScope(state):
        call_model(model, x, training=False)
    return seen


@contextmanager
def kept_as_it_is(model: keras.Model) -> Iterator[None]:
    """Undo what any call of a Keras model does, and what stands in the way of watching.

    A call forgets the losses that the call before has added. Rematerialised layers run where
    nothing can be watched, and a bidirectional layer on a GPU reads the weights of its two layers
    instead of calling them: they run plainly for the time being, which gives the same numbers.
    """
    layers = flatten_layers(model)
    fused = [
        part
        for layer in layers
        if isinstance(layer, keras.layers.Bidirectional)
        for part in (layer.forward_layer, layer.backward_layer)
        if "use_cudnn" in part.__dict__
    ]
    choices = [part.use_cudnn for part in fused]
    losses = [(added_losses(layer), list(added_losses(layer))) for layer in layers]
    modes = [(layer, remat_mode(layer)) for layer in layers if remat_mode(layer) is not None]
    for layer, _ in modes:
        set_remat_mode(layer, None)
    for part in fused:
        part.use_cudnn = False
    try:
        yield
    finally:
        for part, choice in zip(fused, choices, strict=True):
            part.use_cudnn = choice
        for current, old in losses:
            current[:] = old
        for layer, mode in modes:
            set_remat_mode(layer, mode)


@contextmanager
def _shadowed_call(layer: keras.layers.Layer, wrap: Callable[..., Any]) -> Iterator[None]:
    """Give the layer another `call` for a while: `wrap(real, *args, **kwargs)`."""
    real = layer.call
    shadowed = layer.__dict__.get("call")
    thread = threading.get_ident()

    def call(*args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() != thread:
            return real(*args, **kwargs)
        return wrap(real, *args, **kwargs)

    layer.__dict__["call"] = call
    try:
        yield
    finally:
        if shadowed is None:
            del layer.__dict__["call"]
        else:
            layer.__dict__["call"] = shadowed


def _refuse_batch_statistics(layer: keras.layers.Layer) -> Callable[..., Any]:
    def call(real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        bound = inspect.signature(type(layer).call).bind(layer, *args, **kwargs).arguments
        if bound.get("training") and layer.trainable:
            raise ValueError(
                "`training` must be False for a model with batch normalisation: the layer "
                f"'{layer.path or layer.name}' was called with training={bound['training']}. "
                "Per-example gradients are undefined there, because the batch statistics make "
                "the examples interact; use training=False, or measure the variance with "
                "method='monte_carlo'."
            )
        return real(*args, **kwargs)

    return call
