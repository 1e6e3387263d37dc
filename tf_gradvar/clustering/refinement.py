"""One pass of a clustering, for every representation and rule."""

from __future__ import annotations

import abc

import numpy as np

from tf_gradvar.assignments import sizes_of, totals_of
from tf_gradvar.clustering.exact_moves import ExactMoves
from tf_gradvar.clustering.fixed_centres import centre_distances, exact_rule, paper_rule
from tf_gradvar.clustering.geometry import CHUNK, Gradients, objective
from tf_gradvar.clustering.low_rank import truncated
from tf_gradvar.clustering.passes import Centres, GradientPasses
from tf_gradvar.clustering.split_merge import split_and_merge
from tf_gradvar.data.examples import Examples
from tf_gradvar.per_example import Factors


class Refinement(abc.ABC):
    """Turns assignments into better ones.

    Args:
        gradients: Their geometry, by which assignments are judged.
        num_clusters: K.
        max_size: The most examples in a cluster; None: no limit.
    """

    def __init__(self, gradients: Gradients, num_clusters: int, max_size: int | None):
        self.gradients = gradients
        self.num_clusters = num_clusters
        self.max_size = max_size

    def objective(self, assignments: np.ndarray) -> float:
        """Return J of an assignment."""
        return objective(self.gradients, assignments, self.num_clusters)

    def regroup(self, assignments: np.ndarray) -> np.ndarray:
        """Move whole clusters if that lowers J, and return assignments `[N]`."""
        return split_and_merge(self.gradients, assignments, self.num_clusters, self.max_size)

    @abc.abstractmethod
    def one_pass(self, assignments: np.ndarray, order: np.ndarray) -> np.ndarray:
        """Look at every example once, in the given order, and return assignments `[N]`."""


class MovingMeans(Refinement):
    """Exact moves: the means follow every move."""

    def one_pass(self, assignments: np.ndarray, order: np.ndarray) -> np.ndarray:
        """Make one pass of `ExactMoves`."""
        moves = ExactMoves(self.gradients, assignments, self.num_clusters, max_size=self.max_size)
        moves.run_pass(order)
        return moves.assignments


class FixedCentres(Refinement):
    """A U step, then an A step with centres that stay where they are.

    Args:
        gradients: As in `Refinement`.
        num_clusters: K.
        max_size: The most examples in a cluster; None: no limit. The paper's rule knows none.
        rule: "exact" or "paper".
    """

    def __init__(self, gradients: Gradients, num_clusters: int, max_size: int | None, rule: str):
        super().__init__(gradients, num_clusters, max_size)
        self._rule = rule

    def one_pass(self, assignments: np.ndarray, order: np.ndarray) -> np.ndarray:
        """Make centres of the old assignments, and return assignments by the distances to them."""
        distances = self.distances(assignments)
        if self._rule == "paper":
            return paper_rule(distances, order)
        return exact_rule(distances, assignments, order, max_size=self.max_size)

    def distances(self, assignments: np.ndarray) -> np.ndarray:
        """Return ||C_k - g_i||^2 to the means of the clusters, `[N, K]`."""
        state = self.gradients.sums(assignments, self.num_clusters)
        sizes = np.maximum(sizes_of(assignments, self.num_clusters), 1)
        products = np.empty((len(assignments), self.num_clusters))
        for start in range(0, len(products), CHUNK):
            rows = np.arange(start, min(start + CHUNK, len(products)))
            products[rows] = self.gradients.products(rows, state)
        own = products[np.arange(len(assignments)), assignments]
        centre_norms = totals_of(assignments, own, self.num_clusters) / sizes**2
        products /= sizes
        return centre_distances(self.gradients.squared_norms, products, centre_norms)


class LowRankCentres(FixedCentres):
    """Centres of low rank for each layer, from passes over the data.

    Args:
        gradients: As in `Refinement`.
        num_clusters: K.
        max_size: The most examples in a cluster; None: no limit.
        rule: "exact" or "paper".
        passes: Passes over the data.
        examples: The data.
        squared_norms: ||g_i||^2, `[N]`.
        rank: Rank of the approximation to the true means; None: the paper's product of means.
        rng: Start of the approximation.
    """

    def __init__(
        self,
        gradients: Gradients,
        num_clusters: int,
        max_size: int | None,
        rule: str,
        *,
        passes: GradientPasses,
        examples: Examples,
        squared_norms: np.ndarray,
        rank: int | None,
        rng: np.random.Generator,
    ):
        super().__init__(gradients, num_clusters, max_size, rule)
        self._passes, self._examples = passes, examples
        self._squared_norms = squared_norms
        self._rank, self._rng = rank, rng

    def distances(self, assignments: np.ndarray) -> np.ndarray:
        """Return ||C_k - g_i||^2 to the centres of low rank, `[N, K]`: two passes over the data."""
        centres = self._centres(assignments)
        norms = np.zeros(self.num_clusters)
        for centre in centres:
            norms += _squared_norms(centre)
        products = self._passes.centre_products(self._examples, centres).astype(np.float64)
        return centre_distances(self._squared_norms, products, norms)

    def _centres(self, assignments: np.ndarray) -> list[Centres]:
        if self._rank is None:
            return self._passes.mean_factors(self._examples, assignments, self.num_clusters)
        means = self._passes.means(self._examples, assignments, self.num_clusters)
        return [truncated(mean, self._rank, self._rng) for mean in means]


def _squared_norms(centres: Centres) -> np.ndarray:
    if isinstance(centres, Factors):
        return centres.squared_norms().numpy()
    return np.square(centres.numpy()).sum(axis=1)
