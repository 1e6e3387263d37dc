"""Mean gradients of clusters, from the gradients of pieces of them."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from tf_gradvar.data.examples import Piece
from tf_gradvar.estimators.protocol import Gradients
from tf_gradvar.moments import added


class MeansOfClusters(abc.ABC):
    """A gradient of weighted sums of losses that can be added up over pieces of the data."""

    @abc.abstractmethod
    def __call__(
        self, data: tuple[Any, Any, Any], coefficients: np.ndarray, weights: Any, seed: int
    ) -> Gradients:
        """Return the gradient of `sum_i a_i loss_i`, float64 arrays."""

    def means(
        self, pieces: Iterable[Piece], counts: Sequence[int], weights: Any = None
    ) -> list[Gradients]:
        """Return the mean gradient of each cluster's examples.

        Args:
            pieces: Examples, each piece of one cluster.
            counts: How many there are of each cluster, `[K]`.
            weights: As in a call.
        """
        totals: list[Gradients] = [[] for _ in counts]
        for place, piece in enumerate(pieces):
            length = len(keras.tree.flatten(piece.x)[0])
            shares = np.full(length, 1.0 / counts[piece.cluster])
            data = (piece.x, piece.y, piece.sample_weight)
            part = self(data, shares, weights, place)
            totals[piece.cluster] = added(totals[piece.cluster], part)
        return totals
