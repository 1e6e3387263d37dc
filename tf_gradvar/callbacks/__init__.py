"""Keras callbacks that measure while a model trains, and one that keeps its clusters fresh."""

import importlib
from typing import Any

from tf_gradvar.callbacks.between_cluster_variance import BetweenClusterVariance
from tf_gradvar.callbacks.recluster import Recluster
from tf_gradvar.callbacks.schedules import at, every, log_spaced

__all__ = [
    "BetweenClusterVariance",
    "GradientVarianceLogger",
    "Recluster",
    "at",
    "every",
    "log_spaced",
]


def __getattr__(name: str) -> Any:
    if name != "GradientVarianceLogger":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.gradient_variance").GradientVarianceLogger
