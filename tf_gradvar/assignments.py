"""Assignments: the cluster of each of N examples, and everything that is counted from them.

One rule holds wherever such an array is an argument, whatever its name there:

* It is of shape `[N]`, or `[N, 1]` as CIFAR ships its labels; an array, a list, a tensor, a pandas
  object, or the result of a clustering.
* Integers are numbers of clusters from 0, and bools are 0 and 1. -1 is an example that is left out
  of the clusters. Numbers are kept as int64 and compared as such, never wrapped.
* Strings and pandas categoricals are names: they are numbered in their order, and a category that
  is missing is -1.
* Floats are refused, even whole ones: they may be targets of a regression.
* Where the number of clusters K is fixed (buffers belong to the clusters), the numbers lie in
  [0, K). Elsewhere numbers are names like any others: those that do not occur are no clusters, and
  the others are renumbered in increasing order.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

# What users need; the rooms share the rest, too.
__all__ = ["check_assignments", "members_of", "shares_of", "sizes_of"]


def check_assignments(
    assignments: Any,
    *,
    name: str = "assignments",
    count: int | None = None,
    num_clusters: int | None = None,
    left_out: bool = True,
    all_left_out: bool = False,
) -> np.ndarray:
    """Return assignments as int64 `[N]`, or raise unless they keep the rule above.

    Args:
        assignments: The cluster of each example, `[N]` or `[N, 1]`.
        name: The argument that the caller knows them by. Defaults to "assignments".
        count: N. Defaults to None: as many as there are.
        num_clusters: K, where it is fixed: clusters may then be empty. Defaults to None: as many
            as occur, and gaps are closed.
        left_out: Whether some examples may be in no cluster (-1). Defaults to True.
        all_left_out: Whether all of them may. Defaults to False.

    Returns:
        The number of each example's cluster, int64 `[N]`, -1 for those that are left out.

    Raises:
        ValueError: Another shape or dtype, numbers that are out of range, examples that are left
            out where none may be, or all of them.

    Example:
        >>> check_assignments([[3], [7], [-1], [3]])
        array([ 0,  1, -1,  0])
        >>> check_assignments(["cat", "ant", "cat"])
        array([1, 0, 1])
        >>> check_assignments([3, 7, 3], num_clusters=8)
        array([3, 7, 3])

    Cost: one pass over the N numbers, a sort of them for names and without `num_clusters`.
    """
    numbers = _numbers(getattr(assignments, "assignments", assignments), name, count)
    low, high = int(numbers.min()), int(numbers.max())
    if num_clusters is not None and (low < -1 or high >= num_clusters):
        raise ValueError(
            f"`{name}` must lie in [0, {num_clusters}), or be -1 for examples that are left out. "
            f"Received numbers from {low} to {high}.{_renumbering(name, numbers, num_clusters)}"
        )
    if low < -1 or (high < 0 and not all_left_out):
        raise ValueError(
            f"`{name}` must be numbers of clusters from 0, or -1 for examples that are left out, "
            f"not all of them. Received numbers from {low} to {high}."
        )
    if low < 0 and not left_out:
        raise ValueError(
            f"`{name}` must give every example a cluster here. Received -1, which leaves an "
            f"example out, for {int((numbers < 0).sum())} of {len(numbers)} examples. Pass the "
            f"other examples and their clusters alone, those where `{name} >= 0`."
        )
    return numbers if num_clusters is not None else _without_gaps(numbers)


def check_none_empty(sizes: np.ndarray, name: str = "assignments") -> None:
    """Raise unless every cluster has an example.

    Args:
        sizes: N_k, `[K]`.
        name: The argument of the assignments.

    Raises:
        ValueError: A cluster without examples.
    """
    empty = np.flatnonzero(np.asarray(sizes) == 0)
    if len(empty):
        raise ValueError(
            f"Every cluster must have an example. `{name}` gives no example of "
            f"{'clusters' if len(empty) > 1 else 'cluster'} "
            f"{', '.join(map(str, empty[:10]))}{', ...' if len(empty) > 10 else ''} of "
            f"{len(sizes)}. Renumber the clusters with "
            f"`np.unique({name}, return_inverse=True)[1]` and lower `num_clusters`."
        )


def sizes_of(assignments: np.ndarray, num_clusters: int | None = None) -> np.ndarray:
    """Return the sizes N_k of the clusters.

    Args:
        assignments: Int `[N]`, -1 for examples that are left out.
        num_clusters: K. Defaults to the largest number plus 1.

    Returns:
        N_k, int64 `[K]`; 0 for a cluster without examples.

    Example:
        >>> sizes_of(np.array([0, 2, -1, 2]))
        array([1, 0, 2])

    Cost: one pass over the N numbers.
    """
    inside = assignments[assignments >= 0]
    return np.bincount(inside, minlength=num_clusters or 0).astype(np.int64)


def totals_of(assignments: np.ndarray, values: np.ndarray, num_clusters: int) -> np.ndarray:
    """The sum of the values `[N]` of each cluster's examples, float64 `[K]`; none is left out."""
    return np.bincount(assignments, values, num_clusters)


