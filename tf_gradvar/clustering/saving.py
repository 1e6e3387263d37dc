"""Clusterings as `.npz` files: the configuration, the sums of the clusters and the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tf_gradvar.clustering.cluster_sums import ClusterSums
from tf_gradvar.clustering.result import ClusteringResult


def write(
    path: str | Path, config: dict[str, Any], sums: ClusterSums, result: ClusteringResult | None
) -> None:
    """Write a file; `.npz` is appended to a name without it."""
    arrays = {f"sums_{name}": value for name, value in vars(sums).items()}
    if result is not None:
        arrays |= {f"result_{name}": np.asarray(value) for name, value in vars(result).items()}
    np.savez(Path(path), config=json.dumps(config), **arrays)


def read(path: str | Path) -> tuple[dict[str, Any], ClusterSums, ClusteringResult | None]:
    """What `write` was given."""
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
