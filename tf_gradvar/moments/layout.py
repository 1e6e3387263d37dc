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
        layers: Names of the L layers, each once.
        layer_of_variable: The index of the layer of each trainable variable, V ints.
        sizes: Numbers in each variable, V ints.

    Example:
        >>> layout = Layout.of(["first", "first", "last"], [(2, 3), (3,), (3, 1)])
        >>> layout.layers, layout.sizes, layout.by_layer([1.0, 2.0, 4.0])
        (('first', 'last'), (6, 3, 3), array([3., 4.]))

    Cost: a sum by layer reads every number once.
    """

    layers: tuple[str, ...]
    layer_of_variable: tuple[int, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, layer_names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> Layout:
        """Return the layout of variables.

        Args:
            layer_names: The layer of each variable, V strings.
            shapes: The shape of each variable, V tuples.
        """
        layers = tuple(dict.fromkeys(layer_names))
        places = tuple(layers.index(name) for name in layer_names)
        return cls(layers, places, tuple(math.prod(shape) for shape in shapes))

    def by_layer(self, values: Sequence[float]) -> np.ndarray:
        """Return the sums of one value for each variable within the layers, `[L]`.

        Args:
            values: One number for each variable, `[V]`.
        """
        return np.bincount(self.layer_of_variable, values, minlength=len(self.layers))

    def totals(self, arrays: Arrays) -> np.ndarray:
        """Return the sum of each layer's arrays, `[L]`.

        Args:
            arrays: One for each variable, `[*shape]`.
        """
        return self.by_layer([float(array.sum()) for array in arrays])

    def squared_norms(self, arrays: Arrays) -> np.ndarray:
        """Return the squared norm of each layer's arrays, `[L]`.

        Args:
            arrays: One for each variable, `[*shape]`.
        """
        # Not `np.vdot`: the threads of BLAS and those of TensorFlow would wait for each other.
        flat = [array.ravel() for array in arrays]
        return self.by_layer([float(np.einsum("i,i->", values, values)) for values in flat])

    @property
    def layer_sizes(self) -> np.ndarray:
        """Numbers in each layer, `[L]`."""
        return self.by_layer(self.sizes)
