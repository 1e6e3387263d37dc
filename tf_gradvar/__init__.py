"""Measure, explain and reduce the variance of gradients in Keras 3.

Every per-example quantity of this package is of the unreduced loss: it is never divided by
a batch size. Whatever needs TensorFlow is imported when first used: training runs on the JAX
backend without it.
"""

import importlib
from typing import Any

__version__ = "0.2.0"

_HOMES = {
    "BetweenClusterVariance": "callbacks",
    "ClusterModel": "training",
    "ClusteringResult": "clustering",
    "Diagnose": "diagnosis",
    "Diagnosis": "diagnosis",
    "Discover": "optimizers",
    "DiscoverEstimate": "estimators",
    "DiscoverIGT": "optimizers",
    "DiscoverOver": "optimizers",
    "DiscoverQHM": "optimizers",
    "GradientClustering": "clustering",
    "GradientVarianceLogger": "callbacks",
    "IGT": "optimizers",
    "MiniBatch": "estimators",
    "QHDiscover": "optimizers",
    "QHM": "optimizers",
    "Recluster": "callbacks",
    "SVRG": "estimators",
    "Stratified": "estimators",
    "cluster_batches": "data",
    "diagnose": "diagnosis",
    "gradient_variance": "estimators",
    "stratified_batches": "data",
}
_SUBPACKAGES = (
    "callbacks",
    "clustering",
    "data",
    "diagnosis",
    "estimators",
    "moments",
    "optimizers",
    "per_example",
    "plots",
    "records",
    "training",
)

__all__ = [*_HOMES, *_SUBPACKAGES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in _SUBPACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
