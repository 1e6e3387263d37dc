"""Layers of a model: which variable belongs to which, and sums over the coordinates of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Arrays = list[np.ndarray]


@dataclass(frozen=True)
class Layout:
    """Which variable belongs to which layer.

    Attributes:
        layers: Names of the layers, each once.
        layer_of_variable: For each trainable variable the index of its layer.
        sizes: Numbers in each variable.
    """

    layers: tuple[str, ...]
    layer_of_variable: tuple[int, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, layer_names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> Layout:
        """Return the layout of variables, from the layer name and the shape of each."""
        layers = tuple(dict.fromkeys(layer_names))
        places = tuple(layers.index(name) for name in layer_names)
        return cls(layers, places, tuple(math.prod(shape) for shape in shapes))

    def by_layer(self, values: Sequence[float]) -> np.ndarray:
        """Return the sums of one value for each variable within the layers, `[L]`."""
        return np.bincount(self.layer_of_variable, values, minlength=len(self.layers))

    def totals(self, arrays: Arrays) -> np.ndarray:
        """Return the sum of each layer's arrays, `[L]`."""
        return self.by_layer([float(array.sum()) for array in arrays])

    def squared_norms(self, arrays: Arrays) -> np.ndarray:
        """Return the squared norm of each layer's arrays, `[L]`."""
        # Not `np.vdot`: the threads of BLAS and those of TensorFlow would wait for each other.
        flat = [array.ravel() for array in arrays]
        return self.by_layer([float(np.einsum("i,i->", values, values)) for values in flat])

    @property
    def layer_sizes(self) -> np.ndarray:
        """Numbers in each layer, `[L]`."""
        return self.by_layer(self.sizes)
