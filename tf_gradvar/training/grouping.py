"""The groups of a batch: how many there are, and which way to their gradients is the fastest."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_gradvar.keras_internals import flatten_layers
from tf_gradvar.training.cluster_batch import Batch, groups_of_batch
from tf_gradvar.training.group_gradients import (
    GroupGradients,
    by_cluster,
    by_loop,
    of_one_group,
    vectorized,
)

# Models of these layers alone (and layers without weights) vectorize over groups at a gain.
_VECTORIZED = (keras.layers.Dense, keras.layers.EinsumDense, keras.layers.LayerNormalization)


class Grouped(NamedTuple):
    """The gradients of C groups, or of all K clusters where the groups are not known.

    Attributes:
        groups: The gradients, C rows each.
        clusters: The cluster of each group, int32 [C]; -1 for a group of two clusters.
        sizes: How many examples each one has, float32 [C]; None: equally many.
        left_out: How many examples are in no cluster, where the groups are not known; else None.
    """

    groups: GroupGradients
    clusters: tf.Tensor
    sizes: tf.Tensor | None = None
    left_out: tf.Tensor | None = None


def grouped_gradients(
    model: Any, batch: Batch, cluster_ids: tf.Tensor, num_clusters: int
) -> Grouped:
    """Return the gradients of the groups of a batch.

    Args:
        model: A `ClusterModel`.
        batch: The batch on this replica.
        cluster_ids: The cluster of each example, int32 [B].
        num_clusters: K.

    Raises:
        ValueError: If the batch does not divide into its groups.
    """
    if model.groups_per_batch is None:
        groups, sizes = by_cluster(model, batch, cluster_ids, num_clusters)
        in_clusters = tf.cast(tf.reduce_sum(sizes), "int32")
        return Grouped(groups, tf.range(num_clusters), sizes, tf.size(cluster_ids) - in_clusters)
    num_groups = groups_per_replica(model)
    clusters = groups_of_batch(cluster_ids, num_groups)
    if num_groups == 1:
        groups = of_one_group(model, batch)
    elif _vectorizes(model):
        groups = vectorized(model, batch, num_groups)
    else:
        groups = by_loop(model, batch, num_groups)
    return Grouped(groups, clusters)


def groups_per_replica(model: Any) -> int:
    """Return the number of groups of a batch on each replica.

    Args:
        model: A `ClusterModel` that knows its groups.

    Raises:
        ValueError: If they do not divide among the replicas.
    """
    replicas = model.distribute_strategy.num_replicas_in_sync
    groups, rest = divmod(model.groups_per_batch, replicas)
    if rest:
        raise ValueError(
            f"A batch of {model.groups_per_batch} groups does not divide among "
            f"{replicas} replicas. Make `groups_per_batch` a multiple of {replicas}."
        )
    return groups


def _vectorizes(model: Any) -> bool:
    if model.group_method != "auto":
        return model.group_method == "vectorized"
    dense = all(
        _vectorizes_well(layer) or not layer.weights
        for layer in flatten_layers(model, include_self=False)
        if not isinstance(layer, keras.Model)
    )
    return dense and _has_one_output(model) and not model.non_trainable_variables


def _vectorizes_well(layer: keras.layers.Layer) -> bool:
    """Return whether `tf.vectorized_map` takes the layer at a gain.

    Keras adds a bias such as [3, 1] along an inner axis, whose gradient cannot be vectorised.
    """
    bias = getattr(layer, "bias", None)
    inner = bias is not None and len(bias.shape) > 1 and bias.shape[-1] == 1
    return isinstance(layer, _VECTORIZED) and not inner


def _has_one_output(model: keras.Model) -> bool:
    outputs = getattr(model, "outputs", None)
    return len(outputs) == 1 if outputs else not keras.tree.is_nested(model.loss)
