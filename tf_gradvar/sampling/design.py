"""Designs: the clusters of a data set, and what a batch draws from each."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from tf_gradvar.arguments import check_count
from tf_gradvar.assignments import rows_by_cluster
from tf_gradvar.sampling.allocation import (
    TICKS,
    allocation_shares,
    check_max_weight,
    expected_ticks,
    resolve_max_weight,
)


@dataclass(frozen=True, eq=False)
class Design:
    """The clusters of a data set and what a batch expects of each.

    A batch of B draws takes n_k examples of cluster k, e_k = E[n_k], and gives each the weight
    ``w_k = B (N_k / N) / e_k``.

    Attributes:
        assignments: The cluster of each example, int64 `[N]`; -1 for those that are never drawn.
        ticks: e_k in units of 2^-32, whole numbers, whose sum is B without rounding, int64 `[K]`.
        fingerprint: Of the data, 16 hexadecimal digits; None: not known.

    Example:
        >>> import numpy as np
        >>> design = DrawingRule.of(batch_size=3).design(np.array([0, 0, 1, 0]))
        >>> design.expected_draws, design.weights
        (array([2.25, 0.75]), array([1., 1.]))
    """

    assignments: np.ndarray
    ticks: np.ndarray
    fingerprint: str | None = None

    @functools.cached_property
    def _by_cluster(self) -> tuple[np.ndarray, np.ndarray]:
        return rows_by_cluster(self.assignments, len(self.ticks))

    @property
    def rows(self) -> np.ndarray:
        """The examples that are drawn from, ordered by cluster, int64 `[n]`."""
        return self._by_cluster[0]

    @property
    def sizes(self) -> np.ndarray:
        """The sizes N_k, `[K]` int64; 0 for a cluster without examples."""
        return self._by_cluster[1]

    @property
    def batch_size(self) -> int:
        """The draws of a batch, B."""
        return int(self.ticks.sum()) // TICKS

    @property
    def expected_draws(self) -> np.ndarray:
        """The expected draws e_k, `[K]` float64."""
        return self.ticks / TICKS

    @property
    def weights(self) -> np.ndarray:
        """The weights w_k, `[K]` float64; 0 for a cluster without examples."""
        wanted = self.batch_size * self.sizes / self.sizes.sum()
        return np.divide(
            wanted, self.expected_draws, out=np.zeros(len(self.sizes)), where=self.sizes > 0
        )


def design_of(given: Any) -> Design | None:
    """Return the design that something is or has, or None.

    Args:
        given: A `Design`; or what `stratified_batches` returned, or its `sampling`, which have the
            design of the batch that is drawn next; or anything else.

    Returns:
        The `Design`, or None where there is none.

    Example:
        >>> import numpy as np
        >>> from tf_gradvar.data import stratified_batches
        >>> from tf_gradvar.sampling import design_of
        >>> x = np.arange(6.0)
        >>> batches = stratified_batches((x, x), [0, 1, 1, 0, 1, 1], batch_size=3, seed=0)
        >>> design_of(batches).expected_draws, design_of(x)
        (array([1., 2.]), None)

    Cost: a look at two attributes.
    """
    if isinstance(given, Design):
        return given
    design = getattr(getattr(given, "sampling", given), "design", None)
    return design if isinstance(design, Design) else None


@dataclass(frozen=True)
class DrawingRule:
    """How the draws of a batch are shared out, whatever the clusters.

    `DrawingRule.of` makes one from the arguments of `stratified_batches`, and checks them.

    Attributes:
        samples_per_cluster: n_k, one number or `[K]` of them; None where `batch_size` is given.
        batch_size: B; None where `samples_per_cluster` decides it.
        allocation: `"proportional"`, `"neyman"` or `"equal"`.
        max_weight: The bound of the weights, None for none or `"auto"`.

    Raises:
        ValueError: In `of` and `design`, arguments that break their rule.

    Example:
        >>> import numpy as np
        >>> from tf_gradvar.sampling import DrawingRule
        >>> rule = DrawingRule.of(batch_size=2, allocation="equal", max_weight=None)
        >>> design = rule.design(np.array([0, 0, 1, 0]))
        >>> design.expected_draws, design.weights
        (array([1., 1.]), array([1.5, 0.5]))

    Source: Neyman 1934 (allocation); Horvitz and Thompson 1952 (weights); Faghri et al. 2020,
    section 3, Eq. 1, for one draw from each cluster. The bound is ours.

    Cost: of a design, a sort of the N assignments.
    """

    samples_per_cluster: Any
    batch_size: int | None
    allocation: str
    max_weight: float | str | None

    @classmethod
    def of(
        cls,
        samples_per_cluster: Any = 1,
        batch_size: int | None = None,
        allocation: str = "proportional",
        max_weight: float | str | None = "auto",
    ) -> DrawingRule:
        """Return the rule of arguments as `stratified_batches` takes them.

        Args:
            samples_per_cluster: n_k, one number or `[K]` of them. Defaults to 1.
            batch_size: B, in place of the n_k. Defaults to None.
            allocation: `"proportional"` (default), `"neyman"` or `"equal"`, of a `batch_size`.
            max_weight: The bound of the weights, at least 1, or None. Defaults to `"auto"`.

        Raises:
            ValueError: Arguments that break their rule or exclude each other.
        """
        max_weight = check_max_weight(max_weight)
        if batch_size is None:
            if allocation != "proportional":
                raise ValueError(
                    "`allocation` shares out the draws of a `batch_size`: set it, too. Received: "
                    f"allocation={allocation!r} and batch_size=None."
                )
            return cls(samples_per_cluster, None, allocation, max_weight)
        if not np.array_equal(samples_per_cluster, 1):
            raise ValueError(
                "`samples_per_cluster` and `batch_size` exclude each other: the draws are either "
                "given or shared out by `allocation`. Received: samples_per_cluster="
                f"{samples_per_cluster!r} and batch_size={batch_size!r}. Leave one out."
            )
        batch_size = check_count("batch_size", batch_size, "the draws of a batch")
        return cls(None, batch_size, allocation, max_weight)

    def design(
        self,
        assignments: np.ndarray,
        slots: int | None = None,
        standard_deviations: Any = None,
        fingerprint: str | None = None,
    ) -> Design:
        """Return the design for these assignments.

        Args:
            assignments: Int `[N]` without gaps, -1 for examples that are left out.
            slots: K, and with it B, of an existing dataset. Defaults to as many as occur.
            standard_deviations: sigma_k, `[K]`, for `allocation="neyman"`. Defaults to None.
            fingerprint: Of the data. Defaults to None: not known.

        Raises:
            ValueError: More clusters than slots, numbers that are not one for each cluster.
        """
        found = int(assignments.max()) + 1
        num_clusters = found if slots is None else slots
        if found > num_clusters:
            raise ValueError(
                f"`assignments` must be to at most the {num_clusters} clusters of this dataset, "
                f"whose batches are made for them: make a new dataset. Received: {found} clusters."
            )
        _, sizes = rows_by_cluster(assignments, num_clusters)
        if self.batch_size is None:
            draws = draws_per_cluster(self.samples_per_cluster, found, num_clusters)
            shares = np.where(sizes > 0, draws, 0).astype(np.float64)
            batch_size = int(draws.sum())
            bound = resolve_max_weight(self.max_weight, sizes, shares)
        else:
            shares = allocation_shares(self.allocation, sizes, standard_deviations)
            batch_size = self.batch_size
            bound = resolve_max_weight(self.max_weight, sizes, None)
        return Design(assignments, expected_ticks(sizes, batch_size, shares, bound), fingerprint)


def draws_per_cluster(value: Any, found: int, num_clusters: int | None = None) -> np.ndarray:
    """Return n_k, `[K]` int64, or raise unless it is one number or one for each cluster.

    Args:
        value: The argument `samples_per_cluster`.
        found: Clusters that have examples.
        num_clusters: K. Defaults to `found`.
    """
    draws = np.asarray(value)
    if draws.dtype.kind not in "iu" or draws.shape not in ((), (found,)) or (draws < 1).any():
        raise ValueError(
            "`samples_per_cluster` must be an integer of at least 1, or one for each of the "
            f"{found} clusters that have examples. Received: samples_per_cluster={value!r}."
        )
    return np.broadcast_to(draws, (num_clusters or found,)).astype(np.int64)
