"""Gradient estimators and their variances."""

import importlib
from typing import Any

from tf_gradvar.estimators.between_clusters import (
    between_cluster_variance,
    buffered_between_cluster_variance,
    estimator_between_cluster_variance,
)
from tf_gradvar.estimators.discover_estimate import DiscoverEstimate
from tf_gradvar.estimators.mini_batch import MiniBatch
from tf_gradvar.estimators.options import MeasuringOptions
from tf_gradvar.estimators.protocol import Estimator
from tf_gradvar.estimators.results import EstimatorVariance, LayerVariance
from tf_gradvar.estimators.stratified import Stratified
from tf_gradvar.estimators.svrg import SVRG

# These need TensorFlow, the others do not.
_MEASURING = ("VarianceMeter", "gradient_variance")

__all__ = [
    "SVRG",
    "DiscoverEstimate",
    "Estimator",
    "EstimatorVariance",
    "LayerVariance",
    "MeasuringOptions",
    "MiniBatch",
    "Stratified",
    "VarianceMeter",
    "between_cluster_variance",
    "buffered_between_cluster_variance",
    "estimator_between_cluster_variance",
    "gradient_variance",
]


def __getattr__(name: str) -> Any:
    if name in _MEASURING:
        return getattr(importlib.import_module("tf_gradvar.estimators.measure"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
