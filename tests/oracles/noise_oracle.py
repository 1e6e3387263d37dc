"""Gradients of a softmax classifier with one Dense layer, and their moments, in float64."""

import numpy as np


def softmax_gradients(x, y, kernel, bias):
    """Rows of [kernel, bias] gradients, one for each example."""
    rows = []
    for features, label in zip(np.float64(x), y, strict=True):
        logits = features @ np.float64(kernel) + np.float64(bias)
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        shares[label] -= 1.0
        rows.append(np.concatenate([np.outer(features, shares).ravel(), shares]))
    return np.array(rows)


def trace_of_covariance(gradients):
    return float(np.trace(np.cov(gradients.T, ddof=0)))


def squared_mean(gradients):
    return float(np.sum(gradients.mean(axis=0) ** 2))


def drawn_noise_scale(gradients, batch_size, batches, rng):
    """B times the variance of batches that are drawn, over the squared norm of their mean."""
    means = np.array(
        [gradients[rng.integers(len(gradients), size=batch_size)].mean(axis=0)
         for _ in range(batches)]
    )  # fmt: skip
    variance = np.var(means, axis=0, ddof=1).sum()
    return batch_size * variance / (np.sum(means.mean(axis=0) ** 2) - variance / batches)


def variance_of_strata(gradients, groups, draws):
    """The variance of sum_k (N_k/N) mean of e_k draws, e_k as real numbers."""
    total = 0.0
    for group in np.unique(groups):
        own = gradients[groups == group]
        total += (len(own) / len(groups)) ** 2 * trace_of_covariance(own) / draws[group]
    return total


def variance_of_one_group(gradients, groups, batch_size):
    """The variance of batches of one group, drawn by its size: law of total variance by hand."""
    centre, found = gradients.mean(axis=0), 0.0
    for group in np.unique(groups):
        own = gradients[groups == group]
        share = len(own) / len(groups)
        inside = sum(np.sum((g - own.mean(axis=0)) ** 2) for g in own) / len(own)
        found += share * (inside / batch_size + np.sum((own.mean(axis=0) - centre) ** 2))
    return found


def variance_of_corrected(gradients, groups, batch_size, num_groups, alpha, visits=4000):
    """C groups of B / C, each minus the deviation of a buffer that has averaged many visits."""
    size = batch_size // num_groups
    shares = np.array([np.mean(groups == k) for k in np.unique(groups)])
    inside = np.array([trace_of_covariance(gradients[groups == k]) for k in np.unique(groups)])
    weights = alpha * (1 - alpha) ** np.arange(visits)
    buffers = np.sum(weights**2) * inside / size  # the variance of each buffer
    average = np.sum(shares**2 * buffers)  # of their weighted mean
    distance = np.sum(shares * buffers) - average
    return (np.sum(shares * inside) / size + distance) / num_groups
