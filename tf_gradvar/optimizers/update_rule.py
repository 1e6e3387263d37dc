"""The update rule of the Discover optimizers, as pure functions of arrays.

One variable, K clusters, a step of C groups:

    G_c      the mean gradient of group c, which holds n_c examples of the cluster k_c
    g^k      the buffer of cluster k
    q_k      the probability of cluster k
    gbar     sum_k q_k g^k, the average of the buffers
    alpha    the step of the buffers
    gain     the step of the corrected gradient from gbar towards the groups
    scale    the share of the correction
    v        the corrected gradient

`update` is the definition. A backend may compute the same in another order, and in place.

Source: Discover paper, Section 4, Eq. 4 and Algorithm 1.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

from keras import ops

from tf_gradvar.optimizers.stacked_rows import read_rows, write_rows


class Groups(NamedTuple):
    """The groups of a step.

    Attributes:
        gradients: G_c, a float32 tensor [C, *shape] for each variable; None without a gradient.
        clusters: k_c, int32 [C] in [0, K).
        valid: Whether a group counts, bool [C]; else it is left out of the step.
        sizes: n_c, float [C], of which only the ratios matter; None: all alike.
    """

    gradients: Sequence[Any]
    clusters: Any
    valid: Any
    sizes: Any = None

    @property
    def weights(self) -> Any:
        """n_c, and 0 for what is left out, float32 [C]."""
        sizes = ops.ones(self.clusters.shape) if self.sizes is None else self.sizes
        return ops.where(self.valid, ops.cast(sizes, "float32"), 0.0)


class MixingWeights(NamedTuple):
    """The weights of the means over groups that the update rule takes.

    Attributes:
        of_groups: n_c / sum_c n_c, float [C].
        in_clusters: n_d / (sum over the groups of cluster k_c) where k_c = k_d, else 0,
            float [C, C].
        of_clusters: q_{k_c} / (the number of groups of cluster k_c), float [C].
    """

    of_groups: Any
    in_clusters: Any
    of_clusters: Any


class RowSteps(NamedTuple):
    """The steps of a group along its deviation d_c from the buffer as earlier groups left it.

    Attributes:
        of_corrected: Of v, float [C].
        of_buffers: Of g^{k_c}, float [C].
        of_average: Of gbar, float [C].
    """

    of_corrected: Any
    of_buffers: Any
    of_average: Any


class Rule(NamedTuple):
    """The numbers of the update rule.

    Attributes:
        alpha: The step of the buffers.
        gain: The step of the corrected gradient from gbar towards the groups.
        scales: The share of the correction, a scalar for each variable; None: 1 for all.
        learns: Whether the moments of the control variate are used, of a rule with scales.
    """

    alpha: float
    gain: float = 1.0
    scales: Sequence[Any] | None = None
    learns: bool = False


class Combination(NamedTuple):
    """The factors of v = a mean_c G_c - b mean_c g^{k_c} + (1 - a + b) gbar.

    Attributes:
        of_gradients: a.
        of_buffers: b of each variable, [V].
    """

    of_gradients: float
    of_buffers: list[float]


class Updated(NamedTuple):
    """A corrected gradient v [*shape], the new buffers [K, *shape], their average [*shape]."""

    corrected: Any
    buffers: Any
    average: Any


class ControlMoments(NamedTuple):
    """What tells how far a control variate h = mean_c g^{k_c} - gbar is worth its while.

    Attributes:
        covariance: <mean_c G_c - gbar, h>, a float32 scalar: h has the mean 0.
        variance: <h, h>, a float32 scalar.
    """

    covariance: Any
    variance: Any


def mixing_weights(sizes: Any, clusters: Any, probabilities: Any) -> MixingWeights:
    """Return the weights of the means, which are the same for all variables.

    Args:
        sizes: n_c, float [C]; 0 for what is left out.
        clusters: k_c, int32 [C].
        probabilities: q, float [K].
    """
    same = ops.cast(ops.equal(clusters[:, None], clusters[None, :]), sizes.dtype)
    in_cluster = ops.sum(same * sizes, axis=1, keepdims=True)
    return MixingWeights(
        of_groups=ops.divide_no_nan(sizes, ops.sum(sizes)),
        in_clusters=ops.divide_no_nan(same * sizes, in_cluster),
        of_clusters=ops.take(probabilities, clusters) / ops.sum(same, axis=1),
    )


def row_steps(sizes: Any, clusters: Any, probabilities: Any, rule: Rule) -> RowSteps:
    """Return the steps with which groups taken in one after the other give what `update` does.

    With s_c = n_c / (sum over the groups of cluster k_c), a buffer must end at

        g + alpha sum_{c: k_c = k} s_c (G_c - g)

    It does if group c moves it by b_c d_c, where d_c is the deviation of G_c from the buffer that
    the groups before it left, and b_c = alpha s_c / (1 - alpha (the sum of s over the groups of
    the cluster after c)). The change of the buffer is then sum_c b_c d_c, and v and gbar are
    multiples of it.

    Args:
        sizes: n_c, float [C]; 0 for what is left out.
        clusters: k_c, int32 [C].
        probabilities: q, float [K].
        rule: The numbers of the update rule.
    """
    same = ops.cast(ops.equal(clusters[:, None], clusters[None, :]), sizes.dtype)
    in_cluster = ops.sum(same * sizes, axis=1)
    shares = ops.divide_no_nan(sizes, in_cluster)
    places = ops.arange(clusters.shape[0])
    after = ops.cast(places[:, None] < places[None, :], sizes.dtype)
    later = ops.sum(after * same * shares, axis=1)
    steps = ops.divide_no_nan(rule.alpha * shares, 1.0 - rule.alpha * later)
    of_clusters = ops.divide_no_nan(in_cluster, ops.sum(sizes))
    return RowSteps(
        of_corrected=rule.gain / rule.alpha * of_clusters * steps,
        of_buffers=steps,
        of_average=ops.take(probabilities, clusters) * steps,
    )


def update(
    gradients: Any,
    clusters: Any,
    buffers: Any,
    average: Any,
    weights: MixingWeights,
    alpha: float,
    gain: float = 1.0,
) -> Updated:
    """Return what a step makes of the groups, the buffers and their average.

    Args:
        gradients: G_c, float32 [C, *shape], finite.
        clusters: k_c, int32 [C].
        buffers: g^k, [K, *shape], of any float dtype; gbar is the average of what it holds.
        average: gbar, float32 [*shape].
        weights: Of the groups and clusters, with the probabilities q.
        alpha: The step of the buffers.
        gain: The step of v from gbar.
    """
    held = ops.cast(read_rows(buffers, clusters), "float32")
    deviations = gradients - held
    # v = gbar + gain mean_c (G_c - g^{k_c})
    corrected = average + gain * combine_rows(weights.of_groups, deviations)
    # g^k <- g^k + alpha mean_{c: k_c = k} (G_c - g^k)
    moved = held + alpha * combine_rows(weights.in_clusters, deviations)
    # gbar <- gbar + sum_k q_k (the change of g^k)
    moved = ops.cast(moved, buffers.dtype)
    change = ops.cast(moved, "float32") - held
    average = average + combine_rows(weights.of_clusters, change)
    return Updated(corrected, write_rows(buffers, clusters, moved), average)


def scale_correction(
    corrected: Any, gradients: Any, held: Any, average: Any, of_groups: Any, scale: Any
) -> tuple[Any, ControlMoments]:
    """Return (1 - scale) mean_c G_c + scale v, and the moments from which a scale is learned.

    Args:
        corrected: v, float32 [*shape].
        gradients: G_c, float32 [C, *shape], finite.
        held: g^{k_c} before the step, float32 [C, *shape].
        average: gbar before the step, float32 [*shape].
        of_groups: The weights of the mean over groups, float [C]; all 0 for a step without any.
        scale: A scalar.
    """
    plain, held = combine_rows(of_groups, gradients), combine_rows(of_groups, held)
    return scale_means(corrected, plain, held, average, ops.sum(of_groups), scale)


def scale_means(
    corrected: Any, plain: Any, held: Any, average: Any, total: Any, scale: Any
) -> tuple[Any, ControlMoments]:
    """Return what `scale_correction` does, from the means over the groups.

    Args:
        corrected: v, float32 [*shape].
        plain: mean_c G_c, float32 [*shape].
        held: mean_c g^{k_c} before the step, float32 [*shape].
        average: gbar before the step, float32 [*shape].
        total: The sum of the weights of both means: 1, or 0 for a step without any group.
        scale: A scalar.
    """
    control = held - total * average
    moments = ControlMoments(
        covariance=ops.sum((plain - average) * control), variance=ops.sum(control * control)
    )
    return plain + scale * (corrected - plain), moments


def combine_rows(weights: Any, rows: Any) -> Any:
    """Return sum_r weights[..., r] rows[r], for weights [M] or [L, M] and rows [M, *shape]."""
    return ops.tensordot(weights, rows, axes=[[-1], [0]])


def finite_rows(rows: Sequence[Any]) -> Any:
    """Return whether row r of every tensor [M, *shape] in a list is finite, bool [M].

    Tests the sum of a row, which is one sweep: it is finite only if every term is. (Finite
    terms whose sum overflows count as not finite; a gradient of that size is of no use.)
    """
    finite = [ops.isfinite(ops.sum(ops.reshape(r, (r.shape[0], -1)), axis=1)) for r in rows]
    return functools.reduce(ops.logical_and, finite)


def as_column(values: Any, rows: Any) -> Any:
    """Return values [M] in a shape that broadcasts over rows [M, *shape]."""
    return ops.reshape(values, (-1,) + (1,) * (len(rows.shape) - 1))
