"""The result of a clustering, and `.npz` files that hold it with configuration and sums."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tf_gradvar.clustering.cluster_sums import ClusterSums


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
        fingerprint: Of the data, 16 hexadecimal digits; samplers compare it with theirs.
        left_out: The numbers of the examples that were left out, int64 `[n]`.
    """

    assignments: np.ndarray
    sizes: np.ndarray
    objective: list[float]
    variance_ratio: float
    fingerprint: str
    left_out: np.ndarray

    @property
    def num_clusters(self) -> int:
        """The number of clusters K."""
        return len(self.sizes)


def write_clustering(
    path: str | Path, config: dict[str, Any], sums: ClusterSums, result: ClusteringResult | None
) -> None:
    """Write a file; `.npz` is appended to a name without it."""
    arrays = {f"sums_{name}": value for name, value in vars(sums).items()}
    if result is not None:
        arrays |= {f"result_{name}": np.asarray(value) for name, value in vars(result).items()}
    np.savez(Path(path), config=json.dumps(config), **arrays)


def read_clustering(
    path: str | Path,
) -> tuple[dict[str, Any], ClusterSums, ClusteringResult | None]:
    """Read the configuration, the sums and the result (or None) that were written."""
    path = Path(path)
    if not path.exists():
        path = path.with_name(path.name + ".npz")
    if not path.exists():
        raise ValueError(
            f"`path` must be a file that `save` wrote. Received {str(path)!r}, which is not there."
        )
    parts: dict[str, dict[str, Any]] = {"sums": {}, "result": {}}
    with np.load(path) as file:
        config = json.loads(str(file["config"]))
        for key in file.files:
            kind, _, name = key.partition("_")
            if kind in parts:
                parts[kind][name] = file[key]
    result = parts["result"]
    if not result:
        return config, ClusterSums(**parts["sums"]), None
    result["objective"] = result["objective"].tolist()
    result["variance_ratio"] = float(result["variance_ratio"])
    result["fingerprint"] = str(result["fingerprint"])
    return config, ClusterSums(**parts["sums"]), ClusteringResult(**result)
