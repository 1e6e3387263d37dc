"""Mean gradients of the groups of a batch.

All forms give gradients of the unscaled loss, without the gradient of the weight
regularisers, which belong to no example:

- `of_one_group`: the whole batch is one group.
- `by_loop`: one pass over each group in turn. A layer with batch statistics normalises
  each group by its own, and its moving statistics move by their mean over the groups.
- `vectorized`: all groups in one pass of `tf.vectorized_map`, in which a dense layer reads
  its weights once for all groups.
- `by_cluster`: one pass over the whole batch for each cluster that occurs in it, where the
  groups are not known.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_gradvar.keras_internals import compute_loss, flatten_layers, training_argument
from tf_gradvar.losses import ModelLoss, overrides_compute_loss
from tf_gradvar.per_example import check_examples
from tf_gradvar.training.cluster_batch import Batch
from tf_gradvar.training.outside_groups import loss_scale, regularization_loss


class GroupGradients(NamedTuple):
    """What a training step needs of the groups.

    Attributes:
        gradients: One tensor [C, *shape] for each trainable variable, or None.
        loss: The mean over the groups of the whole loss, a scalar.
        predictions: The model's outputs for the whole batch, in its order.
    """

    gradients: list[Any]
    loss: tf.Tensor
    predictions: Any


def _whole_loss(model: keras.Model, batch: Batch, predictions: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the loss of a batch as Keras computes it, and the same without regularisers."""
    loss = compute_loss(
        model,
        x=batch.x,
        y=batch.y,
        y_pred=predictions,
        sample_weight=ModelLoss(model).keras_weights(batch.y, predictions, batch.sample_weight),
        training=True,
    )
    loss = loss * model.distribute_strategy.num_replicas_in_sync  # Keras divides by it
    regularization = regularization_loss(model)
    return loss, loss if regularization is None else loss - tf.cast(regularization, loss.dtype)


def _pass(
    model: keras.Model,
    batch: Batch,
    loss_of: Callable[[keras.Model, Batch, Any], tuple[tf.Tensor, tf.Tensor]] = _whole_loss,
) -> tuple[tf.Tensor, Any, list[Any]]:
    """Return loss, predictions and gradients of one group, by one forward and backward."""
    scale = loss_scale(model.optimizer)
    with tf.GradientTape() as tape:
        predictions = model(batch.x, **training_argument(model, True))
        loss, target = loss_of(model, batch, predictions)
        if scale is not None:
            target = target * tf.cast(scale, target.dtype)
    gradients = tape.gradient(target, [v.value for v in model.trainable_weights])
    dense = [None if g is None else tf.convert_to_tensor(g) for g in gradients]
    if scale is not None:
        dense = [None if g is None else g / tf.cast(scale, g.dtype) for g in dense]
    return loss, predictions, dense


def of_one_group(model: keras.Model, batch: Batch) -> GroupGradients:
    """Return the gradients of a batch that is one group."""
    with _kept_finite(_moving_statistics(model)):
        loss, predictions, gradients = _pass(model, batch)
    rows = [None if g is None else g[tf.newaxis] for g in gradients]
    return GroupGradients(rows, loss, predictions)


def by_loop(model: keras.Model, batch: Batch, num_groups: int) -> GroupGradients:
    """Return the gradients of `num_groups` equal groups, one pass each."""
    statistics = _moving_statistics(model)
    results, after = [], []
    for group in range(num_groups):
        with _restored(statistics):
            with _kept_finite(statistics):
                results.append(_pass(model, _cut(batch, group, num_groups)))
            after.append([tf.identity(v.value) for v in statistics])
    for i, variable in enumerate(statistics):
        variable.assign(tf.add_n([values[i] for values in after]) / num_groups)
    losses, predictions, gradients = zip(*results, strict=True)
    rows = [None if row[0] is None else tf.stack(row) for row in zip(*gradients, strict=True)]
    merged = keras.tree.map_structure(lambda *leaves: tf.concat(leaves, axis=0), *predictions)
    return GroupGradients(rows, tf.add_n(losses) / num_groups, merged)


