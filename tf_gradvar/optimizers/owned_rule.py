"""The update rule with owned clusters, as pure functions of arrays.

Replica r of R owns a block of the K clusters (`tf_gradvar.ownership`), draws c groups a step from
them alone, cluster k with the probability p(k|r), and keeps only their buffers. With the names of
`update_rule`, and m_i the share of group i in its replica's groups, 1 / c:

    w_k      = q_k / p(k|r)
    a        = min(1, alpha c) min_k p(k|r)
    S        = sum_r sum_i m_i w_{k_i} (G_i - g^{k_i})
    v        = gbar + gain S
    g^k     <- g^k + a / p(k|r) sum_{i: k_i = k} m_i (G_i - g^k)
    gbar    <- gbar + a S

E S = sum_r sum_{k owned by r} p(k|r) w_k (grad R_k - g^k) = grad R - gbar: with gain 1, v is
unbiased, whatever the buffers hold. The change of gbar is exact, also where a cluster occurs
several times in a step, because the move of a buffer is linear in the groups:

    sum_k q_k (change of g^k) = a sum_i m_i q_{k_i} / p(k_i|r) (G_i - g^{k_i}) = a S

So replicas exchange S alone, one sum of as many numbers as there are weights. A mean over the
groups of a cluster, as in `update_rule`, would need another one for gbar.

A group moves its buffer by a / (c p(k|r)): by alpha if its cluster is the rarest (at most 1 / c, so
that c groups of one cluster do not carry its buffer past them), a more frequent cluster by less in
proportion, so that all buffers move alike per step. Nothing is clipped, which would make gbar
another average than that of the buffers. With one group for each replica and clusters that are
drawn uniformly, alpha is that of `update_rule`.

Source: Discover paper, Section 4, Eq. 4; the scheme is ours.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

from tf_gradvar.optimizers.update_rule import combine_rows


class Draws(NamedTuple):
    """The numbers of a rule with owned clusters.

    Attributes:
        weights: w_k, float [K].
        steps: a / p(k|r), float [K].
        of_average: a, a float scalar.
    """

    weights: Any
    steps: Any
    of_average: Any


class OwnedWeights(NamedTuple):
    """The weights of the sums over the groups of one replica.

    Attributes:
        of_groups: m_i w_{k_i}, float [c].
        of_rows: m_j a / p(k_i|r) where k_i = k_j, else 0, float [c, c].
    """

    of_groups: Any
    of_rows: Any


def owned_draws(
    probabilities: Any, owners: Any, num_replicas: int, groups: int, alpha: float
) -> Draws:
    """Return the numbers of the rule.

    Args:
        probabilities: q, float [K].
        owners: The replica that owns each cluster, integers [K].
        num_replicas: R.
        groups: The groups of a step on each replica, c.
        alpha: The step of the buffer of the rarest cluster for each of its groups.
    """
    masses = ops.segment_sum(probabilities, owners, num_segments=num_replicas)
    # p(k|r) = q_k / Q_r
    within = ops.divide_no_nan(probabilities, ops.take(masses, owners))
    rarest = ops.min(ops.where(within > 0, within, 1.0))
    # a = min(1, alpha c) min_k p(k|r)
    of_average = min(1.0, alpha * groups) * rarest
    return Draws(
        weights=ops.divide_no_nan(probabilities, within),
        steps=ops.divide_no_nan(of_average, within),
        of_average=of_average,
    )


def owned_weights(valid: Any, clusters: Any, draws: Draws) -> OwnedWeights:
    """Return the weights of the groups of a replica.

    Args:
        valid: Whether a group counts, bool [c]; the shares of the others add up to 1.
        clusters: k_i, int32 [c] in [0, K).
        draws: The numbers of the rule.
    """
    counted = ops.cast(valid, draws.weights.dtype)
    shares = ops.divide_no_nan(counted, ops.sum(counted))
    same = ops.cast(ops.equal(clusters[:, None], clusters[None, :]), shares.dtype)
    return OwnedWeights(
        of_groups=shares * ops.take(draws.weights, clusters),
        of_rows=ops.take(draws.steps, clusters)[:, None] * same * shares[None, :],
    )


def take_in(deviations: Any, held: Any, weights: OwnedWeights) -> tuple[Any, Any]:
    """Return a replica's part of S [*shape], and the new rows of its buffers [c, *shape].

    A cluster that occurs twice has the same row in both places.

    Args:
        deviations: G_i - g^{k_i}, float32 [c, *shape]; 0 for a group that is left out.
        held: g^{k_i}, float32 [c, *shape].
        weights: Of the groups.
    """
    if deviations.shape[0] == 1:  # the same without two products of matrices
        part = weights.of_groups[0] * deviations[0]
        return part, held + weights.of_rows[0, 0] * deviations
    part = combine_rows(weights.of_groups, deviations)
    return part, held + combine_rows(weights.of_rows, deviations)


def correct_owned(
    average: Any, total: Any, gain: float, scale: Any = None, of_buffers: Any = None
) -> Any:
    """Return v, or (1 - scale) times the mean gradient plus scale v.

    Args:
        average: gbar before the step, float32 [*shape].
        total: S, float32 [*shape].
        gain: The step of v from gbar.
        scale: A scalar; None: 1.
        of_buffers: H = sum_r sum_i m_i w_{k_i} g^{k_i} before the step, [*shape]; with a scale.
    """
    corrected = average + gain * total
    if scale is None:
        return corrected
    # The mean gradient sum_r sum_i m_i w_{k_i} G_i is S + H.
    return (1.0 - scale) * (total + of_buffers) + scale * corrected
