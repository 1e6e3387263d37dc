"""Training steps that see clusters, and where they run."""

import importlib
from typing import Any

import keras

from tf_gradvar.training.cluster_model import ClusterModel

__all__ = ["ClusterModel", "Preempted", "pick_strategy", "train_steps"]

_OF_TENSORFLOW = {
    "Preempted": "preemption",
    "pick_strategy": "strategies",
    "train_steps": "training_loop",
}


def __getattr__(name: str) -> Any:
    if name not in _OF_TENSORFLOW:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if keras.backend.backend() != "tensorflow":
        raise ImportError(
            f"`tf_gradvar.training.{name}` is about `tf.distribute` and needs the TensorFlow "
            f"backend of Keras. Received: KERAS_BACKEND={keras.backend.backend()}. On JAX, call "
            "`keras.distribution.set_distribution(keras.distribution.DataParallel())` before the "
            "model is made, then `model.fit`."
        )
    return getattr(importlib.import_module(f"{__name__}.{_OF_TENSORFLOW[name]}"), name)
