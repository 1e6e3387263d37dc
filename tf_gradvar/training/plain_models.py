"""Plain Keras models, as `ClusterModel.from_model` takes them over."""

from __future__ import annotations

from typing import Any

import keras

# What a model may define that ClusterModel, which takes its layers only, would not run.
_NOT_RUN = (
    "train_step",
    "test_step",
    "predict_step",
    "compute_loss",
    "compute_metrics",
    "metrics",
)


def check_plain_model(model: Any) -> None:
    """Raise unless a model's layers are all that training it runs.

    Args:
        model: What should be a Keras model.

    Raises:
        TypeError: If it is not a Keras model.
        ValueError: If it has a `train_step`, `compute_loss` or the like of its own.
    """
    if not isinstance(model, keras.Model):
        raise TypeError(
            "`model` must be a keras.Model. Received: "
            f"{type(model).__name__}. Wrap layers in `keras.Sequential`."
        )
    own = [name for name in _NOT_RUN if _overrides(model, name)]
    if own:
        raise ValueError(
            f"`model` of type {type(model).__name__} has a `{own[0]}` of its own, which "
            "ClusterModel would not run. Subclass `tf_gradvar.ClusterModel` instead of "
            f"keras.Model, and build on its `{own[0]}`."
        )


def _overrides(model: keras.Model, name: str) -> bool:
    """Return whether a model has an attribute of its own instead of that of `keras.Model`."""
    return name in vars(model) or getattr(type(model), name) is not getattr(keras.Model, name)


def is_graph(model: keras.Model) -> bool:
    """Return whether a model is Keras' own functional or sequential class, with its inputs."""
    return type(model).__module__.split(".")[0] == "keras" and bool(getattr(model, "outputs", None))


def graph_ends(model: keras.Model) -> tuple[Any, Any]:
    """Return the symbolic inputs and outputs of a model for which `is_graph` holds."""
    if isinstance(model, keras.Sequential):  # its `input` exists only once it was called
        return model.inputs[0], model.outputs[0]
    return model.input, model.output
