"""Keras callbacks that measure while a model trains, and one that keeps its clusters fresh."""

from tf_gradvar.callbacks.between_cluster_variance import BetweenClusterVariance
from tf_gradvar.callbacks.gradient_variance import GradientVarianceLogger
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
