"""The corrected gradient v_t of the Discover optimizers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_gradvar.arguments import check_count
from tf_gradvar.assignments import check_assignments, check_none_empty, sizes_of
from tf_gradvar.estimators.mini_batch import check_fits
from tf_gradvar.estimators.protocol import (
    Between,
    Estimator,
    GradientFunction,
    Gradients,
    WeightedBatch,
    draws_factor,
)


class DiscoverEstimate(Estimator):
    r"""The variance of v_t, with the buffers that a Discover optimizer has at that moment.

    A step draws C groups; group c takes its cluster k_c with probability q_k and n examples of
    it. With the optimizer's gain c and scale s, a = 1 - s + s c and b = s c (both 1 for the plain
    control variate), ``v_t = a mean_c G_c - b mean_c g^{k_c} + (1 - a + b) gbar``. So

        E v_t = R + (1 - a) (gbar - R)
        V     = (1/C) [ a^2 sum_k q_k V_k / n  +  sum_k q_k ||a (R_k - R) - b (g^k - gbar)||^2 ]

    with R_k the mean gradient of cluster k, V_k the variance of one of its n examples in a group
    and R = sum_k q_k R_k. The first term of V is the result's `parts["within"]`, the second
    `parts["between"]`; `parts["buffered_between"]` has ``sum_k q_k ||a R_k - b g^k||^2 / C``
    instead, the form of the paper's Eq. 5 and figures. `parts["squared_bias"]` is
    ``||E v_t - R||^2``, which is not in V. All are divided by the number of parameters.

    Args:
        optimizer: A Discover optimizer (or one wrapped in a `LossScaleOptimizer`), built.
        assignments: The cluster of each example, [N], to the K clusters of the optimizer, each
            with an example (see `tf_gradvar.assignments`).
        group_size: n, the examples of a group.
        groups_per_batch: C. Defaults to 1.
        replacement: Whether the n examples are independent draws (default), or distinct as
            `tf_gradvar.data.cluster_batches` draws them.
        name: Key of the results. Defaults to "Discover-Cxn" with the numbers.

    Raises:
        ValueError: An optimizer without cluster buffers, assignments that leave an example or one
            of the optimizer's clusters out, counts below 1.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from tf_gradvar.optimizers import Discover
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> optimizer = Discover(0.1, num_clusters=2)
        >>> optimizer.build(model.trainable_variables)
        Discover keeps 2 + 1 gradient buffers of 3 weights: 0.0 MB.
        >>> DiscoverEstimate(optimizer, np.array([0, 0, 1, 1]), group_size=8, groups_per_batch=4)
        DiscoverEstimate(name='Discover-4x8')

    Source: Discover paper, Section 4, Eq. 4 and Lemma 3, Eq. 5.

    Cost: a pass over the data, shared with estimators of the same clusters, and the K buffers once
    more in memory.
    """

    def __init__(
        self,
        optimizer: Any,
        assignments: Any,
        *,
        group_size: int,
        groups_per_batch: int = 1,
        replacement: bool = True,
        name: str | None = None,
    ):
        self.group_size = check_count("group_size", group_size, "the examples in a group")
        self.groups_per_batch = check_count(
            "groups_per_batch", groups_per_batch, "the groups in a step"
        )
        self.replacement = bool(replacement)
        self._optimizer = _with_buffers(optimizer)
        self.name = name or f"Discover-{groups_per_batch}x{group_size}"
        self.reassign(assignments)

    def reassign(self, assignments: Any) -> None:
        """Take other assignments, when the optimizer has been given other clusters.

        Args:
            assignments: As in the constructor.

        Raises:
            ValueError: As the constructor.
        """
        clusters = self._optimizer.num_clusters
        checked = check_assignments(assignments, num_clusters=clusters, left_out=False)
        check_none_empty(sizes_of(checked, clusters))
        self.assignments: np.ndarray = checked

    @property
    def probabilities(self) -> np.ndarray:
        """q_k, `[K]`."""
        clusters = self._optimizer.num_clusters
        given = self._optimizer.cluster_probabilities
        return np.full(clusters, 1.0 / clusters) if given is None else np.array(given)

    def check(self, model: Any) -> None:
        """Raise unless the buffers are those of the model's variables."""
        clusters = self._optimizer.num_clusters
        wanted = [(clusters, *variable.shape) for variable in model.trainable_variables]
        found = (
            [tuple(buffer.shape) for buffer in self._optimizer.cluster_gradients]
            if self._optimizer.built
            else []
        )
        if found != wanted:
            raise ValueError(
                "`optimizer` must be built with the trainable variables of `model`, with buffers "
                f"of the shapes {wanted}: call `optimizer.build(model.trainable_variables)`. "
                f"Received: buffers of the shapes {found}."
            )

    def coefficients(self, sizes: np.ndarray) -> np.ndarray:
        """Return a^2 q_k / (n C), `[K]`, with the factor of drawing without replacement."""
        sizes = np.asarray(sizes, np.float64)
        check_fits(self, "group_size", self.group_size, int(sizes.min()), self.replacement)
        draws = np.full(len(sizes), self.group_size)
        factors = draws_factor(sizes, draws, replacement=self.replacement)
        of_gradients = self._optimizer.combination.of_gradients
        return of_gradients**2 * self.probabilities * factors / self.groups_per_batch

    def between(self) -> Between:
        """Return the part that comes from drawing the clusters."""
        of_gradients, of_buffers = self._optimizer.combination
        # ||a m_k - b g^k|| = a ||m_k - (b / a) g^k||
        ratios = [of_buffer / of_gradients for of_buffer in of_buffers]
        return Between(
            self.probabilities,
            lambda k: [ratio * g for ratio, g in zip(ratios, self._buffers(k), strict=True)],
            of_gradients**2 / self.groups_per_batch,
            pull=1.0 - of_gradients,
            centre=self._mean_buffers,
        )

    def draw(self, members: Sequence[np.ndarray], rng: np.random.Generator) -> list[WeightedBatch]:
        """Return one batch for each group: batch statistics are those of a group."""
        clusters = rng.choice(len(members), self.groups_per_batch, p=self.probabilities)
        weight = 1.0 / (self.group_size * self.groups_per_batch)
        return [
            WeightedBatch(
                rng.choice(members[cluster], self.group_size, replace=self.replacement),
                np.full(self.group_size, weight),
                int(cluster),
            )
            for cluster in clusters
        ]

    def estimate(
        self, batches: list[WeightedBatch], gradient: GradientFunction, seed: int, prepared: Any
    ) -> Gradients:
        """Return a times the mean over the groups, minus b their buffers', plus gbar's share."""
        a, factors = self._optimizer.combination
        total = [a * sum_ for sum_ in super().estimate(batches, gradient, seed, prepared)]
        for batch in batches:
            buffers = self._buffers(batch.cluster or 0)
            for sum_, buffer, b in zip(total, buffers, factors, strict=True):
                sum_ -= b / self.groups_per_batch * buffer
        for sum_, average, b in zip(total, self._mean_buffers(), factors, strict=True):
            sum_ += (1.0 - a + b) * average
        return total

    def _buffers(self, cluster: int) -> Gradients:
        return [_float64(buffers[cluster]) for buffers in self._optimizer.cluster_gradients]

    def _mean_buffers(self) -> Gradients:
        return [_float64(average.value) for average in self._optimizer.mean_cluster_gradients]


def _float64(tensor: Any) -> np.ndarray:
    return np.asarray(tensor).astype(np.float64)


def _with_buffers(optimizer: Any) -> Any:
    """Return the optimizer with cluster buffers inside an optimizer and its wrappers."""
    inner = optimizer
    while inner is not None and not hasattr(type(inner), "cluster_gradients"):
        inner = getattr(inner, "inner_optimizer", None)
    if inner is None:
        raise ValueError(
            "`optimizer` must keep cluster gradients: Discover, DiscoverQHM, DiscoverIGT or "
            "DiscoverOver. For optimizers without buffers use `MiniBatch`. Received: optimizer="
            f"{type(optimizer).__name__}."
        )
    if (inner.num_owners or 1) > 1:
        raise ValueError(
            "`optimizer` must draw all groups from all clusters: there is no estimate for "
            f"replicas that draw from their own. Received: buffers='owned' on {inner.num_owners} "
            "replicas. Load its weights file into one on one device."
        )
    return inner
