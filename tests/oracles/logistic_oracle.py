"""Logistic regression in float64: gradients, steps of SGD, and variances over the examples.

The loss of example i is log(1 + exp(-s_i w.a_i)) with s_i = +-1, so that its gradient is
(p_i - y_i) a_i with p_i = 1 / (1 + exp(-w.a_i)).
"""

import numpy as np


def gradients(weights, features, labels):
    """The gradient of every example, a row each."""
    features, labels = np.float64(features), np.float64(labels).ravel()
    probabilities = 1 / (1 + np.exp(-features @ np.float64(weights).ravel()))
    return (probabilities - labels)[:, None] * features


def sgd(weights, features, labels, batches, learning_rate, l2):
    """The weights after one step for each batch of row numbers."""
    weights = np.float64(weights).ravel()
    for rows in batches:
        step = gradients(weights, features[rows], labels[rows]).mean(axis=0) + l2 * weights
        weights = weights - learning_rate * step
    return weights


def training_loss(weights, features, labels):
    signs = 2 * np.float64(labels).ravel() - 1
    return np.logaddexp(0, -signs * (np.float64(features) @ np.float64(weights).ravel())).mean()


def mini_batch(rows, size):
    """Variance [d] of the mean of `size` independent draws of the rows."""
    return rows.var(axis=0) / size


def one_of_each(rows, clusters):
    """Variance [d] of one draw from every cluster, weighted by its share."""
    found = np.zeros(rows.shape[1])
    for cluster in np.unique(clusters):
        own = rows[clusters == cluster]
        found += (len(own) / len(rows)) ** 2 * own.var(axis=0)
    return found


def average(variance):
    return variance.mean()


def normalized(variance, mean):
    second_moment = variance + mean**2
    return np.where(
        second_moment > 0, variance / np.where(second_moment > 0, second_moment, 1), 0
    ).mean()
