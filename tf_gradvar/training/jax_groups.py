"""Mean gradients of the groups of a batch on JAX, where a step is a function of the state.

All gradients are of the unscaled loss, without the gradient of the weight regularisers, which
belong to no example. The groups are passes of one function, vectorised over the groups or one
after the other; both give the same numbers. Every group starts from the state before the step:

- layers with batch statistics normalise each group by its own, and moving statistics move by the
  mean over the groups;
- the random numbers of a group are its own: the seeds of group c are folded with c;
- sums that losses keep (the loss of each output) are added up over the groups.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tf_gradvar.keras_internals import given_losses, is_seed, training_argument
from tf_gradvar.losses import ModelLoss
from tf_gradvar.training.cluster_batch import Batch


class State(NamedTuple):
    """The values of all variables of a model in training, in the order in which Keras has them."""

    trainable: list[Any]
    non_trainable: list[Any]
    optimizer: list[Any]
    metrics: list[Any]


class Passes(NamedTuple):
    """What a training step needs of the passes over its groups.

    Attributes:
        gradients: One array [C, *shape] for each trainable variable.
        loss: The mean over the groups of the whole loss, a scalar.
        predictions: The model's outputs for the whole batch, in its order.
        non_trainable: The new values of the variables that are not trained.
        metrics: The new values of the metrics' variables.
    """

    gradients: list[Any]
    loss: Any
    predictions: Any
    non_trainable: list[Any]
    metrics: list[Any]


def pass_over_groups(
    model: Any, state: State, batch: Batch, num_groups: int, loss_scale: Any
) -> Passes:
    """Return the gradients of `num_groups` equal groups, and what the passes leave.

    Args:
        model: A `ClusterModel`.
        state: The values before the step.
        batch: The groups, one behind the other.
        num_groups: C.
        loss_scale: The factor of the loss that is differentiated, a scalar, or None for 1.
    """

    def split(leaf: Any) -> Any:
        return jnp.reshape(leaf, (num_groups, leaf.shape[0] // num_groups, *leaf.shape[1:]))

    one = functools.partial(_pass, model, state, loss_scale)
    numbers, groups = jnp.arange(num_groups), jax.tree.map(split, batch)
    if num_groups == 1:
        found = jax.tree.map(lambda leaf: leaf[None], one(numbers[0], batch))
    elif model.group_method == "loop":
        found = jax.lax.map(lambda group: one(*group), (numbers, groups))
    else:
        found = jax.vmap(one)(numbers, groups)
    return Passes(
        gradients=found.gradients,
        loss=jnp.mean(found.loss),
        predictions=jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), found.predictions),
        non_trainable=[
            _of_all_groups(*values)
            for values in zip(
                model.non_trainable_variables,
                state.non_trainable,
                found.non_trainable,
                strict=True,
            )
        ],
        metrics=[
            before + jnp.sum(after, axis=0, dtype=after.dtype)
            for before, after in zip(state.metrics, found.metrics, strict=True)
        ],
    )


def _pass(model: Any, state: State, loss_scale: Any, number: Any, group: Batch) -> Passes:
    """Return what one forward and backward pass over group `number` gives; metrics from 0."""
    variables = model.non_trainable_variables
    start = [
        _seed_of_group(value, number) if is_seed(variable) else value
        for variable, value in zip(variables, state.non_trainable, strict=True)
    ]

    def loss_of(trainable: list[Any]) -> tuple[Any, tuple[Any, ...]]:
        loss, *others = _whole_loss(model, trainable, start, state.metrics, group)
        target = loss if loss_scale is None else loss * jnp.asarray(loss_scale, loss.dtype)
        return target, (loss, *others)

    (_, found), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.trainable)
    loss, predictions, after, metrics = found
    if loss_scale is not None:
        gradients = [g / jnp.asarray(loss_scale, g.dtype) for g in gradients]
    return Passes(gradients, loss, predictions, _kept_finite(start, after), metrics)


def _whole_loss(
    model: Any, trainable: list[Any], non_trainable: list[Any], metrics: list[Any], group: Batch
) -> tuple[Any, ...]:
    """Return the loss of a group as Keras computes it, and what is left in the state.

    The weight regularisers are in the loss as numbers only: their gradient joins later.
    """
    predictions, non_trainable, losses = model.stateless_call(
        trainable, non_trainable, group.x, return_losses=True, **training_argument(model, True)
    )
    regularized = sum(v.regularizer is not None for v in model.trainable_variables)
    own = len(losses) - regularized  # Keras puts those of the weights behind all others
    losses = [*losses[:own], *map(jax.lax.stop_gradient, losses[own:])]
    weights = ModelLoss(model).keras_weights(group.y, predictions, group.sample_weight)
    with given_losses(model, losses):
        loss, (_, non_trainable, metrics) = model.stateless_compute_loss(
            trainable,
            non_trainable,
            [jnp.zeros_like(value) for value in metrics],
            x=group.x,
            y=group.y,
            y_pred=predictions,
            sample_weight=weights,
            training=True,
        )
    return loss, predictions, non_trainable, metrics


def _seed_of_group(seed: Any, number: Any) -> Any:
    """Return the state of a seed for a group: that of group 0 is the seed itself."""
    return jnp.where(number == 0, seed, jax.random.fold_in(seed, number))


def _kept_finite(before: list[Any], after: list[Any]) -> list[Any]:
    """Return values after a pass, and those before it of variables that are no longer finite."""
    return [
        jnp.where(jnp.all(jnp.isfinite(new)), new, old) if _is_float(new) else new
        for old, new in zip(before, after, strict=True)
    ]


def _of_all_groups(variable: Any, before: Any, after: Any) -> Any:
    """Return a variable's value after a step, from the values [C, *shape] after its groups."""
    if is_seed(variable) or not _is_float(after):
        return after[0]
    return before + jnp.mean(after - before, axis=0)


def _is_float(value: Any) -> bool:
    return bool(jnp.issubdtype(value.dtype, jnp.floating))
