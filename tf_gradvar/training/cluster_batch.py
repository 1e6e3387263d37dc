"""Checks of what a ClusterModel is given: its batches, their sampling, its strategy."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from tf_gradvar.keras_internals import distribution_strategy
from tf_gradvar.optimizers.control_variate import ClusterControlVariate
from tf_gradvar.optimizers.wrappers import innermost

_KEYS = {"inputs", "cluster_ids"}


class Batch(NamedTuple):
    """A batch without its cluster ids: inputs x, targets y, sample weights (or None)."""

    x: Any
    y: Any
    sample_weight: Any = None


def plain_inputs(x: Any) -> Any:
    """Return the inputs of a cluster batch, or plain inputs unchanged."""
    return x["inputs"] if isinstance(x, dict) and set(x) == _KEYS else x


def split_cluster_batch(x: Any) -> tuple[Any, Any]:
    """Return the inputs of a cluster batch and the cluster of each example, int32 [B].

    Args:
        x: `{"inputs": x, "cluster_ids": ids}` with ids of any integer type, [B] or [B, 1]. Those
            that int32 does not hold become -1, which is no cluster, or the largest int32 (on
            JAX, whose integers have 32 bits, the pipeline must do so).

    Raises:
        ValueError: If it has another form, or ids of another dtype, shape or number.
    """
    if not isinstance(x, dict) or set(x) != _KEYS:
        received = f"a dict with the keys {sorted(x)}" if isinstance(x, dict) else type(x).__name__
        raise ValueError(
            "ClusterModel trains on batches `({'inputs': x, 'cluster_ids': ids}, y)`. Received "
            f"inputs of another form: {received}. Make the batches with "
            "`tf_gradvar.data.cluster_batches`, or train a plain keras.Model."
        )
    ids = _as_int32(ops.convert_to_tensor(x["cluster_ids"]))
    size = keras.tree.flatten(x["inputs"])[0].shape[0]
    if size is not None and ids.shape[0] is not None and size != ids.shape[0]:
        raise ValueError(
            "`cluster_ids` must name the cluster of each example of the batch. Received "
            f"{ids.shape[0]} ids for {size} examples."
        )
    return x["inputs"], ids


def _as_int32(ids: Any) -> Any:
    """Return ids [B] or [B, 1] of any integer type as int32 [B]; nothing wraps."""
    dtype = keras.backend.standardize_dtype(ids.dtype)
    column = len(ids.shape) == 2 and ids.shape[1] == 1
    if "int" not in dtype or not (len(ids.shape) == 1 or column):
        raise ValueError(
            "`cluster_ids` must be integers of shape [B], the cluster of each example. Received "
            f"dtype {dtype} and shape {ids.shape}."
        )
    if column:
        ids = ids[:, 0]
    largest = np.iinfo(np.int32).max
    if np.iinfo(dtype).max <= largest:
        return ops.cast(ids, "int32")
    too_large = ids > ops.cast(largest, dtype)  # `ops.minimum` would make uint32 of uint64
    ids = ops.maximum(ops.cast(ids, "int64"), -1)
    return ops.cast(ops.where(too_large, largest, ids), "int32")


def groups_of_batch(cluster_ids: Any, num_groups: int) -> Any:
    """Return the cluster of each group, int32 [C]; -1 for a group of two clusters.

    Args:
        cluster_ids: The cluster of each example, int32 [B].
        num_groups: C, on this replica.

    Raises:
        ValueError: If the batch does not divide into its groups.
    """
    size = cluster_ids.shape[0]
    if size is None or size % num_groups:
        raise ValueError(
            f"A batch must divide into its groups: {num_groups} equal groups on this replica. "
            f"Received {'an unknown number of' if size is None else size} examples. Batch "
            "with `drop_remainder=True` and a multiple of the number of groups."
        )
    ids = ops.reshape(cluster_ids, (num_groups, -1))
    # A group of two clusters gets an id that no cluster has: it is left out and reported.
    uniform = ops.all(ops.equal(ids, ids[:, :1]), axis=1)
    return ops.where(uniform, ids[:, 0], -1)


def track_loss(model: keras.Model, loss: Any, size: Any) -> None:
    """Add the loss of a batch to the metric `loss`, if the model has it.

    Args:
        model: A compiled model.
        loss: The mean loss, a scalar.
        size: The examples in the batch.
    """
    for metric in model.metrics:
        if metric.name == "loss":
            metric.update_state(loss, sample_weight=size)
            return


def check_same_clusters(sampling: Any, variate: ClusterControlVariate) -> None:
    """Raise unless batches are drawn from the clusters that an optimizer keeps buffers for.

    Args:
        sampling: Of the dataset that `cluster_batches` returned.
        variate: The Discover optimizer.

    Raises:
        ValueError: If the numbers of clusters, their probabilities or their owners differ.
    """
    k = variate.num_clusters
    if sampling.num_clusters != k:
        raise ValueError(
            f"The batches have {sampling.num_clusters} clusters and the optimizer {k}. Make "
            "`num_clusters` of `cluster_batches` and of the optimizer the same."
        )
    expected = variate.cluster_probabilities or [1.0 / k] * k
    pairs = zip(sampling.cluster_probabilities, expected, strict=True)
    if max(abs(p - q) for p, q in pairs) > 1e-6:
        raise ValueError(
            "The batches are drawn with other cluster probabilities than the optimizer's, which "
            "would bias its gradient. Pass the same `cluster_probabilities` to "
            "`cluster_batches` and to the optimizer."
        )
    owners = variate.num_owners or 1
    if (sampling.owned_by or 1) != owners:
        raise ValueError(
            "The batches must be drawn from the clusters that each replica owns for an optimizer "
            "with `buffers='owned'`, and from all clusters for any other. Received: "
            f"owned_by={sampling.owned_by} with buffers={variate.buffers!r}. Pass "
            f"`owned_by={variate.num_owners}` to `cluster_batches`."
        )


def check_made_in_scope(model: keras.Model) -> None:
    """Raise unless a model was made inside the scope of the strategy that trains it.

    Args:
        model: A compiled model.

    Raises:
        ValueError: If variables of the model or of its optimizer belong to no strategy, or to
            another one.
    """
    strategy = model.distribute_strategy
    if strategy.num_replicas_in_sync == 1:
        return
    inside = strategy.extended.variable_created_in_scope
    outside = [v.path for v in model.variables if not inside(v.value)]
    for optimizer in dict.fromkeys([model.optimizer, innermost(model.optimizer)]):
        if distribution_strategy(optimizer) is not strategy:  # it would count a step per replica
            outside.append(f"the optimizer {optimizer.name!r}")
    if outside:
        raise ValueError(
            f"The model must be made inside the scope of the {type(strategy).__name__} with "
            f"{strategy.num_replicas_in_sync} replicas that trains it. Made outside of it: "
            f"{', '.join(outside[:4])}{', ...' if len(outside) > 4 else ''}. Make the model, also "
            "one that is given to `ClusterModel.from_model`, and its optimizer under "
            "`with strategy.scope():`."
        )
