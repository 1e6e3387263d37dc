"""Input pipelines: batches by cluster, and stratified batches in tf.data."""

import importlib
from typing import Any

from tf_gradvar.data.cluster_batches import cluster_batches
from tf_gradvar.data.cluster_sampling import ClusterSampling
from tf_gradvar.data.stratified_sampling import StratifiedSampling

__all__ = ["ClusterSampling", "StratifiedSampling", "cluster_batches", "stratified_batches"]


def __getattr__(name: str) -> Any:
    if name != "stratified_batches":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        raise ImportError(
            "`tf_gradvar.stratified_batches` is a pipeline of tf.data and needs TensorFlow, also on "
            "the JAX backend, which is not installed. Install `tensorflow-cpu`, or draw with "
            "`tf_gradvar.cluster_batches`, which needs none."
        ) from error
    return module.stratified_batches
