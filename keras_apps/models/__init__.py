"""Networks by name, one file each."""

from __future__ import annotations

from collections.abc import Callable

import keras

from keras_apps.models.convnet import convnet
from keras_apps.models.diagonal_linear import diagonal_linear
from keras_apps.models.mlp import mlp
from keras_apps.models.pooled_convnet import pooled_convnet
from keras_apps.models.resnet18 import resnet18
from keras_apps.models.resnet50 import resnet50
from keras_apps.models.resnet_cifar import resnet_cifar
from keras_apps.models.standardized_convolution import StandardizedConv2D
from keras_apps.models.wide_resnet import wide_resnet

MODELS: dict[str, Callable[..., keras.Model]] = {
    "convnet": convnet,
    "diagonal_linear": diagonal_linear,
    "mlp": mlp,
    "pooled_convnet": pooled_convnet,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "resnet_cifar": resnet_cifar,
    "wide_resnet": wide_resnet,
}

__all__ = [
    "MODELS",
    "StandardizedConv2D",
    "convnet",
    "diagonal_linear",
    "mlp",
    "pooled_convnet",
    "resnet18",
    "resnet50",
    "resnet_cifar",
    "wide_resnet",
]
