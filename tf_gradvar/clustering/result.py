"""What a clustering returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ClusteringResult:
    """Clusters of the examples of one data set.

    Attributes:
        assignments: The cluster of each example, int64 `[N]`; -1 for examples that were left out
            because their gradients are not finite.
        sizes: N_k, int64 `[K]`; no cluster is empty.
        objective: Eq. 2 (N^2 times the variance of a stratified mini-batch with one draw from
            every cluster) where the clustering started and after each pass, as its geometry has
            it: exact for `representation="full"`, else from the sketches.
        variance_ratio: The predicted V[GC] / V[SG-B] with B = K, from the least objective.
            A sketch predicts a little too well, because the clusters fit its errors, too;
            `gradient_variance` with `Stratified(assignments)` measures it.
        fingerprint: Of the data; samplers compare it with theirs.
        left_out: The examples that were left out, int64.
    """

    assignments: np.ndarray
    sizes: np.ndarray
    objective: list[float]
    variance_ratio: float
    fingerprint: str
    left_out: np.ndarray

    @property
    def num_clusters(self) -> int:
        """K."""
        return len(self.sizes)
