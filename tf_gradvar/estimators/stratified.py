"""The estimate of stratified sampling, and so of Gradient Clustering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_gradvar.estimators.mini_batch import check_fits, default_name
from tf_gradvar.estimators.protocol import (
    Estimator,
    WeightedBatch,
    check_assignments,
    draws_factor,
)


class Stratified(Estimator):
    """One or more uniform draws from every cluster, weighted by the clusters' sizes.

    ``estimate = sum_k (N_k/N) mean of n_k draws from k``, unbiased for any assignment (Eq. 1);
    ``V = sum_k (N_k/N)^2 (mean_{i in k} ||g_i||^2 - ||m_k||^2) / n_k``, the k-th term times
    (N_k - n_k) / (N_k - 1) without replacement.

    Args:
        assignments: The cluster of each example, integers [N] that use every number from 0 to
            K - 1: labels, or what `GradientClustering` found.
        samples_per_cluster: n_k, one number or [K] of them. Defaults to 1.
        replacement: Whether draws from a cluster are independent (default), or distinct.
        name: Key of the results. Defaults to "GC-K" with the number of draws in all.

    Raises:
        ValueError: Assignments that are not such integers, `samples_per_cluster` below 1 or not
            one for each cluster; when it is measured, assignments that are not of the length of
            the data.

    Example:
        >>> import numpy as np
        >>> labels = Stratified(np.array([0, 1, 1, 0, 1, 1]), name="labels")
        >>> labels.coefficients([2, 4])  # (1/3)^2 and (2/3)^2
        array([0.11111111, 0.44444444])

    Source: Faghri et al. 2020, section 3.1, Eq. 1 and 2.

    Cost: exactly measured, the pass is made cluster by cluster.
    """

    def __init__(
        self,
        assignments: Any,
        *,
        samples_per_cluster: int | Sequence[int] = 1,
        replacement: bool = True,
        name: str | None = None,
    ):
        self.assignments = check_assignments(assignments)
        self.replacement = bool(replacement)
        self._given = samples_per_cluster
        self._draws = _draws_per_cluster(samples_per_cluster, int(self.assignments.max()) + 1)
        self.name = name or default_name("GC", int(self._draws.sum()), self.replacement)

    @property
    def samples_per_cluster(self) -> np.ndarray:
        """n_k, `[K]` int."""
        return self._draws

    def reassign(self, assignments: Any) -> None:
        """Take other assignments, of any number of clusters if n_k is one number.

        Args:
            assignments: As in the constructor.

        Raises:
            ValueError: As the constructor.
        """
        checked = check_assignments(assignments)
        self._draws = _draws_per_cluster(self._given, int(checked.max()) + 1)
        self.assignments = checked

    def coefficients(self, sizes: np.ndarray) -> np.ndarray:
        """(N_k/N)^2 / n_k, `[K]`, with the factor of drawing without replacement."""
        sizes = np.asarray(sizes, np.float64)
        for size, draws in zip(sizes, self._draws, strict=True):
            check_fits(self, "samples_per_cluster", int(draws), int(size), self.replacement)
        factors = draws_factor(sizes, self._draws, replacement=self.replacement)
        return np.square(sizes / sizes.sum()) * factors

    def draw(self, members: Sequence[np.ndarray], rng: np.random.Generator) -> list[WeightedBatch]:
        """n_k examples of weight (N_k/N) / n_k from every cluster, as one batch."""
        total = sum(len(indices) for indices in members)
        chosen, coefficients = [], []
        for indices, draws in zip(members, self._draws, strict=True):
            chosen.append(rng.choice(indices, draws, replace=self.replacement))
            coefficients.append(np.full(draws, len(indices) / total / draws))
        return [WeightedBatch(np.concatenate(chosen), np.concatenate(coefficients))]


def _draws_per_cluster(value: int | Sequence[int], num_clusters: int) -> np.ndarray:
    draws = np.asarray(value)
    if (
        draws.dtype.kind not in "iu"
        or draws.shape not in ((), (num_clusters,))
        or (draws < 1).any()
    ):
        raise ValueError(
            "`samples_per_cluster` must be an integer of at least 1, or one for each of the "
            f"{num_clusters} clusters. Received {value!r}."
        )
    return np.broadcast_to(draws, (num_clusters,)).astype(np.int64)
