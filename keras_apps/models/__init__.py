"""Networks by name, one file each."""

from __future__ import annotations

from collections.abc import Callable

import keras

from keras_apps.models.convnet import convnet
from keras_apps.models.diagonal_linear import diagonal_linear
from keras_apps.models.mlp import mlp

MODELS: dict[str, Callable[..., keras.Model]] = {
    "convnet": convnet,
    "diagonal_linear": diagonal_linear,
    "mlp": mlp,
}

__all__ = ["MODELS", "convnet", "diagonal_linear", "mlp"]