def shares_of(assignments: np.ndarray, num_clusters: int) -> np.ndarray:
    """Return the shares N_k / N of the clusters, the probabilities that keep the data's average.

    Args:
        assignments: Int `[N]`, -1 for examples that are left out, which N does not count.
        num_clusters: K.

    Returns:
        Float64 `[K]`, which sum to 1.

    Example:
        >>> shares_of(np.array([0, 2, -1, 2, 2]), num_clusters=3)
        array([0.25, 0.  , 0.75])

    Cost: one pass over the N numbers.
    """
    sizes = sizes_of(assignments, num_clusters)
    return sizes / sizes.sum()


def rows_by_cluster(
    assignments: np.ndarray, num_clusters: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The examples ordered by cluster, and the sizes of the clusters.

    Args:
        assignments: Integers `[N]`, -1 for examples that are left out.
        num_clusters: K. Defaults to the largest number plus 1.

    Returns:
        Rows int64 `[N']`, those of a cluster in increasing order, and N_k int64 `[K]`.
    """
    order = np.argsort(assignments, kind="stable").astype(np.int64, copy=False)
    sizes = sizes_of(assignments, num_clusters)
    return order[len(order) - int(sizes.sum()) :], sizes


def members_of(
    assignments: np.ndarray | None, count: int, num_clusters: int | None = None
) -> list[np.ndarray]:
    """Return the numbers of each cluster's examples.

    Args:
        assignments: Int `[N]`, -1 for examples that are left out; None: all are in one cluster.
        count: N.
        num_clusters: K. Defaults to the largest number plus 1.

    Returns:
        K arrays int64 `[N_k]`, each in increasing order.

    Example:
        >>> members_of(np.array([0, 1, -1, 0]), 4)
        [array([0, 3]), array([1])]

    Cost: a sort of the N numbers.
    """
    if assignments is None:
        return [np.arange(count)]
    rows, sizes = rows_by_cluster(assignments, num_clusters)
    return np.split(rows, np.cumsum(sizes)[:-1])


def cluster_transfer(previous: Any, assignments: Any, num_clusters: int) -> np.ndarray:
    """Return how new clusters are made of old ones, for `optimizer.recluster`.

        transfer[k, l] = (examples of the new cluster k that were in the old cluster l) / N'_k

    With it the buffer of a new cluster becomes the mean of the old buffers over its examples.
    Where the new clusters have nothing to do with the old ones, every row is the shares of the
    old clusters in the data, and every new buffer their average.

    Args:
        previous: The old cluster of each example, integers `[N]` in [0, K), or -1 for those
            that were left out of the clusters.
        assignments: The new cluster of each example, likewise.
        num_clusters: The number of clusters K, before and after.

    Returns:
        The shares, float64 [K, K]; each row sums to 1. The row of a new cluster without
        examples holds the shares of the old clusters in the data; where no example is in an old
        and a new cluster, all rows are uniform.

    Raises:
        ValueError: If the arrays are not such assignments, of one length.

    Example:
        >>> cluster_transfer([0, 0, 1, 1], [1, 1, 1, 0], num_clusters=2).round(2)
        array([[0.  , 1.  ],
               [0.67, 0.33]])

    Source: ours; the clusters of the Discover paper stay the same.

    Cost: one pass over the N numbers, and K^2 counts.
    """
    rule: dict[str, Any] = {"num_clusters": num_clusters, "all_left_out": True}
    old = check_assignments(previous, name="previous", **rule)
    new = check_assignments(assignments, count=len(old), **rule)
    in_both = (old >= 0) & (new >= 0)
    pairs = new[in_both] * num_clusters + old[in_both]
    counts = sizes_of(pairs, num_clusters**2).reshape(num_clusters, num_clusters)
    from_old = counts.sum(axis=0) + (len(pairs) == 0)
    counted = np.where(counts.any(axis=1, keepdims=True), counts, from_old)
    return counted / counted.sum(axis=1, keepdims=True)


def hash_of(assignments: np.ndarray) -> str:
    """A hash of the cluster of every example, 16 hexadecimal digits."""
    return hashlib.sha256(np.asarray(assignments, np.int64).tobytes()).hexdigest()[:16]


def _numbers(given: Any, name: str, count: int | None) -> np.ndarray:
    """Integers [N] as int64, or the numbers of names, not yet checked for their range."""
    codes = _codes(given)
    array = np.asarray(given) if codes is None else codes
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.dtype.kind == "O":
        array = _of_one_type(array)
    fits = array.ndim == 1 and array.size and count in (None, len(array))
    # Numbers beyond int64 would wrap.
    if fits and array.dtype.kind in "biu" and (array.dtype.kind != "u" or array.max() < 2**63):
        return array.astype(np.int64)
    if fits and array.dtype.kind in "US":
        return np.unique(array, return_inverse=True)[1].astype(np.int64)
    raise ValueError(
        f"`{name}` must be integers of shape {'[N]' if count is None else f'({count},)'}, the "
        "cluster of each example (or [N, 1], bools, strings or categories). Received shape "
        f"{np.shape(given)} and dtype {array.dtype}.{_hint(array, name)}"
    )


def _codes(given: Any) -> np.ndarray | None:
    """The numbers of a pandas categorical's or of a series' categories; None for others."""
    categorical = getattr(given, "cat", given)
    if not hasattr(categorical, "categories") or not hasattr(categorical, "codes"):
        return None
    return np.asarray(categorical.codes, np.int64)


def _of_one_type(array: np.ndarray) -> np.ndarray:
    """Objects as integers or as strings, where all of them are; else as they are."""
    kinds = {type(value) for value in array.flat}
    for kind in (str, bytes):
        if kinds and all(issubclass(k, kind) for k in kinds):
            return array.astype(kind)
    if kinds and all(issubclass(kind, int | np.integer | np.bool_) for kind in kinds):
        return np.array(array.tolist())  # uint64, floats or objects where int64 is too small
    return array


def _without_gaps(numbers: np.ndarray) -> np.ndarray:
    """Numbers of clusters from 0 to K - 1 that all occur, in the same order; -1 stays."""
    present, ids = np.unique(numbers, return_inverse=True)
    return ids.reshape(numbers.shape).astype(np.int64) - (present[0] < 0)


def _renumbering(name: str, numbers: np.ndarray, num_clusters: int) -> str:
    """A way out of numbers that are out of range, where renumbering is one."""
    if len(np.unique(numbers)) > num_clusters:
        return ""
    return f" Renumber them with `np.unique({name}, return_inverse=True)[1]`."


def _hint(array: np.ndarray, name: str) -> str:
    """What would make integers of an array."""
    one_hot = (
        array.ndim == 2
        and array.shape[1] > 1
        and array.dtype.kind in "biuf"
        and np.isin(array, (0, 1)).all()
        and (array.sum(axis=1) == 1).all()
    )
    if one_hot:
        return f" One-hot rows become numbers with `np.argmax({name}, axis=-1)`."
    if array.dtype.kind == "f" and array.ndim == 1 and (array == np.floor(array)).all():
        return f" Whole numbers become integers with `np.asarray({name}).astype(int)`."
    return ""
