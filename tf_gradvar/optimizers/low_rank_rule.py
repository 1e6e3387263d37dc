"""The update rule of the Discover optimizers on buffers of low rank, as pure functions of arrays.

One variable as a matrix [I, O]. To the symbols of `update_rule` (G_c, k_c, q_k, gbar, v) come

    r          the rank
    m          what the buffers of all clusters share, [I, O]
    U_k, W_k   the factors of cluster k, [I, r] and [O, r]
    g^k        m + U_k W_k^T, the buffer of cluster k
    d_k        alpha mean_{c: k_c = k} (G_c - g^k), the step of a full buffer
    T_k        U_k W_k^T + d_k, what the factors of cluster k would hold if they could

A step of subspace iteration brings the factors of each cluster present close to T_k, and what the
rank cuts off goes to m (error feedback), so that gbar moves as it does with full buffers:

    U_k  <- orth(T_k S_k)    W_k <- T_k^T U_k        with S_k in the directions of W_k
    m    <- m + sum_k q_k (T_k - U_k W_k^T)
    gbar <- gbar + sum_k q_k d_k

Neither T_k nor g^k is formed: a product with them is one with G_c, one with m and a thin one.

Source: `buffers="low_rank"` is ours; Discover paper, Section 4, for what it approximates.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from tf_gradvar.optimizers.update_rule import (
    ControlMoments,
    MixingWeights,
    Rule,
    combine_rows,
    scale_means,
)

# The share of random directions in S_k, through which a column without content finds some.
EXPLORATION = 1e-4
# A column that keeps less than this share of its norm beside the others is rounding noise.
DEPENDENT = 1e-5
# The steps of subspace iteration from random directions, where clusters are mixed.
MIXING_STEPS = 4


class Factors(NamedTuple):
    """The factors of M clusters: U [M, I, r] with columns of norm 1 or 0, and W [M, O, r]."""

    left: Any
    right: Any


class LowRankUpdated(NamedTuple):
    """What a step makes of one variable.

    Attributes:
        corrected: v, [I, O].
        factors: Of the cluster of each group, in the dtype in which they are kept.
        average_step: What gbar moves by, [I, O].
        shared_step: What m moves by, [I, O].
        moments: Of the control variate, for a rule with a scale.
    """

    corrected: Any
    factors: Factors
    average_step: Any
    shared_step: Any
    moments: ControlMoments | None


def update_low_rank(
    gradients: Any,
    factors: Factors,
    shared: Any,
    average: Any,
    weights: MixingWeights,
    rule: Rule,
    scale: Any = None,
) -> LowRankUpdated:
    """Return what a step makes of the groups, the factors of their clusters, m and gbar.

    Args:
        gradients: G_c, float32 [C, I, O], finite.
        factors: Of the cluster k_c of each group, of any float dtype.
        shared: m, float32 [I, O].
        average: gbar, float32 [I, O].
        weights: Of the groups and clusters.
        rule: Alpha and the gain.
        scale: The share of the correction in v, a scalar. Defaults to None, which is 1.
    """
    old = _in_float32(factors)
    plain = combine_rows(weights.of_groups, gradients)
    held = combine_buffers(weights.of_groups, old, shared)
    # v = gbar + gain mean_c (G_c - g^{k_c})
    corrected = average + rule.gain * (plain - held)
    moments = None
    if scale is not None:
        total = ops.sum(weights.of_groups)
        corrected, moments = scale_means(corrected, plain, held, average, total, scale)
    new = _moved(gradients, old, shared, weights.in_clusters, rule.alpha)
    new = Factors(*(ops.cast(n, f.dtype) for n, f in zip(new, factors, strict=True)))
    # q_k of each cluster present, shared out among its groups
    shares = ops.matmul(weights.of_clusters, weights.in_clusters)
    # sum_k q_k d_k
    deviation = combine_rows(shares, gradients) - combine_buffers(shares, old, shared)
    average_step = rule.alpha * deviation
    # sum_k q_k (T_k - U_k W_k^T), of the factors as they are rounded
    change = combine_products(shares, _in_float32(new)) - combine_products(shares, old)
    return LowRankUpdated(corrected, new, average_step, average_step - change, moments)


def _moved(gradients: Any, old: Factors, shared: Any, in_clusters: Any, alpha: float) -> Factors:
    """Return the factors after a step of subspace iteration; the old ones without a group."""

    def times_target(left: Any, right: Any, factor: Any, gradient: str, mean: str) -> Any:
        # T_k F_k = (1 - alpha) U_k W_k^T F_k + alpha (mean G_c F_k - m F_k)
        of_factors = ops.matmul(left, ops.matmul(ops.swapaxes(right, 1, 2), factor))
        of_groups = ops.einsum(gradient, gradients, factor)
        of_groups = combine_rows(in_clusters, of_groups) - ops.einsum(mean, shared, factor)
        return (1.0 - alpha) * of_factors + alpha * of_groups

    start = directions(old.right)
    left = orthonormal(times_target(old.left, old.right, start, "cio,cor->cir", "io,cor->cir"))
    right = times_target(old.right, old.left, left, "cio,cir->cor", "io,cir->cor")
    present = ops.sum(in_clusters, axis=1)[:, None, None] > 0
    return Factors(ops.where(present, left, old.left), ops.where(present, right, old.right))


def combine_products(weights: Any, factors: Factors) -> Any:
    """Return sum_r weights[r] U_r W_r^T, [I, O], for weights [M]."""
    return ops.einsum("mir,mor->io", factors.left * weights[:, None, None], factors.right)


def combine_buffers(weights: Any, factors: Factors, shared: Any) -> Any:
    """Return sum_r weights[r] (m + U_r W_r^T), [I, O], for weights [M]."""
    return ops.sum(weights) * shared + combine_products(weights, factors)


def directions(right: Any) -> Any:
    """Return S_k: W_k at the size 1, plus a little of fixed random directions, [M, O, r]."""
    size = ops.sqrt(ops.mean(right * right, axis=(1, 2), keepdims=True))
    return ops.divide_no_nan(right, size) + EXPLORATION * random_directions(*right.shape[1:])


def random_directions(size: int, rank: int) -> Any:
    """Return the same standard normal numbers every time, float32 [size, rank]."""
    drawn = np.random.default_rng(0).standard_normal((size, rank))
    return ops.convert_to_tensor(drawn, dtype="float32")


def orthonormal(columns: Any) -> Any:
    """Return orthonormal columns that span those of each matrix, [M, I, r].

    Gram-Schmidt, with each column projected twice. A column that depends on those before it is 0:
    to normalize its rounding noise would give another result on every machine.
    """
    largest = ops.max(ops.abs(columns), axis=(1, 2), keepdims=True)
    columns = ops.divide_no_nan(columns, largest)
    found: list[Any] = []
    for j in range(columns.shape[2]):
        column = rest = columns[:, :, j : j + 1]
        for _ in range(2 if found else 0):
            before = ops.concatenate(found, axis=2)
            rest = rest - ops.matmul(before, ops.matmul(ops.swapaxes(before, 1, 2), rest))
        norm = _column_norm(rest)
        kept = norm > DEPENDENT * _column_norm(column)
        found.append(ops.where(kept, ops.divide_no_nan(rest, norm), 0.0))
    return ops.concatenate(found, axis=2)


def mix_factors(shares: Any, factors: Factors) -> Factors:
    """Return factors with U_k W_k^T close to sum_l shares[k, l] U_l W_l^T, by subspace iteration.

    Args:
        shares: Of the old clusters in each new one, float32 [K, K].
        factors: Of all clusters.
    """
    old = _in_float32(factors)

    def times_mixture(left: Any, right: Any, factor: Any) -> Any:
        # T_k F_k = sum_l shares[k, l] U_l (W_l^T F_k)
        inner = ops.einsum("lor,kos->klrs", right, factor) * shares[:, :, None, None]
        return ops.einsum("lir,klrs->kis", left, inner)

    start = random_directions(*old.right.shape[1:])
    right = ops.broadcast_to(start, old.right.shape)
    for _ in range(MIXING_STEPS):
        left = orthonormal(times_mixture(old.left, old.right, right))
        right = times_mixture(old.right, old.left, left)
    return Factors(*(ops.cast(n, f.dtype) for n, f in zip((left, right), factors, strict=True)))


def _column_norm(column: Any) -> Any:
    return ops.sqrt(ops.sum(column * column, axis=1, keepdims=True))


def _in_float32(factors: Factors) -> Factors:
    return Factors(*(ops.cast(factor, "float32") for factor in factors))
