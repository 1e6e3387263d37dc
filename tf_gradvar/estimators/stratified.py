"""The estimate of stratified sampling, and so of Gradient Clustering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tf_gradvar.assignments import check_assignments, sizes_of
from tf_gradvar.estimators.mini_batch import check_fits, default_name
from tf_gradvar.estimators.protocol import (
    Between,
    Estimator,
    WeightedBatch,
    draws_factor,
)
from tf_gradvar.sampling import design_of
from tf_gradvar.sampling.allocation import TICKS
from tf_gradvar.sampling.design import draws_per_cluster
from tf_gradvar.sampling.systematic import count_variances, spread_weights, systematic_counts


class Stratified(Estimator):
    """Draws from every cluster, weighted by the clusters' sizes.

    With n_k fixed draws, ``estimate = sum_k (N_k/N) mean of n_k draws from k``, unbiased for any
    assignment (Eq. 1), and
    ``V = sum_k (N_k/N)^2 (mean_{i in k} ||g_i||^2 - ||m_k||^2) / n_k``, the k-th term times
    (N_k - n_k) / (N_k - 1) without replacement.

    With `expected_draws` e_k the n_k are random, as `stratified_batches` draws them where weights
    are bounded or a batch size is shared out: ``sum_k (N_k/N) (n_k/e_k) mean of n_k draws``. Then
    e_k takes the place of n_k in V (the result's `parts["within"]`), and the random n_k add
    ``sum_kl Cov(n_k, n_l) <z_k, z_l>`` with ``z_k = (N_k/N) m_k / e_k`` (`parts["between"]`). The
    covariances of systematic sampling in random order have no closed form: where the fractions
    of the e_k differ, this part is an approximation (see `tf_gradvar.sampling.systematic`), for
    "subset" as well; "monte_carlo" draws what is really drawn.

    Args:
        assignments: The cluster of each example, `[N]`: labels (numbers, names or categories; see
            `tf_gradvar.assignments`), or what `GradientClustering.fit` returned. Numbers that do
            not occur are no clusters. Or clusters and draws together, as a data set draws them:
            what `stratified_batches` returned, its `sampling`, or a design of it.
        samples_per_cluster: n_k, one number or `[K]` of them. Defaults to 1.
        expected_draws: e_k, `[K]` positive numbers with a whole sum, instead. Defaults to none.
        replacement: Whether draws from a cluster are independent (default), or distinct.
        name: Key of the results. Defaults to "stratified-B", or "GC-B" for the result of a
            `GradientClustering`, with the number of draws in all.

    Raises:
        ValueError: Assignments that leave an example out, `samples_per_cluster` below 1 or not
            one for each cluster, `expected_draws` that are not as above, or both; when it is
            measured, assignments that are not of the length of the data, a clustering of other
            data, a dataset whose order changes from reading to reading.

    Example:
        >>> import numpy as np
        >>> labels = Stratified(np.array([0, 1, 1, 0, 1, 1]))
        >>> labels.name, labels.coefficients([2, 4])  # (1/3)^2 and (2/3)^2
        ('stratified-2', array([0.11111111, 0.44444444]))
        >>> from tf_gradvar.data import stratified_batches
        >>> x = y = np.arange(6.0)
        >>> batches = stratified_batches((x, y), [0, 1, 1, 0, 1, 1], batch_size=4, seed=0)
        >>> Stratified(batches).expected_draws
        array([1.33333333, 2.66666667])

    Source: Faghri et al. 2020, section 3, Eq. 1 and Proposition 3.1; Horvitz and Thompson 1952 for
    random n_k.

    Cost: exactly measured, the pass is made cluster by cluster.
    """

    def __init__(
        self,
        assignments: Any,
        *,
        samples_per_cluster: ArrayLike = 1,
        expected_draws: ArrayLike | None = None,
        replacement: bool = True,
        name: str | None = None,
    ):
        self.replacement = bool(replacement)
        fixed = np.array_equal(samples_per_cluster, 1)
        if expected_draws is not None and not fixed:
            raise ValueError(
                "`samples_per_cluster` and `expected_draws` exclude each other: the numbers of "
                "draws are fixed or random. Received: samples_per_cluster="
                f"{samples_per_cluster!r} and expected_draws={expected_draws!r}. Leave one out."
            )
        if design_of(assignments) and not (fixed and expected_draws is None):
            raise ValueError(
                "`assignments` with a design say how many draws there are: leave out "
                "`samples_per_cluster` and `expected_draws`. Received: samples_per_cluster="
                f"{samples_per_cluster!r} and expected_draws={expected_draws!r}."
            )
        self._random = expected_draws is not None
        self._given = expected_draws if self._random else samples_per_cluster
        self.reassign(assignments)
        total = round(float(np.sum(self._draws)))
        kind = default_name(_kind(assignments), total, self.replacement)
        self.name = name or f"{kind}{'-random' if self._random else ''}"

    @property
    def samples_per_cluster(self) -> np.ndarray:
        """n_k, `[K]` int."""
        return self._draws

    @property
    def expected_draws(self) -> np.ndarray:
        """e_k, `[K]`; the n_k where these are fixed."""
        return self._draws

    def reassign(self, assignments: Any, expected_draws: Any = None) -> None:
        """Take other assignments, of any number of clusters if n_k is one number.

        Args:
            assignments: As in the constructor.
            expected_draws: Of the new clusters. Defaults to those of the old, or of the design.

        Raises:
            ValueError: As the constructor.
        """
        fingerprint = getattr(assignments, "fingerprint", None)
        if (design := design_of(assignments)) is not None:
            assignments, fingerprint = design.assignments, design.fingerprint
            drawn_from = design.ticks[design.sizes > 0]
            self._random = bool((drawn_from % TICKS).any())
            self._given = drawn_from / TICKS if self._random else drawn_from // TICKS
        self.follows_design = design is not None
        if expected_draws is not None and not self._random:
            raise ValueError(
                "`expected_draws` are for estimators that were made with them, and the draws of "
                f"{self.name!r} are fixed: make another `Stratified`. "
                f"Received: expected_draws={expected_draws!r}."
            )
        checked = check_assignments(assignments, left_out=False)
        given = self._given if expected_draws is None else expected_draws
        check = _check_expected_draws if self._random else draws_per_cluster
        self._draws = check(given, int(checked.max()) + 1)
        self._given, self.assignments = given, checked
        self.data_fingerprint = fingerprint

    def coefficients(self, sizes: np.ndarray) -> np.ndarray:
        """Return (N_k/N)^2 / n_k, `[K]`, with the factor of drawing without replacement."""
        sizes = np.asarray(sizes, np.float64)
        draws = self._draws
        for size, most in zip(sizes, np.ceil(draws - 1e-6), strict=True):
            argument = "expected_draws" if self._random else "samples_per_cluster"
            check_fits(self, argument, int(most), int(size), self.replacement)
        factors = draws_factor(sizes, draws, replacement=self.replacement)
        if self._random and not self.replacement:
            # E[n_k (N_k - n_k)] has the variance of n_k in it.
            factors = factors - count_variances(draws) / np.maximum(sizes - 1, 1) / draws**2
        return np.square(sizes / sizes.sum()) * factors

    def between(self) -> Between | None:
        """Return the part that comes from random numbers of draws."""
        weights = spread_weights(self._draws)
        if not weights.any():
            return None
        sizes = sizes_of(self.assignments)  # type: ignore[arg-type]
        factors = sizes / sizes.sum() / self._draws
        return Between(weights / weights.sum(), None, float(weights.sum()), factors)

    def draw(self, members: Sequence[np.ndarray], rng: np.random.Generator) -> list[WeightedBatch]:
        """Return n_k examples of weight (N_k/N) / e_k from every cluster, as one batch."""
        total = sum(len(indices) for indices in members)
        counts = systematic_counts(self._draws, rng) if self._random else self._draws
        chosen, coefficients = [], []
        for indices, count, expected in zip(members, counts, self._draws, strict=True):
            chosen.append(rng.choice(indices, count, replace=self.replacement))
            coefficients.append(np.full(count, len(indices) / total / expected))
        return [WeightedBatch(np.concatenate(chosen), np.concatenate(coefficients))]


def _kind(assignments: Any) -> str:
    """Return what the name begins with: clusters of the gradients have one of their own."""
    found_by_gradients = hasattr(assignments, "assignments") and not design_of(assignments)
    return "GC" if found_by_gradients else "stratified"


def _check_expected_draws(value: Any, num_clusters: int) -> np.ndarray:
    draws = np.asarray(value, np.float64)
    if (
        draws.shape != (num_clusters,)
        or not (draws > 0).all()
        or not np.isclose(draws.sum(), np.rint(draws.sum()), rtol=0, atol=1e-6)
    ):
        raise ValueError(
            f"`expected_draws` must be {num_clusters} positive numbers with a whole sum, one for "
            "each cluster, or come with a design. Received: expected_draws="
            f"{np.array2string(draws, threshold=8)}."
        )
    return draws