def vectorized(model: keras.Model, batch: Batch, num_groups: int) -> GroupGradients:
    """Return the gradients of `num_groups` equal groups, all in one pass.

    For models without variables that a training pass changes: moving statistics, seeds, and
    the averages that Keras keeps of the losses of several outputs.
    """
    given: list[int] = []

    def one(group: Any) -> tuple[tf.Tensor, Any, list[Any]]:
        loss, predictions, gradients = _pass(model, Batch(*group))
        given[:] = [i for i, g in enumerate(gradients) if g is not None]
        return loss, predictions, [gradients[i] for i in given]

    def split(leaf: tf.Tensor) -> tf.Tensor:
        return tf.reshape(leaf, [num_groups, leaf.shape[0] // num_groups, *leaf.shape[1:]])

    parts = tuple(part for part in batch if part is not None)
    losses, predictions, gradients = tf.vectorized_map(one, keras.tree.map_structure(split, parts))
    rows: list[Any] = [None] * len(model.trainable_weights)
    for i, gradient in zip(given, gradients, strict=True):
        rows[i] = gradient
    merged = keras.tree.map_structure(
        lambda leaf: tf.reshape(leaf, [-1, *leaf.shape[2:]]), predictions
    )
    return GroupGradients(rows, tf.reduce_mean(losses), merged)


def by_cluster(
    model: keras.Model, batch: Batch, cluster_ids: tf.Tensor, num_clusters: int
) -> tuple[GroupGradients, tf.Tensor]:
    """Return the gradients of the K clusters in a batch and how many examples each has.

    A cluster's gradient is that of the loss of its examples alone, as Keras has it for a
    batch of them (masks, weights, every reduction); clusters that do not occur are not
    computed and have the gradient 0.

    Returns:
        `GroupGradients` with K rows, and the sizes, float32 [K].

    Raises:
        ValueError: If layers add losses of their own, or the model has a `compute_loss` of its
            own, neither of which can be told apart by cluster; or if examples interact.
    """
    if overrides_compute_loss(model):
        raise ValueError(
            f"`compute_loss` of {type(model).__name__} cannot be told apart by cluster. Train on "
            "`tf_gradvar.data.cluster_batches`, or set `model.groups_per_batch`."
        )
    model_loss = ModelLoss(model)
    _refuse_mixed_examples(model_loss, batch)
    with _kept_finite(_moving_statistics(model)):
        loss, predictions, gradients = _pass(model, batch)
    regularized = sum(v.regularizer is not None for v in model.trainable_weights)
    if len(model.losses) > regularized:
        raise ValueError(
            "The model's layers add losses of their own (`add_loss` or an activity "
            "regularizer), which cannot be told apart by cluster. Train on "
            "`tf_gradvar.data.cluster_batches`, or set `model.groups_per_batch`."
        )
    given = [i for i, g in enumerate(gradients) if g is not None]
    members = tf.equal(cluster_ids[tf.newaxis], tf.range(num_clusters)[:, tf.newaxis])
    sizes = tf.reduce_sum(tf.cast(members, "float32"), axis=1)

    def of_members(k: tf.Tensor) -> list[Any]:
        def loss_of(
            model: keras.Model, batch: Batch, predictions: Any
        ) -> tuple[tf.Tensor, tf.Tensor]:
            terms = model_loss.terms(batch.y, predictions, batch.sample_weight)
            losses = [tf.cast(term.of_group(members[k]), "float32") for term in terms]
            return tf.add_n(losses), tf.add_n(losses)

        with _restored(_moving_statistics(model)):
            _, _, rows = _pass(model, batch, loss_of)
        return [rows[i] for i in given]

    def row(k: tf.Tensor) -> list[Any]:
        zeros = [tf.zeros_like(gradients[i]) for i in given]
        return tf.cond(sizes[k] > 0, lambda: of_members(k), lambda: zeros)

    specs = [tf.TensorSpec(gradients[i].shape, gradients[i].dtype) for i in given]
    rows: list[Any] = [None] * len(gradients)
    stacked = tf.map_fn(row, tf.range(num_clusters), fn_output_signature=specs)
    for i, gradient in zip(given, stacked, strict=True):
        rows[i] = gradient
    return GroupGradients(rows, loss, predictions), sizes


def _refuse_mixed_examples(model_loss: ModelLoss, batch: Batch) -> None:
    """Raise unless the loss of a cluster's examples is that of a batch of them alone."""
    try:
        check_examples(model_loss, *batch, refuse_noise=False)
    except ValueError as error:
        raise ValueError(
            f"`groups_per_batch` must be known where examples interact: {error} For training, set "
            "`model.groups_per_batch`, or train on `tf_gradvar.data.cluster_batches`."
        ) from None


def _cut(batch: Batch, group: int, num_groups: int) -> Batch:
    def part(leaf: tf.Tensor) -> tf.Tensor:
        size = leaf.shape[0] // num_groups
        return leaf[group * size : (group + 1) * size]

    return keras.tree.map_structure(lambda leaf: None if leaf is None else part(leaf), batch)


def _moving_statistics(model: keras.Model) -> list[Any]:
    """Return the variables that a training pass of the model's own layers may assign."""
    frozen = {
        id(v)
        for layer in flatten_layers(model, include_self=False)
        if not layer.trainable
        for v in layer.weights
    }
    return [v for v in model.non_trainable_weights if id(v) not in frozen]


@contextlib.contextmanager
def _restored(variables: Sequence[Any]) -> Iterator[None]:
    """Give the variables their values back at the end."""
    before = [tf.identity(v.value) for v in variables]
    yield
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)


@contextlib.contextmanager
def _kept_finite(variables: Sequence[Any]) -> Iterator[None]:
    """Give variables that are no longer finite at the end the values they had before."""
    variables = [v for v in variables if tf.as_dtype(v.dtype).is_floating]
    before = [tf.identity(v.value) for v in variables]
    yield
    for variable, value in zip(variables, before, strict=True):
        finite = tf.reduce_all(tf.math.is_finite(variable.value))
        variable.assign(tf.where(finite, variable.value, value))
