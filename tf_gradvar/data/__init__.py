"""Input pipelines: batches by cluster, and stratified batches in tf.data."""

import importlib
from typing import Any

import keras

from tf_gradvar.data.cluster_batches import cluster_batches
from tf_gradvar.data.cluster_sampling import ClusterSampling

__all__ = ["ClusterSampling", "StratifiedSampling", "cluster_batches", "stratified_batches"]

_OF_TENSORFLOW = {
    "StratifiedSampling": "stratified_sampling",
    "stratified_batches": "stratified_batches",
}


def __getattr__(name: str) -> Any:
    if name not in _OF_TENSORFLOW:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f"{__name__}.{_OF_TENSORFLOW[name]}")
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        raise ImportError(
            f"`tf_gradvar.data.{name}` is a pipeline of tf.data and needs TensorFlow, which is "
            "not installed, also on the JAX backend. Install `tensorflow-cpu`, or draw with "
            "`tf_gradvar.cluster_batches`, which needs none."
        ) from error
    # Importing a module puts it here under its own name, which is the function's.
    globals()[name] = getattr(module, name)
    return globals()[name]


if keras.backend.backend() == "tensorflow":
    from tf_gradvar.data.stratified_batches import stratified_batches
    from tf_gradvar.data.stratified_sampling import StratifiedSampling
