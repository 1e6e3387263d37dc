"""The arithmetic of the control variate on rows: one row for each group, or each cluster."""

import functools

from keras import ops


def mixing_weights(counts, clusters, probabilities, alpha):
    """Return the weights that turn deviations from the buffers into v_t and new buffers.

    Row r stands for n_r groups (or examples) of cluster k_r with the deviation D_r from
    the buffer; what was dropped has n_r = 0. With N_k the sum of n_r over cluster k and C
    the sum over all,

        v_t      = sum_r mean_weights[r] D_r + gbar
        change_r = sum_s row_weights[r, s] D_s        the same for every row of a cluster
        gbar    += sum_r average_weights[r] change_r

        mean_weights[r]    = n_r / C
        row_weights[r, s]  = alpha n_s / N_{k_r} where k_r = k_s, else 0
        average_weights[r] = q_{k_r} / (number of rows of cluster k_r)

    Args:
        counts: n_r, float [M].
        clusters: k_r, int32 [M].
        probabilities: q, float [K].
        alpha: The step of the buffers towards the present gradient.

    Returns:
        `mean_weights` [M], `row_weights` [M, M] and `average_weights` [M].
    """
    same = ops.cast(ops.equal(clusters[:, None], clusters[None, :]), counts.dtype)
    mean_weights = ops.divide_no_nan(counts, ops.sum(counts))
    present = ops.sum(same * counts, axis=1, keepdims=True)
    row_weights = alpha * ops.divide_no_nan(same * counts, present)
    average_weights = ops.take(probabilities, clusters) / ops.sum(same, axis=1)
    return mean_weights, row_weights, average_weights


def combine_rows(weights, rows):
    """Return sum_r weights[..., r] rows[r], for weights [M] or [L, M] and rows [M, *shape]."""
    return ops.tensordot(weights, rows, axes=[[-1], [0]])


def finite_rows(rows):
    """Return whether row r of every tensor [M, *shape] in a list is finite, bool [M].

    Tests the sum of a row, which is one sweep: it is finite only if every term is. (Finite
    terms whose sum overflows count as not finite; a gradient of that size is of no use.)
    """
    finite = [ops.isfinite(ops.sum(ops.reshape(r, (r.shape[0], -1)), axis=1)) for r in rows]
    return functools.reduce(ops.logical_and, finite)


def as_column(values, rows):
    """Return values [M] in a shape that broadcasts over rows [M, *shape]."""
    return ops.reshape(values, (-1,) + (1,) * (len(rows.shape) - 1))
