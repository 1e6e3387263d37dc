"""From which old clusters the examples of each new cluster come."""

from __future__ import annotations

from typing import Any

import numpy as np


def cluster_transfer(previous: Any, assignments: Any, num_clusters: int) -> np.ndarray:
    """Return how new clusters are made of old ones, for `optimizer.recluster`.

        transfer[k, l] = (examples of the new cluster k that were in the old cluster l) / N'_k

    With it the buffer of a new cluster becomes the mean of the old buffers over its examples.
    Where the new clusters have nothing to do with the old ones, every row is the shares of the
    old clusters in the data, and every new buffer their average.

    Args:
        previous: The old cluster of each example, integers [N] in [0, K), or -1 for those
            that were left out of the clusters.
        assignments: The new cluster of each example, likewise.
        num_clusters: The number of clusters K, before and after.

    Returns:
        The shares, float64 [K, K]; each row sums to 1. The row of a new cluster without
        examples holds the shares of the old clusters in the data.

    Raises:
        ValueError: If the arrays are not integers [N] in [0, K) of one length.

    Example:
        >>> cluster_transfer([0, 0, 1, 1], [1, 1, 1, 0], num_clusters=2).round(2)
        array([[0.  , 1.  ],
               [0.67, 0.33]])

    Cost: one pass over the N numbers.
    """
    old, new = np.asarray(previous), np.asarray(assignments)
    for name, ids in (("previous", old), ("assignments", new)):
        inside = ids.ndim == 1 and ids.dtype.kind in "iu" and ids.size > 0
        if not inside or ids.min() < -1 or ids.max() >= num_clusters or len(ids) != len(old):
            bounds = f" from {ids.min()} to {ids.max()}" if inside else ""
            raise ValueError(
                f"`{name}` must be integers of shape [N] in [0, {num_clusters}), the cluster of "
                "each example, or -1, as many as there are in the other array. Received shape "
                f"{ids.shape} and dtype {ids.dtype}{bounds}."
            )
    in_both = (old >= 0) & (new >= 0)
    old, new = old[in_both], new[in_both]
    pairs = np.bincount(new * np.int64(num_clusters) + old, minlength=num_clusters**2)
    counts = pairs.reshape(num_clusters, num_clusters).astype(np.float64)
    sizes = counts.sum(axis=1, keepdims=True)
    counted = np.where(sizes > 0, counts, counts.sum(axis=0) + (len(old) == 0))
    return counted / counted.sum(axis=1, keepdims=True)
