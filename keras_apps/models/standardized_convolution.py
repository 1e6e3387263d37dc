"""Convolution with weight standardization."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

# All axes of a kernel but that of the outputs.
_FAN_IN = [0, 1, 2]


@keras.saving.register_keras_serializable(package="keras_apps")
class StandardizedConv2D(keras.layers.Conv2D):
    """A convolution with the kernel (w - m) / s instead of w.

    m is the mean and s = sqrt(v + epsilon) the deviation of the weights that lead to one output
    channel, so that the layer does not depend on their scale. Moments are taken in float32 (or
    float64) under mixed precision, too.

    `tf_gradvar.per_example` has a rule for it; with a low-rank adapter it takes the exact
    fallback.

    Args:
        filters: As for `keras.layers.Conv2D`, and so are all others but `epsilon`.
        kernel_size: Lengths of the kernel.
        epsilon: Added to the variance, for channels whose weights are all alike. Defaults to
            1e-10.
        **options: Arguments of `keras.layers.Conv2D`.

    Source: Qiao et al. 2019, arXiv:1903.10520, section 3.

    Example:
        >>> import numpy as np
        >>> layer = StandardizedConv2D(2, 1, use_bias=False)
        >>> layer.build((None, 1, 1, 4))
        >>> layer.set_weights([np.float32([[[[1, 0], [1, 0], [-1, 0], [-1, 4]]]])])
        >>> layer(np.float32([[[[1, 0, 0, 1]]]])).numpy().round(3).squeeze()
        array([0.   , 1.155], dtype=float32)
    """

    def __init__(self, filters: int, kernel_size: Any, *, epsilon: float = 1e-10, **options: Any):
        super().__init__(filters, kernel_size, **options)
        self.epsilon = epsilon

    def add_weight(self, *args: Any, **options: Any) -> keras.Variable:
        """Make a weight; the kernel is not rounded before its moments are taken."""
        if options.get("name") == "kernel":
            options["autocast"] = False
        return super().add_weight(*args, **options)

    def standardized(self, kernel: Any) -> tuple[Any, Any]:
        """Return the standardized kernel and the deviations s [filters] of a kernel."""
        mean = ops.mean(kernel, _FAN_IN, keepdims=True)
        variance = ops.mean(ops.square(kernel - mean), _FAN_IN)
        deviation = ops.sqrt(variance + self.epsilon)
        return (kernel - mean) / deviation, deviation

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Return the inputs convolved with the standardized kernel."""
        standardized, _ = self.standardized(ops.convert_to_tensor(kernel))
        return super().convolution_op(inputs, ops.cast(standardized, inputs.dtype))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        return {**super().get_config(), "epsilon": self.epsilon}
