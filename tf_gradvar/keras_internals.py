"""The private names of Keras that this package touches: each once, with its reason.

Keras offers no public way to what stands here. Everything else imports from this module, so that
a release of Keras that renames something breaks one function and one test
(`tests/test_keras_internals.py`), not a dozen files.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras.src.backend.common.masking import get_keras_mask, set_keras_mask
from keras.src.backend.common.stateless_scope import in_stateless_scope
from keras.src.models import Functional
from keras.src.trainers.compile_utils import get_loss
from keras.src.utils.tracking import no_automatic_dependency_tracking

__all__ = [
    "Functional",
    "HookedOptimizer",
    "VariableInPieces",
    "added_losses",
    "adds_loss",
    "build_around",
    "build_for_training",
    "call_model",
    "compiled_loss",
    "compiled_loss_weights",
    "compute_loss",
    "decays_weight",
    "distribution_strategy",
    "flatten_layers",
    "get_mask",
    "given_losses",
    "in_stateless_scope",
    "is_seed",
    "keeps_batches_in_order",
    "learning_rate_setting",
    "managed_attributes",
    "own_variables",
    "remat_mode",
    "resolve_loss",
    "set_mask",
    "set_remat_mode",
    "shard_variable",
    "share_state",
    "stored_kernel",
    "track_variables",
    "training_argument",
    "variable_index",
    "without_all_reduce",
]

# Layers -------------------------------------------------------------------------------------


def flatten_layers(
    layer: keras.layers.Layer, *, include_self: bool = True, recursive: bool = True
) -> list[keras.layers.Layer]:
    """Return the layers inside a layer, at any depth or one level down.

    Why: `model.layers` names those of a model; for a composite layer nothing public does.
    """
    return list(layer._flatten_layers(include_self=include_self, recursive=recursive))


def stored_kernel(layer: keras.layers.Layer) -> keras.Variable:
    """Return the kernel or table of a layer without its low-rank adapter.

    Why: `kernel` and `embeddings` are the sums with the adapter where there is one.
    """
    return layer._embeddings if isinstance(layer, keras.layers.Embedding) else layer._kernel


def added_losses(layer: keras.layers.Layer) -> list[Any]:
    """Return the list in which a layer keeps what `add_loss` was given in its last call.

    Why: `layer.losses` mixes these with the weight regularisers, and cannot be restored.
    """
    return layer._losses


def adds_loss(layer: keras.layers.Layer, loss: Any) -> bool:
    """Return whether a loss that a `StatelessScope` collected was added by this layer itself.

    Why: the scope keeps one list for all layers.
    """
    return id(loss) in layer._loss_ids


def remat_mode(layer: keras.layers.Layer) -> Any:
    """Return how a layer was asked to be rematerialised, or None.

    Why: `RematScope` leaves no public trace on the layers that it caught.
    """
    return layer.__dict__.get("_remat_mode")


def set_remat_mode(layer: keras.layers.Layer, mode: Any) -> None:
    """Ask a layer to be rematerialised in another way from its next call on."""
    layer.__dict__["_remat_mode"] = mode


def is_seed(variable: keras.Variable) -> bool:
    """Return whether a variable is the state of a random layer.

    Why: `SeedGenerator` is public, the name of its state is not.
    """
    return variable.name == "seed_generator_state"


@functools.cache
def managed_attributes() -> frozenset[str]:
    """Return the names of the attributes that Keras keeps in any layer and any model by itself.

    Why: nothing public tells them from the attributes of the layer's author. They are read off a
    layer and two compiled models; fitting and evaluating add the ones that are named here.
    """
    inputs = keras.Input((1,))
    functional = keras.Model(inputs, keras.layers.Identity()(inputs))
    functional.compile("sgd", "mse")
    sequential = keras.Sequential([keras.Input((1,)), keras.layers.Identity()])
    names = {"history", "stop_training", "stop_evaluating", "stop_predicting"}
    names |= {"_eval_epoch_iterator", "inputs", "outputs"}
    for layer in (keras.layers.Layer(), functional, sequential):
        names.update(vars(layer))
    return frozenset(names)


def training_argument(layer: keras.layers.Layer, training: Any) -> dict[str, Any]:
    """Return `training` as keyword arguments for a layer's call, none if it takes none.

    Why: Keras passes `training` on only to a `call` that has it, and knows which, but a keyword
    that is given to any other is an error.
    """
    return {"training": training} if layer._call_has_training_arg else {}


def call_model(model: keras.Model, x: Any, training: bool) -> Any:
    """Return `model(x, training=training)`, or `model(x)` for a model that takes no `training`.

    Why: see `training_argument`.
    """
    return model(x, **training_argument(model, training))


# Tensors ------------------------------------------------------------------------------------


def get_mask(tensor: Any) -> Any:
    """Return the mask that Keras attached to a tensor, or None.

    Why: masks travel as an attribute of the tensor, or beside it on JAX; nothing public reads them.
    """
    return get_keras_mask(tensor)


def set_mask(tensor: Any, mask: Any) -> None:
    """Attach a mask to a tensor as Keras does."""
    set_keras_mask(tensor, mask)


class VariableInPieces(keras.Variable):
    """A variable of which every replica of `tf.distribute` keeps a part (TensorFlow only).

    Outside of replicas, to Keras' files and to TensorFlow's checkpoints it is the whole; inside of
    a replica, `handle` is that of its part.

    Why: a variable of Keras is made, read and assigned on all replicas alike, in private methods;
    and those by which TensorFlow saves one are private as well.
    """

    def make_pieces(self, initializer: Any) -> Any:
        """Return the variable of `tf.distribute` that holds the parts."""
        raise NotImplementedError

    def read_whole(self) -> Any:
        """Return the whole as an array."""
        raise NotImplementedError

    def write_whole(self, value: Any) -> None:
        """Give every replica its part of a tensor."""
        raise NotImplementedError

    def on_host(self, value: Any) -> Any:
        """Return an array as a tensor in the memory of the host, to be saved from there."""
        raise NotImplementedError

    def _initialize_with_initializer(self, initializer: Any) -> None:
        self._value = self.make_pieces(initializer)

    def _direct_assign(self, value: Any) -> None:
        self.write_whole(value)

    def _serialize_to_tensors(self) -> dict[str, Any]:
        return {"VARIABLE_VALUE": self.on_host(self.read_whole())}

    def _restore_from_tensors(self, restored_tensors: dict[str, Any]) -> None:
        self.write_whole(restored_tensors["VARIABLE_VALUE"])

    def numpy(self) -> Any:
        """Return the whole as an array."""
        return self.read_whole()

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.read_whole().astype(dtype or self.dtype)

    def __tf_tensor__(self, dtype: Any = None, name: Any = None) -> Any:
        return keras.ops.convert_to_tensor(self.read_whole(), dtype=dtype or self.dtype)

    def __getitem__(self, idx: Any) -> Any:
        return self.read_whole()[idx]


def shard_variable(variable: keras.Variable, layout: Any) -> None:
    """Lay a variable out over devices (JAX only).

    Why: a distribution chooses the layout by the path of the variable, or copies it everywhere;
    `add_variable(layout=...)` came after Keras 3.8.

    Args:
        variable: The variable.
        layout: A `jax.sharding.Sharding`, which later values get, too.
    """
    variable._layout = layout
    variable.assign(keras.ops.convert_to_tensor(variable))


def keeps_batches_in_order() -> bool:
    """Return whether the devices of JAX get the rows of a batch in the order of the devices.

    Why: before Keras 3.10 `fit` deals equal parts of a batch to a set of devices, in any order.
    """
    major, minor = keras.__version__.split(".")[:2]
    return (int(major), int(minor)) >= (3, 10)


# Models -------------------------------------------------------------------------------------


def compiled_loss(model: keras.Model) -> Any:
    """Return the object that computes the loss given to `compile`, or None.

    Why: `model.loss` is what the user passed, without the loss weights.
    """
    return model._compile_loss


def compiled_loss_weights(model: keras.Model) -> Any:
    """Return the `loss_weights` given to `compile`, or None.

    Why: nothing public keeps them.
    """
    loss = compiled_loss(model)
    return None if loss is None else loss._user_loss_weights


def compute_loss(model: keras.Model, **arguments: Any) -> Any:
    """Return what a model's `compute_loss` gives, as Keras' training step calls it.

    Why: a `compute_loss` written for Keras before 3.3 takes no `training`.
    """
    return model._compute_loss(**arguments)


@contextlib.contextmanager
def given_losses(model: keras.Model, losses: list[Any]) -> Iterator[None]:
    """Let `model.losses` be a list that a call without state returned (JAX only).

    Why: `compute_loss` adds up `model.losses`, which holds what the last call left there.
    """
    model._losses_override = losses
    try:
        yield
    finally:
        model._losses_override = []


def resolve_loss(loss: Any, y_true: Any, y_pred: Any) -> keras.losses.Loss:
    """Return the loss object that `compile` makes of a loss, a name or a function.

    Why: the wrapper of functions, and the choice that the name "crossentropy" stands for, are
    not exported.
    """
    return get_loss(loss, y_true, y_pred)


def build_for_training(model: keras.Model, batch: Any) -> None:
    """Create the variables of a compiled model, of its metrics, loss and optimizer.

    Why: metrics are made in the first training step, where they are too late for a loop of
    `strategy.run`; nothing public makes them before.

    Args:
        model: A compiled model.
        batch: What `train_step` gets, as tensors or `tf.TensorSpec`s; nothing is computed.
    """
    model._symbolic_build(data_batch=batch)


# Optimizers ---------------------------------------------------------------------------------


class HookedOptimizer(keras.optimizers.Optimizer):
    """A Keras optimizer with places for code around the update of all variables.

    Why: Keras calls `update_step` for one variable at a time, and decays the weights before it.

    Attributes:
        decays_in_update_step: Whether `update_step` of the subclass decays the weights.
    """

    decays_in_update_step = False

    def before_updates(self) -> None:
        """Run before the first variable of a step is updated."""

    def after_updates(self, learning_rate: Any) -> None:
        """Run after the last variable of a step is updated."""

    def _apply_weight_decay(self, variables: list[Any]) -> None:
        if not self.decays_in_update_step:
            super()._apply_weight_decay(variables)

    def _backend_update_step(
        self, grads: list[Any], trainable_variables: list[Any], learning_rate: Any
    ) -> None:
        self.before_updates()
        super()._backend_update_step(grads, trainable_variables, learning_rate)
        self.after_updates(learning_rate)


@no_automatic_dependency_tracking
def build_around(
    optimizer: keras.optimizers.Optimizer, inner: keras.optimizers.Optimizer, variables: list[Any]
) -> None:
    """Build an optimizer whose step is that of an inner one, which is built already.

    Why: by settings that the two share, `Optimizer.build` would make the averages and
    accumulators of the inner optimizer again; `stateless_apply` and callbacks look for the rest.
    """
    optimizer._trainable_variables = list(variables)
    if inner.use_ema:
        vars(optimizer)["_model_variables_moving_average"] = inner._model_variables_moving_average
    optimizer.built = True


def share_state(optimizer: keras.optimizers.Optimizer, inner: keras.optimizers.Optimizer) -> None:
    """Let an inner optimizer step by the counter and the learning rate of the one around it.

    Why: Keras saves optimizers by the places of their variables. With one counter and one
    learning rate two optimizers are one there, and the inner one, which Keras finds as an
    attribute, has nothing of its own to save.
    """
    inner._iterations = optimizer._iterations
    inner._learning_rate = optimizer._learning_rate
    vars(inner).update(save_own_variables=_nothing, load_own_variables=_nothing)


def _nothing(store: Any) -> None:
    """Save or load nothing."""


def track_variables(optimizer: keras.optimizers.Optimizer, variables: Sequence[Any]) -> None:
    """Let an optimizer count variables as its own, after those that it has.

    Why: it does so only with what its `add_variable` made.
    """
    for variable in variables:
        optimizer._track_variable(variable)


def variable_index(optimizer: keras.optimizers.Optimizer, variable: Any) -> int:
    """Return the place of a variable among those that an optimizer was built with.

    Why: `update_step` gets the backend's variable on TensorFlow, Keras' own elsewhere.
    """
    return optimizer._get_variable_index(variable)


def decays_weight(optimizer: keras.optimizers.Optimizer, variable: Any) -> bool:
    """Return whether an optimizer's weight decay holds for a variable.

    Why: `exclude_from_weight_decay` can be set in public, but not asked.
    """
    return optimizer._use_weight_decay(variable)


def own_variables(optimizer: keras.optimizers.Optimizer) -> list[Any]:
    """Return an optimizer's own variables, without those that a subclass adds to the property.

    Why: `variables` is overridden where an optimizer holds another one.
    """
    return list(optimizer._variables)


def learning_rate_setting(optimizer: keras.optimizers.Optimizer) -> Any:
    """Return the schedule, callable or variable behind an optimizer's learning rate.

    Why: `learning_rate` is the value at the present step, not the schedule.
    """
    return optimizer._learning_rate


def distribution_strategy(optimizer: keras.optimizers.Optimizer) -> Any:
    """Return the `tf.distribute` strategy in which an optimizer was made (TensorFlow only).

    Why: variables of the optimizer belong to it, whatever strategy is in scope later.
    """
    return optimizer._distribution_strategy


@contextlib.contextmanager
def without_all_reduce(optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """Let an optimizer step with gradients that every replica holds in full (TensorFlow only).

    Why: `apply` sums gradients over the replicas of `tf.distribute`, and nothing public tells it
    that they are the sums already. Clipping, decay and averages act on them as on one device.
    """
    own = vars(optimizer)  # past Keras' tracking of attributes
    own["_all_reduce_sum_gradients"] = list
    try:
        yield
    finally:  # the replicas take turns: another one may have been here
        own.pop("_all_reduce_sum_gradients", None)
