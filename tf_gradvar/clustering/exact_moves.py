"""Exact moves: the assignment rule that never raises the objective.

The cost of example i in cluster k is what it adds to J there,

    cost_k(i) = sum_{j in k} ||g_j - g_i||^2 = S_k + N_k ||g_i||^2 - 2 <s_k, g_i>,

so a move from a to b changes J by cost_b(i) - cost_a(i), exactly. It equals
N_k (||C_k - g_i||^2 + V_k) with V_k the cluster's own variance: the term that Eq. 3 of the paper
drops, without which the rule collapses.

A pass takes the examples in chunks. The products <s_k, g_i> of a chunk are one product of
matrices; then its examples are looked at one by one, and each move is made only if it lowers J
under sums that all moves before it have updated: within the chunk through the products of its
examples with each other.
"""

from __future__ import annotations

import numpy as np

from tf_gradvar.assignments import sizes_of, totals_of
from tf_gradvar.clustering.geometry import LEAST_GAIN, Gradients


class ExactMoves:
    """Assignments that exact moves improve pass by pass.

    Args:
        gradients: Their norms and inner products.
        assignments: Where to start, integers `[N]`; copied.
        num_clusters: K.
        max_size: The most examples in a cluster; None: no limit.
        chunk_size: Examples whose products are computed at once.
    """

    def __init__(
        self,
        gradients: Gradients,
        assignments: np.ndarray,
        num_clusters: int,
        *,
        max_size: int | None = None,
        chunk_size: int = 256,
    ):
        self.assignments = np.array(assignments, np.int64)
        self._gradients = gradients
        self._num_clusters = num_clusters
        self._max_size = max_size
        self._chunk_size = chunk_size

    def run_pass(self, order: np.ndarray) -> int:
        """Look at every example once.

        Args:
            order: The order to take them in, a permutation of `range(N)`.

        Returns:
            The number of moves made.
        """
        # Fresh sums in every pass keep rounding from adding up.
        self._state = self._gradients.sums(self.assignments, self._num_clusters)
        self._sizes = sizes_of(self.assignments, self._num_clusters).astype(float)
        self._squares = totals_of(
            self.assignments, self._gradients.squared_norms, self._num_clusters
        )
        return sum(
            self._run_chunk(order[start : start + self._chunk_size])
            for start in range(0, len(order), self._chunk_size)
        )

    def costs(self, norms: np.ndarray, products: np.ndarray) -> np.ndarray:
        """cost_k(i) for norms `[...]` and products `[..., K]`; infinite for a full cluster."""
        costs = self._squares + self._sizes * norms[..., None] - 2.0 * products
        if self._max_size is not None:
            costs = np.where(self._sizes >= self._max_size, np.inf, costs)
        return costs

    def _run_chunk(self, rows: np.ndarray) -> int:
        norms = self._gradients.squared_norms[rows]
        products = self._gradients.products(rows, self._state)
        costs = self.costs(norms, products)
        proposed = np.flatnonzero(costs.argmin(axis=1) != self.assignments[rows])
        if not len(proposed):
            return 0
        gram = self._gradients.gram(rows)
        moves = 0
        for place in proposed:
            moves += self._try_move(rows, int(place), norms, products, gram)
        return moves

    def _try_move(
        self,
        rows: np.ndarray,
        place: int,
        norms: np.ndarray,
        products: np.ndarray,
        gram: np.ndarray,
    ) -> int:
        """Move one example of the chunk to its best cluster if that lowers J."""
        row, norm = int(rows[place]), norms[place]
        old = int(self.assignments[row])
        if self._sizes[old] == 1.0:
            return 0  # alone it costs nothing
        costs = self.costs(norm, products[place])
        new = int(costs.argmin())
        scales = self._squares + self._sizes * norm
        here = scales[old] - 2.0 * products[place, old]
        if costs[new] >= here - LEAST_GAIN * (scales[old] + scales[new]):
            return 0
        self.assignments[row] = new
        for cluster, sign in ((old, -1.0), (new, 1.0)):
            self._sizes[cluster] += sign
            self._squares[cluster] += sign * norm
            products[:, cluster] += sign * gram[:, place]
        self._gradients.move(self._state, row, old, new)
        return 1
